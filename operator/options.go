package operator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	nethttp "net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Role says what an operator may do. Each role includes those before it.
type Role int

// The roles.
const (
	None   Role = iota
	Look        // see everything but secrets
	Speak       // say something on channels
	Manage      // everything
)

var roleNames = [...]string{"none", "look", "speak", "manage"}

func (r Role) String() string { return roleNames[r] }

// ParseRole returns the role with that name, or None if there is none.
func ParseRole(name string) Role {
	for r, text := range roleNames {
		if text == name {
			return Role(r)
		}
	}
	return None
}

// User is a configured user.
type User struct {
	Role Role
	Hash string // of the password: sessions end when it changes
}

// Table keeps sessions on disk.
type Table interface {
	Load(each func(key string, value []byte) error) error
	// Commit writes rows by their keys, all or none. A nil value deletes a row. Commit
	// returns when they are on disk.
	Commit(rows map[string][]byte) error
}

// Reloaded is the result of a reload: paths of changed settings.
type Reloaded struct {
	Reloaded     []string `json:"reloaded"`      // in force now
	NeedsRestart []string `json:"needs_restart"` // in force after a restart
}

// Backup is a copy of what is on disk, as one file.
type Backup interface {
	Name() string // of the file
	Bytes() int64
	Write(io.Writer) error
	Close()
}

// Options of a Service. All functions except Now, Vouched and BackedUp must be set, and the interfaces too.
type Options struct {
	Open     bool            // the roles look and speak need no session
	AdminKey string          // never empty
	Users    map[string]User // by name

	Sessions     Table         // nil: sessions end with the process
	MaxSessions  int           // a further one ends the least recently used; 0: 1000
	WriteTimeout time.Duration // for one write of an answer

	// Allowed reports whether the client of a request may try a key or password
	// now, and if not, how long it has to wait. Failed counts a wrong key.
	Allowed func(*nethttp.Request) (ok bool, wait time.Duration)
	Failed  func(*nethttp.Request)
	// Vouched reports whether somebody else has signed in who makes a request without a
	// token, and that one's name. It then manages. nil: nobody does.
	Vouched func(*nethttp.Request) (name string, ok bool)
	// Known is called when the client of a request has proved who it is.
	Known func(*nethttp.Request)
	// CheckPassword reports whether a password is right, and counts a wrong one. Busy
	// means that it could not be checked now.
	CheckPassword func(ctx context.Context, r *nethttp.Request, user, password string) (right, busy bool)
	// About is what the gateway says of itself.
	About func() About
	// Ready says why the gateway cannot do its work just now.
	Ready func() error

	// Apart and Foreign say why the gateway, which does its work, does not reach the others of its
	// space or the foreign broker just now. They are nil while it does, or has none.
	Apart, Foreign func() error
	// Space is the one that the gateway shares with others; nil: it is alone.
	Space func() *Space
	// Waiting is how many messages wait in all queues.
	Waiting func() int
	// LastOn returns what was said last on a channel; nil: it is not known.
	LastOn func(bridge.Channel) *bridge.Message
	// Missed returns what was said on a channel since (docs/http.md, "What was missed"), and
	// whether more was than is known. An empty since is now.
	Missed func(c bridge.Channel, since string) (messages []*bridge.Message, gap bool, err error)
	// Topics are the broker's.
	Topics Topics
	// Callbacks are those of all senders.
	Callbacks Callbacks
	// House is what Home Assistant is told.
	House func() House
	// Settings returns the settings in force, and the configuration file; empty: none.
	Settings func() (list []Setting, file string)
	// DeviceKey returns the key of session frames, in hexadecimal and in C.
	DeviceKey func() (hex, c string)
	// Devices are the devices' own keys.
	Devices Devices
	// Refusals are the wrong keys, passwords and tokens since a time, the last first.
	Refusals func(since time.Time) []Refusal
	// Client is the address of a request, for the log.
	Client func(*nethttp.Request) string
	// Reload reads the configuration again. If there are faults, nothing has changed.
	Reload func() (done Reloaded, faults []string)
	// Backup copies what is on disk. The caller closes it.
	Backup func() (Backup, error)
	// BackedUp is called when a backup has been sent to its end; nil: nobody wants to know.
	BackedUp func()

	Now func() time.Time // nil: time.Now
}

// maxSessions is the most sessions at a time.
const maxSessions = 1000

// idle returns how long after its last use a session ends.
func idle(stay bool) time.Duration {
	if stay {
		return 30 * 24 * time.Hour
	}
	return 12 * time.Hour
}

// Service serves the operator's calls. Its methods may be called from any
// goroutine.
type Service struct {
	hub      *bridge.Hub
	opts     Options
	log      *logrus.Logger
	sessions *sessions
	routes   []route
	recorder *recorder
	pulses   pulses
	speakers speakers
	ears     *ears
	pages    pages
	copying  sync.Mutex // one backup at a time: its copy takes room on the disk
}

// New returns a service with the sessions of its table that are still valid.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) (*Service, error) {
	opts.MaxSessions = cmp.Or(opts.MaxSessions, maxSessions)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Vouched == nil {
		opts.Vouched = func(*nethttp.Request) (string, bool) { return "", false }
	}
	s := &Service{
		hub: hub, opts: opts, log: log, sessions: newSessions(opts, log), recorder: newRecorder(hub, opts.Waiting),
		speakers: speakers{hub: hub, held: map[string]*bridge.Hold{}},
		pages:    pages{all: map[*page]struct{}{}},
	}
	s.routes = s.calls()
	if err := s.sessions.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// Update puts a new admin key and new users in force. It ends sessions whose key or
// password has changed, or whose user has no role any more.
func (s *Service) Update(adminKey string, users map[string]User) {
	s.sessions.update(adminKey, users)
}

// Listen makes live pages hear what is said. It is called once, before the first message.
func (s *Service) Listen() { s.ears = newEars(s.hub) }

// Run saves when sessions were last used, forgets those that have ended, takes samples and
// serves live pages, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { s.sessions.run(ctx) })
	all.Go(func() { s.tell(ctx) })
	if s.ears != nil {
		all.Go(func() { s.ears.run(ctx) })
	}
	<-ctx.Done()
	s.pages.close()
	all.Wait()
}

// same compares secrets in constant time.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
