package mqtt

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/crypto/bcrypt"

	"watchtower/bridge"
)

// identity is who a client turned out to be.
type identity struct {
	hold   *bridge.Hold
	owner  *owner
	key    sessionKey
	access *access
	hash   []byte // of the user's password, that was right
	speaks bool   // came with the secret key, so that it is the one of its name
}

// owner ends whatever session a hold came to belong to.
type owner struct {
	mu    sync.Mutex
	ended bool
	end   func()
}

func (o *owner) deleted() {
	o.mu.Lock()
	o.ended = true
	end := o.end
	o.mu.Unlock()
	if end != nil {
		end()
	}
}

// adopt says what ends with the sender; it is called at once if that is over.
func (o *owner) adopt(end func()) {
	o.mu.Lock()
	o.end = end
	ended := o.ended
	o.mu.Unlock()
	if ended {
		end()
	}
}

// identify finds the sender of a client: by its user name and password where the
// configuration has that user, else by its token, or by the secret key and its
// client id (topic tree, "Who a client is").
func (b *Broker) identify(c *conn, userName string, password []byte, assigned bool) (identity, packets.Code) {
	id := identity{owner: &owner{}, key: sessionKey{client: c.clientID}}
	name := c.clientID // as a sender
	if user, ok := b.user(userName); ok {
		if !b.passwords.right(user.Hash, password) {
			b.warn(c.host(), "MQTT client refused: wrong password of user "+userName, c)
			return id, packets.ErrBadUsernameOrPassword
		}
		if namesClient(user.Rules) && !bridge.ValidName(c.clientID) {
			b.warn(c.host(), "MQTT client refused: its access list has %c in it, and its client id may be A–Z a–z 0–9 _ . : - only", c)
			return id, packets.ErrClientIdentifierNotValid
		}
		id.key.user, id.access, id.hash = userName, newAccess(user.Rules, userName, c.clientID), user.Hash
		name = userName + "." + c.clientID // user names have no dot: nobody else's sender
	} else if s, ok := b.hub.SenderByToken(string(password)); ok && len(password) > 0 {
		var err error
		id.key.sender = s.ID()
		id.hold, err = b.hub.HoldSender(s, id.owner.deleted)
		return id, b.refusedIdentity(c, err)
	} else if !b.hub.CheckKey(string(password)) {
		b.warn(c.host(), "MQTT client refused: its password is neither the secret key nor a token, and its user name is no configured user's", c)
		return id, packets.ErrBadUsernameOrPassword
	}
	if assigned || !bridge.ValidName(name) || b.sessions.nameless(c.clientID, id.key.user) {
		name = "" // the last is a client that comes back with the id that it was assigned
	}
	var err error
	id.speaks = id.key.user == ""
	id.hold, err = b.hub.RegisterName(bridge.Naming{Name: name, User: id.key.user, Via: bridge.MQTT}, id.owner.deleted)
	if err == nil && name != "" {
		id.key.sender = id.hold.Sender().ID()
	}
	return id, b.refusedIdentity(c, err)
}

func (b *Broker) refusedIdentity(c *conn, err error) packets.Code {
	if err == nil {
		return packets.Code{}
	}
	b.warn(c.host(), "MQTT client refused: "+err.Error(), c)
	return packets.ErrNotAuthorized
}

func (c *conn) host() string {
	host, _, err := net.SplitHostPort(c.remote)
	if err != nil {
		return c.remote
	}
	return host
}

// passwords checks users' passwords. Hashing is slow on purpose: a few are
// hashed at a time, and who was right once is known by a fast digest, so that a
// house of devices that all come back at once does not wait for it.
type passwords struct {
	salt [32]byte
	turn chan struct{}
	wait time.Duration // most for a turn

	mu    sync.Mutex
	known map[string][32]byte // digest of the right password, by its hash
}

// hashing is how many passwords are hashed at a time.
const hashing = 2

func newPasswords(wait time.Duration) *passwords {
	p := &passwords{turn: make(chan struct{}, hashing), wait: wait, known: map[string][32]byte{}}
	_, _ = rand.Read(p.salt[:]) // cannot fail
	return p
}

func (p *passwords) right(hash, password []byte) bool {
	digest := sha256.Sum256(append(p.salt[:], password...))
	p.mu.Lock()
	known, ok := p.known[string(hash)]
	p.mu.Unlock()
	if ok && subtle.ConstantTimeCompare(known[:], digest[:]) == 1 {
		return true
	}
	late := time.NewTimer(p.wait)
	defer late.Stop()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-late.C:
		return false
	}
	if bcrypt.CompareHashAndPassword(hash, password) != nil {
		return false
	}
	p.mu.Lock()
	p.known[string(hash)] = digest
	p.mu.Unlock()
	return true
}
