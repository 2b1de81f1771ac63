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

// Options of a Service. All functions except Now must be set.
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
	// Known is called when the client of a request has proved who it is.
	Known func(*nethttp.Request)
	// CheckPassword reports whether a password is right, and counts a wrong one. Busy
	// means that it could not be checked now.
	CheckPassword func(ctx context.Context, r *nethttp.Request, user, password string) (right, busy bool)
	// Client returns the address of a request's client, for the log.
	Client func(*nethttp.Request) string
	// Reload reads the configuration again. If there are faults, nothing has changed.
	Reload func() (done Reloaded, faults []string)
	// Backup copies what is on disk. The caller closes it.
	Backup func() (Backup, error)

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
	copying  sync.Mutex // held while a backup is made and sent: its copy takes room on the disk
}

// New returns a service with the sessions of its table that are still valid.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) (*Service, error) {
	opts.MaxSessions = cmp.Or(opts.MaxSessions, maxSessions)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Service{hub: hub, opts: opts, log: log, sessions: newSessions(opts, log)}
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

// Run saves the times when sessions were last used, and ends those that were idle for too
// long, until ctx ends.
func (s *Service) Run(ctx context.Context) { s.sessions.run(ctx) }

// same compares secrets in constant time.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
