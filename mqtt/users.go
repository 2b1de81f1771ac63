package mqtt

import (
	"bytes"
	"context"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/auth"
	"watchtower/bridge"
)

// CheckPassword says whether a password is that of a user of the configuration, and
// counts it at the gate if not, for who signs in elsewhere.
func (b *Broker) CheckPassword(ctx context.Context, who auth.Caller, name, password string) auth.Verdict {
	if user, ok := b.user(name); ok {
		return b.opts.Passwords.Check(ctx, who, name, user.Hash, []byte(password))
	}
	if b.opts.Gate.Waits(who) > 0 || b.opts.Gate.Wrong(who, auth.WrongPassword) > 0 {
		return auth.Later
	}
	return auth.Wrong
}

// SetUsers puts other users in force. The sessions of one that is gone end; one
// whose password has changed is disconnected, and comes back with the new one.
// What an access list does not allow any more is neither delivered nor heard; who
// is still allowed to be there stays connected.
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

// stillCounts ends a connection whose user has changed while it connected: its reader
// finds it closed.
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

// restrict puts a user's access list in force for a session: its filters mean
// what they mean by that, and what waits for it and may not be read is dropped.
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
