package mqtt

import (
	"context"
	"errors"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/auth"
	"watchtower/bridge"
)

// identity is who a client turned out to be.
type identity struct {
	hold   *bridge.Hold
	owner  *owner
	key    sessionKey
	access *access
	hash   []byte // of the user's password when it was checked
	speaks bool   // it came with the secret key: it owns its name
}

// identify finds a client's sender: by user name and password if that user is configured,
// else by its token, else by the secret key and its client id (docs/topics.md, "Who a
// client is").
func (b *Broker) identify(c *conn, userName string, password []byte, assigned bool) (identity, packets.Code) {
	userName, password = b.credentials(userName, password)
	id := identity{owner: &owner{}, key: sessionKey{client: c.clientID}}
	name := c.clientID // as a sender
	if user, ok := b.user(userName); ok {
		if bad := b.checkPassword(c, userName, user.Hash, password); bad.Code != 0 {
			return id, bad
		}
		if namesClient(user.Rules) && !bridge.ValidName(c.clientID) {
			b.warn(c.host(), "MQTT client refused: its access list has %c in it, and its client id may be A–Z a–z 0–9 _ . : - only", c)
			return id, packets.ErrClientIdentifierNotValid
		}
		id.key.user, id.access, id.hash = userName, newAccess(user.Rules, userName, c.clientID), user.Hash
		name = userName + "." + c.clientID // unique, since user names have no dot
	} else if s, ok := b.hub.Tokens().Sender(string(password)); ok && len(password) > 0 {
		var err error
		id.key.sender = s.ID()
		c.voice.Proved = true
		id.hold, err = b.hub.Holds().Sender(s, id.owner.deleted)
		return id, b.refusedIdentity(c, err)
	} else if bad := b.checkKey(c, string(password)); bad.Code != 0 {
		return id, bad
	}
	if !assigned && !bridge.ValidName(name) && b.once.Allow(c.host(), name, b.now()) {
		c.logged().Info("a client gets a new sender at each connection: its client id is no name, which is 1 to 64 of A–Z a–z 0–9 _ . : -")
	}
	if assigned || !bridge.ValidName(name) || b.sessions.nameless(c.clientID, id.key.user) || b.records.nameless(c.clientID, id.key.user) {
		name = "" // nameless: the client comes back with the id that it was assigned
	}
	var err error
	c.voice.Proved = id.key.user != ""
	id.speaks = id.key.user == ""
	id.hold, err = b.hub.Holds().Register(bridge.Naming{Name: name, User: id.key.user, Via: Protocol}, id.owner.deleted)
	if err == nil && name != "" {
		id.key.sender = id.hold.Sender().ID()
	}
	return id, b.refusedIdentity(c, err)
}

// credentials accepts two cloud conventions: it cuts the SDK's name behind "?" off the user
// name (AWS IoT), and takes a token as user name without a password (ThingsBoard).
func (b *Broker) credentials(userName string, password []byte) (string, []byte) {
	if _, ok := b.user(userName); ok {
		return userName, password
	}
	userName, _, _ = strings.Cut(userName, "?")
	if len(password) == 0 && strings.HasPrefix(userName, bridge.TokenPrefix) {
		return "", []byte(userName)
	}
	return userName, password
}

// checkPassword checks a configured user's password. A client that must wait (the queue of
// checks, or earlier wrong passwords) is not told whether its password is wrong.
func (b *Broker) checkPassword(c *conn, user string, hash, password []byte) packets.Code {
	ctx, cancel := context.WithDeadline(b.life, c.hashBefore)
	defer cancel()
	switch b.opts.Passwords.Check(ctx, c.from, user, hash, password) {
	case auth.Right:
		return packets.Code{}
	case auth.Later:
		return packets.ErrConnectionRateExceeded
	case auth.Full:
		return packets.ErrServerBusy
	}
	b.warn(c.host(), "MQTT client refused: wrong password of user "+user, c)
	return packets.ErrBadUsernameOrPassword
}

// checkKey checks the secret key. An empty key does not count as a guess.
func (b *Broker) checkKey(c *conn, key string) packets.Code {
	if b.opts.Gate.Waits(c.from) > 0 {
		return packets.ErrConnectionRateExceeded
	}
	if b.hub.CheckKey(key) {
		if !b.hub.Open() {
			b.opts.Gate.Right(c.from)
		}
		return packets.Code{}
	}
	if key != "" && b.opts.Gate.Wrong(c.from, auth.WrongKey) > 0 {
		return packets.ErrConnectionRateExceeded
	}
	b.warn(c.host(), "MQTT client refused: its password is neither the secret key nor a token, and its user name is no configured user's", c)
	return packets.ErrBadUsernameOrPassword
}

func (b *Broker) refusedIdentity(c *conn, err error) packets.Code {
	if err == nil {
		return packets.Code{}
	}
	b.warn(c.host(), "MQTT client refused: "+err.Error(), c)
	return identityCode(err)
}

// identityCode is the reason code of a client that cannot be the sender that it wants to be.
// What passes is no refusal: after "not authorized" Home Assistant never tries again.
func identityCode(err error) packets.Code {
	var fault *bridge.Error
	if errors.As(err, &fault) {
		switch fault.Code {
		case bridge.TooManySenders, bridge.StoreFailed, bridge.NotShared, bridge.InvalidSender:
			return packets.ErrServerUnavailable
		}
	}
	return packets.ErrNotAuthorized
}
