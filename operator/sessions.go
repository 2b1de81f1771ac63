package operator

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	tokenPrefix = "wtc_"
	tokenBytes  = 24 // 192 bits
	saltBytes   = 16
	idDigits    = 16
	saveEvery   = time.Minute
)

// adminName is the name of an operator with the admin key. No user has it, because users'
// names have no spaces.
const adminName = "admin key"

// record is a session on disk. Its key there is the SHA-256 of its token.
type record struct {
	User  string `json:"user,omitempty"` // empty: the admin key opened it
	Salt  []byte `json:"salt"`
	Proof []byte `json:"proof"` // see proof
	Label string `json:"label,omitempty"`
	Stay  bool   `json:"stay,omitempty"`
	Seen  int64  `json:"seen"` // Unix seconds
}

// session is a valid session. Sessions.mu guards it, except its key, which never changes.
type session struct {
	record
	key   string // SHA-256 of the token, in hexadecimal
	dirty bool   // it has changed since it was written to disk
}

// id returns a name of the session that does not reveal its token.
func (s *session) id() string { return s.key[:idDigits] }

func (s *session) name() string {
	if s.User == "" {
		return adminName
	}
	return s.User
}

// sessions holds the valid sessions, and the key and users that vouch for them.
type sessions struct {
	opts Options
	log  *logrus.Logger

	disk sync.Mutex // held while the table is written; taken before mu

	mu       sync.Mutex
	adminKey string
	users    map[string]User
	all      map[string]*session // by key
	ended    map[string]struct{} // keys whose rows are still on disk
}

func newSessions(opts Options, log *logrus.Logger) *sessions {
	return &sessions{
		opts: opts, log: log, adminKey: opts.AdminKey, users: opts.Users,
		all: map[string]*session{}, ended: map[string]struct{}{},
	}
}

// load reads the table, and deletes sessions there that are not valid any more.
func (ss *sessions) load() error {
	if ss.opts.Sessions == nil {
		return nil
	}
	err := ss.opts.Sessions.Load(func(key string, value []byte) error {
		s := &session{key: key}
		if err := json.Unmarshal(value, &s.record); err != nil || len(key) != 2*sha256.Size {
			ss.ended[key] = struct{}{} // damaged: its operator has to sign in again
			return nil
		}
		ss.all[key] = s
		return nil
	})
	if err != nil {
		return err
	}
	ss.mu.Lock()
	ss.pruneLocked()
	ss.mu.Unlock()
	if err := ss.flush(); err != nil { // as on a full disk: in memory they have ended
		ss.log.WithError(err).Warn("operators' sessions not written")
	}
	return nil
}

func tokenKey(token string) string {
	hash := sha256.Sum256([]byte(token))
	return hex.EncodeToString(hash[:])
}

// proof returns the MAC of the secret that opened a session: it shows whether the secret
// has changed since. It needs no slow hash: a thief of the table could also read the
// secret's own file.
func proof(salt []byte, secret string) []byte {
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(secret))
	return mac.Sum(nil)
}

// secretLocked returns what vouches for a user's sessions now: the admin key, or the hash
// of the user's password.
func (ss *sessions) secretLocked(user string) string {
	if user == "" {
		return "key " + ss.adminKey
	}
	return "user " + ss.users[user].Hash
}

// roleLocked returns the present role of a user; "": of the admin key.
func (ss *sessions) roleLocked(user string) Role {
	if user == "" {
		return Manage
	}
	return ss.users[user].Role
}

func (ss *sessions) countsLocked(s *session) bool {
	return ss.opts.Now().Sub(time.Unix(s.Seen, 0)) < idle(s.Stay) && ss.roleLocked(s.User) != None &&
		hmac.Equal(s.Proof, proof(s.Salt, ss.secretLocked(s.User)))
}

// pruneLocked ends sessions that are not valid any more.
func (ss *sessions) pruneLocked() {
	for _, s := range ss.all {
		if !ss.countsLocked(s) {
			ss.endLocked(s)
		}
	}
}

func (ss *sessions) endLocked(s *session) {
	delete(ss.all, s.key)
	ss.ended[s.key] = struct{}{}
}

// begin opens a session for a user. An empty user means the admin key.
func (ss *sessions) begin(user, label string, stay bool) (token string, who caller) {
	b := make([]byte, tokenBytes+saltBytes)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:tokenBytes])
	s := &session{key: tokenKey(token), dirty: true}
	ss.mu.Lock()
	s.record = record{User: user, Salt: b[tokenBytes:], Label: label, Stay: stay, Seen: ss.opts.Now().Unix()}
	s.Proof = proof(s.Salt, ss.secretLocked(user))
	if len(ss.all) >= ss.opts.MaxSessions {
		ss.pruneLocked()
	}
	for len(ss.all) >= ss.opts.MaxSessions {
		oldest := s
		for _, other := range ss.all {
			if other.Seen < oldest.Seen || oldest == s {
				oldest = other
			}
		}
		ss.endLocked(oldest)
	}
	ss.all[s.key] = s
	who = ss.callerLocked(s)
	ss.mu.Unlock()
	if err := ss.flush(); err != nil { // the session is valid as long as the gateway runs
		ss.log.WithError(err).Warn("operators' sessions not written")
	}
	return token, who
}

