package mqtt

import (
	"fmt"
	"time"

	"watchtower/bridge"
)

// revive makes a session of its record: the hold on its sender, its will, its subscriptions and
// so its memberships. Its client is away. Number 0: it is not on disk. GivenUp: another gateway still
// claims it.
func (b *Broker) revive(record *sessionRecord, number uint64, as bridge.Standing) (*session, error) {
	user, ok := b.user(record.User)
	if record.User != "" && !ok {
		return nil, fmt.Errorf("the configuration has no user %s any more", record.User)
	}
	ends := &owner{}
	hold, err := b.hub.Holds().Restore(bridge.Restored{
		ID: record.Sender, Name: record.Name, Named: record.Named, Lasting: record.Expiry > 0, User: record.User, Voucher: record.Voucher,
	}, ends.deleted)
	if err != nil {
		return nil, err
	}
	id := identity{hold: hold, owner: ends, key: sessionKey{client: record.Client, user: record.User}}
	if record.User != "" {
		id.access = newAccess(user.Rules, record.User, record.Client)
	}
	if record.Named {
		id.key.sender = record.Sender
	}
	if b.sessions.has(id.key) {
		b.hub.Holds().Release(hold)
		return nil, fmt.Errorf("client %s has two sessions", record.Client)
	}
	s := b.newSession(id, number)
	s.hold.Away(Protocol)
	s.expiry = min(time.Duration(record.Expiry)*time.Second, b.opts.SessionExpiry)
	s.durable = s.expiry > 0
	now := b.now()
	s.until = now.Add(s.expiry)
	if !record.Connected && time.Unix(record.Until, 0).Before(s.until) {
		s.until = time.Unix(record.Until, 0)
	}
	if record.Will != nil {
		b.reviveWill(s, record.Will)
	}
	s.revived = true
	b.sessions.mu.Lock() // nobody else makes it: the caller has its turn, or reads the disk
	b.sessions.all[id.key] = s
	b.sessions.away[s] = struct{}{}
	if s.claimed = max(record.Claimed, 1); as != bridge.GivenUp {
		b.sessions.claim(s, s.claimed, as)
	}
	b.sessions.mu.Unlock()
	ends.adopt(func() { b.end(s) })
	b.resubscribe(s, record.Subs)
	return s, nil
}

// reviveWill gives a session the will of its record, to be sent when its client was not back for a
// while.
func (b *Broker) reviveWill(s *session, record *willRecord) {
	now := b.now()
	var err error
	if s.will, err = record.will(); err != nil {
		b.log.WithError(err).WithField("client", s.key.client).Warn("will lost")
	} else if !b.wills.charge(s.will) {
		s.will = nil
		b.log.WithField("client", s.key.client).Warn("will lost: " + errWills.Error())
	}
	s.willAt = now.Add(max(time.Duration(record.Delay)*time.Second, b.opts.WillGrace))
	if at := time.Unix(record.At, 0); record.At != 0 && at.After(s.willAt) {
		s.willAt = at
	}
	if s.will != nil && record.At == 0 {
		b.grace(s)
	}
	if s.willAt.After(s.until) {
		s.until = s.willAt
	}
}

// elsewhere is added to the last packet id of a client that was connected when the gateway
// ended. The client may hold newer QoS 2 ids that were not written, and would take a new
// message with one of them for the old one.
const elsewhere = 1 << 15
