package mqtt

import (
	"bytes"
	"context"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/auth"
	"watchtower/bridge"
)

// CheckPassword checks a configured user's password for another protocol. A wrong one
// counts at the gate.
func (b *Broker) CheckPassword(ctx context.Context, who auth.Caller, name, password string) auth.Verdict {
	if user, ok := b.user(name); ok {
		return b.opts.Passwords.Check(ctx, who, name, user.Hash, []byte(password))
	}
	if b.opts.Gate.Waits(who) > 0 || b.opts.Gate.Wrong(who, auth.WrongPassword) > 0 {
		return auth.Later
	}
	return auth.Wrong
}

// SetUsers replaces the configured users. The sessions of a removed user end. A client
// whose password has changed is disconnected, and its session stays. A client whose
// access list has changed stays connected: the new list applies at once, also to
// messages that wait.
func (b *Broker) SetUsers(users map[string]User) {
	before := *b.users.Swap(&users)
	b.opts.Passwords.Forget()
	var all []*session
	b.sessions.mu.Lock()
	for key, s := range b.sessions.all {
		if key.user != "" {
			all = append(all, s)
		}
	}
	b.sessions.mu.Unlock()
	for _, s := range all {
		user, known := users[s.key.user]
		switch old := before[s.key.user]; {
		case !known:
			b.end(s)
		case !bytes.Equal(old.Hash, user.Hash):
			b.restrict(s, user)
			s.dismiss(packets.ErrNotAuthorized)
		case !slices.Equal(old.Rules, user.Rules) || (old.Rules == nil) != (user.Rules == nil):
			b.restrict(s, user)
		}
	}
	b.router.refresh()
}

// stillCounts applies a change of the user that was made while the client connected.
func (b *Broker) stillCounts(c *conn, who identity) {
	if who.key.user == "" {
		return
	}
	switch user, known := b.user(who.key.user); {
	case !known:
		b.end(c.session)
	case !bytes.Equal(user.Hash, who.hash):
		c.session.dismiss(packets.ErrNotAuthorized)
	default:
		b.restrict(c.session, user)
	}
}

// restrict applies a user's access list to a session: it renews the subscriptions whose
// meaning changes, and drops queued messages that may not be read any more.
func (b *Broker) restrict(s *session, user User) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	may := newAccess(user.Rules, s.key.user, s.key.client)
	if old := s.access.Swap(may); old == nil && may == nil || old != nil && may != nil && old.same(may) {
		return
	}
	for filter, sub := range s.subs {
		f := packets.Subscription{Filter: filter, Qos: sub.qos, NoLocal: sub.noLocal, RetainAsPublished: sub.asIs}
		now, err := b.meaning(s, f, sub.subID)
		if err == nil && now.means == sub.means {
			continue
		}
		b.unsubscribeLocked(s, filter)
		if err == nil {
			_, err = b.subscribeLocked(s, f, sub.subID)
		}
		if err != nil {
			b.log.WithError(err).WithField("client", bridge.Shorten(s.key.client)).WithField("filter", bridge.Shorten(filter)).Warn("subscription lost")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sift(func(d *delivery) bool { return d.m.topic == b.tree.Me() || may.mayRead(d.m.topic) })
	s.changed(true)
}