// find returns the caller to whom a token belongs, and notes its use.
func (ss *sessions) find(token string) (who caller, ok bool) {
	if !strings.HasPrefix(token, tokenPrefix) {
		return who, false
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.all[tokenKey(token)]
	switch {
	case s == nil:
		return who, false
	case !ss.countsLocked(s):
		ss.endLocked(s)
		return who, false
	}
	if now := ss.opts.Now().Unix(); now != s.Seen {
		s.Seen, s.dirty = now, true
	}
	return ss.callerLocked(s), true
}

// uses reports whether a session counts, and has that role still, and notes that it was
// used.
func (ss *sessions) uses(id string, role Role) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.all {
		if s.id() == id && ss.countsLocked(s) && ss.roleLocked(s.User) == role {
			s.Seen, s.dirty = ss.opts.Now().Unix(), true
			return true
		}
	}
	return false
}

func (ss *sessions) callerLocked(s *session) caller {
	return caller{role: ss.roleLocked(s.User), name: s.name(), session: s.id()}
}

// expires returns when a session that is used now would end.
func (ss *sessions) expires(stay bool) time.Time {
	return ss.opts.Now().Add(idle(stay))
}

// end ends a session. It returns once that is on disk.
func (ss *sessions) end(id string) (name string, found bool, err error) {
	ss.mu.Lock()
	for _, s := range ss.all {
		if s.id() == id {
			ss.endLocked(s)
			name, found = s.name(), true
		}
	}
	ss.mu.Unlock()
	if !found {
		return "", false, nil
	}
	return name, true, ss.flush()
}

// listed is a session in answers.
type listed struct {
	ID    string    `json:"id"`
	Role  string    `json:"role"`
	Name  string    `json:"name"`
	Label string    `json:"label,omitempty"`
	Stay  bool      `json:"stay,omitempty"`
	Seen  time.Time `json:"seen"`
	Own   bool      `json:"own,omitempty"` // who asks is signed in by it
}

// list returns all sessions, the most recently used first. Own is the id of the caller's.
func (ss *sessions) list(own string) []listed {
	ss.mu.Lock()
	ss.pruneLocked()
	all := make([]listed, 0, len(ss.all))
	for _, s := range ss.all {
		all = append(all, listed{
			s.id(), ss.roleLocked(s.User).String(), s.name(), s.Label, s.Stay, time.Unix(s.Seen, 0).UTC(), s.id() == own,
		})
	}
	ss.mu.Unlock()
	slices.SortFunc(all, func(a, b listed) int {
		if c := b.Seen.Compare(a.Seen); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// rightKey reports whether key is the admin key.
func (ss *sessions) rightKey(key string) bool {
	ss.mu.Lock()
	want := ss.adminKey
	ss.mu.Unlock()
	return same(want, key)
}

func (ss *sessions) role(user string) Role {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.roleLocked(user)
}

func (ss *sessions) update(adminKey string, users map[string]User) {
	ss.mu.Lock()
	ss.adminKey, ss.users = adminKey, users
	ss.pruneLocked()
	ss.mu.Unlock()
	if err := ss.flush(); err != nil {
		ss.log.WithError(err).Warn("operators' sessions not written")
	}
}

// flush writes the changes since the last flush to the table.
func (ss *sessions) flush() error {
	if ss.opts.Sessions == nil {
		return nil
	}
	ss.disk.Lock()
	defer ss.disk.Unlock()
	rows := map[string][]byte{}
	ss.mu.Lock()
	for key := range ss.ended {
		rows[key] = nil
	}
	clear(ss.ended)
	for key, s := range ss.all {
		if s.dirty {
			rows[key], _ = json.Marshal(s.record) // plain struct: cannot fail
			s.dirty = false
		}
	}
	ss.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	err := ss.opts.Sessions.Commit(rows)
	if err != nil {
		ss.mu.Lock()
		for key, value := range rows {
			if s := ss.all[key]; s != nil {
				s.dirty = true
			} else if value == nil {
				ss.ended[key] = struct{}{}
			}
		}
		ss.mu.Unlock()
	}
	return err
}

func (ss *sessions) run(ctx context.Context) {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for {
		over := false
		select {
		case <-ctx.Done():
			over = true
		case <-t.C:
		}
		ss.mu.Lock()
		ss.pruneLocked()
		ss.mu.Unlock()
		if err := ss.flush(); err != nil {
			ss.log.WithError(err).Warn("operators' sessions not written")
		}
		if over {
			return
		}
	}
}
