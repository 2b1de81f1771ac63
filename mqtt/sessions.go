package mqtt

import (
	"context"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/ticker"
)

// attach gives a connection its session: the one of its key, or a new one. It ends the
// session's old connection first (mqtt/doc.go, "The life of a session"). Then it queues
// CONNACK, and after that the session's deliveries.
// The session may have arrived from another gateway, with the identity's hold; else arrived is
// nil. The caller has the key's turn.
func (b *Broker) attach(c *conn, who identity, pk *packets.Packet, assigned bool, arrived *session) packets.Code {
	ss := b.sessions
	s := b.vacant(who.key, c) // locks ss.mu
	if s == nil && len(ss.all) >= b.opts.MQTTSessions {
		ss.mu.Unlock()
		b.limited(c, "", errSessions)
		return packets.ErrQuotaExceeded
	}
	if who.speaks && s != nil {
		b.hub.Holds().Renew(s.hold)
	}
	present := s != nil && !pk.Connect.Clean && s.expiry > 0 // expiry 0: only its will is left
	var ended *session
	var will *message
	if s != nil && !present {
		if s.graced == nil { // else the client is back in time: no will
			will = s.will
		}
		ended, s.will = s, nil
		ss.remove(s)
	}
	if !present {
		s = b.newSession(who, 0)
		ss.all[who.key] = s
	}
	s.expiry = b.expiry(pk)
	delete(ss.away, s)
	s.will, s.willAt = nil, time.Time{} // the client is back: no delayed will (MQTT-3.1.3-9)
	c.session = s
	s.lost, s.revived = false, false
	ss.claim(s, 0, bridge.Live)
	ss.mu.Unlock()

	b.sendWill(ended, will) // before CONNACK: the client's next messages are newer
	ss.mu.Lock()
	lost := ss.all[who.key] != s // to another gateway
	if !lost {
		c.acknowledge(present, assigned, pk)
		s.attach(c)
	}
	ss.mu.Unlock()

	b.graceOver(s)
	if ended != nil {
		b.discard(ended)
	}
	if lost {
		return packets.ErrServerBusy
	}
	if present && s != arrived {
		b.hub.Holds().Release(who.hold) // the session has its own
	} else {
		who.owner.adopt(func() { b.end(s) })
	}
	if who.speaks { // a device may register under its name later
		b.hub.Holds().Claim(s.hold, func() { s.dismiss(packets.ErrSessionTakenOver) })
	}
	return packets.Code{}
}

// vacant ends the connection of a key's session for c, and returns the session or nil, with
// the sessions' lock held.
func (b *Broker) vacant(key sessionKey, c *conn) *session {
	ss := b.sessions
	for {
		ss.mu.Lock()
		s := ss.all[key]
		if s == nil {
			return nil
		}
		old := s.connection()
		if old == nil {
			return s
		}
		ss.mu.Unlock()
		b.tookOver(old, c)
		old.halt(packets.ErrSessionTakenOver, haltPatience)
	}
}

// expiry is how long a client's session outlives its connection.
func (b *Broker) expiry(pk *packets.Packet) time.Duration {
	switch {
	case pk.ProtocolVersion == version5:
		return min(time.Duration(pk.Properties.SessionExpiryInterval)*time.Second, b.opts.SessionExpiry)
	case pk.Connect.Clean:
		return 0
	}
	return b.opts.SessionExpiry
}

// left detaches an ended connection: its session becomes away or ends, and its will is
// sent or delayed, unless the client said goodbye.
func (b *Broker) left(c *conn) {
	s := c.session
	will := c.will
	if c.willQuiet {
		will = nil
	}
	ss := b.sessions
	ss.mu.Lock()
	if c.suspended && b.keeper != nil {
		if was, _ := s.detach(c, false); was { // session and will go on after the restart
			s.until, s.will, s.willAt = b.now().Add(s.expiry), will, time.Time{}
		}
		ss.mu.Unlock()
		return
	}
	if s.lost {
		will = nil
	}
	mine, tooMuch := s.detach(c, true) // mine is false after a takeover or the session's end
	end := mine && s.expiry == 0
	switch {
	case end:
		ss.remove(s)
	case mine:
		now := b.now()
		s.until = now.Add(s.expiry)
		ss.stand(s, bridge.Waiting)
		if will != nil && c.willDelay > 0 {
			s.will, s.willAt = will, now.Add(c.willDelay)
			will = nil
		}
		ss.away[s] = struct{}{}
	case c.willDelay > 0 && !s.hasEnded():
		will = nil // the session was taken over before the delay ended
	}
	ss.mu.Unlock()
	b.sendWill(s, will)
	if tooMuch != nil {
		b.log.WithFields(logrus.Fields{"client": bridge.Shorten(s.key.client), "topic": bridge.Shorten(tooMuch.topic), "bytes": tooMuch.size()}).
			Warn("message given up: five connections of the client in a row ended with it, and it was not acknowledged")
	}
	if end {
		b.discard(s)
	}
}

// end ends a session and its connection, because its sender or its user was deleted.
func (b *Broker) end(s *session) {
	ss := b.sessions
	ss.mu.Lock()
	c := ss.remove(s)
	ss.mu.Unlock()
	if c != nil {
		c.halt(packets.ErrAdministrativeAction, haltPatience)
	}
	b.discard(s)
}

// remove ends a session and removes it from the table in one step, so that a connection
// that ends at the same time does nothing more. The caller holds mu, ends the returned
// connection, and calls discard.
func (ss *sessions) remove(s *session) *conn {
	ss.forget(s)
	return s.end()
}

// forget removes a session from the table. The caller holds mu.
func (ss *sessions) forget(s *session) {
	if ss.all[s.key] == s {
		delete(ss.all, s.key)
		ss.unclaim(s.key)
	}
	delete(ss.away, s)
}

// discard cleans up after a removed session: it sends its will, and ends its subscriptions,
// its memberships and its hold on the sender.
func (b *Broker) discard(s *session) {
	b.sessions.mu.Lock()
	will := s.will
	s.will = nil
	b.sessions.mu.Unlock()
	if !b.graceOver(s) {
		b.sendWill(s, will) // the session's end ends the delay
	}
	var shared []string // filters of its shared subscriptions
	s.subMu.Lock()
	for _, sub := range s.subs {
		b.router.remove(sub)
		b.tellGroup(sub)
		if sub.shared {
			shared = append(shared, sub.filter)
		}
	}
	clear(s.subs)
	s.subBytes = 0
	for _, j := range s.channels {
		b.hub.Detach(j.attachment)
	}
	clear(s.channels)
	s.subMu.Unlock()
	b.passOn(s, shared)
	b.hub.Holds().Release(s.hold)
}

const (
	sweepEvery  = time.Second
	silentEvery = time.Second / 4 // while a client's keep-alive is so short that it matters
)

// endSilent ends the parked connections whose clients are silent, until ctx ends.
func (b *Broker) endSilent(ctx context.Context) {
	t := ticker.New(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			shortest := sweepEvery
			b.eachConn(func(c *conn) {
				if !c.sock.Parked() {
					return
				}
				if c.keepAlive > 0 {
					shortest = min(shortest, c.keepAlive/4)
				}
				if c.silent(now) {
					c.sock.Kick()
				}
			})
			t.NextAt(max(shortest, silentEvery))
		}
	}
}

// sweep ends expired sessions, and sends wills that are due.
func (b *Broker) sweep(ctx context.Context) {
	t := ticker.New(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			t.Next()
		}
		now := b.now()
		b.retained.expire(now)
		b.tellGroups()
		wills := map[*session]*message{} // due
		var ended []*session
		ss := b.sessions
		ss.mu.Lock()
		for s := range ss.away {
			if s.will != nil && (now.After(s.willAt) || now.After(s.until)) {
				wills[s], s.will = s.will, nil
				s.recordChanged()
			}
			if now.After(s.until) {
				ss.remove(s)
				ended = append(ended, s)
			}
		}
		ss.mu.Unlock()
		for s, will := range wills {
			if !b.graceOver(s) {
				b.sendWill(s, will)
			}
		}
		for _, s := range ended {
			b.discard(s)
		}
	}
}

// newSession makes an empty session. Number 0: it is not on disk, and gets a new number.
func (b *Broker) newSession(id identity, number uint64) *session {
	b.budget.sessions.Add(1)
	s := &session{
		queue: newQueue(), inflight: newQueue(),
		key: id.key, hold: id.hold, voucher: b.hub.Users().Voucher(id.hold.Sender()), counters: b.hub.Counters(), number: number,
		limits: queueLimits{b.opts.SessionQueue, b.opts.SessionQueueBytes, b.budget},
		subs:   map[string]*subscription{}, channels: map[bridge.Channel]*joined{},
	}
	s.access.Store(id.access)
	if k := b.keeper; k != nil {
		s.unsaved = &k.changes
		if number == 0 {
			s.number = k.lastSession.Add(1)
		}
	}
	return s
}

// acknowledge queues CONNACK, the first packet on the connection.
func (c *conn) acknowledge(present, assigned bool, pk *packets.Packet) {
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, SessionPresent: present}
	if c.version == version5 {
		p := &ack.Properties
		p.ReceiveMaximum = uint16(c.broker.opts.receiveMax())
		p.TopicAliasMaximum = aliasMax
		p.MaximumPacketSize = uint32(c.broker.opts.MaxPacketBytes)
		if assigned {
			p.AssignedClientID = c.clientID
		}
		if c.keepAliveSet {
			p.ServerKeepAlive, p.ServerKeepAliveFlag = uint16(c.keepAlive/time.Second), true
		}
		if most := uint32(c.broker.opts.SessionExpiry / time.Second); pk.Properties.SessionExpiryInterval > most {
			p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = most, true
		}
	}
	_ = c.answerPacket(ack) // cannot fail: the buffer is empty
}

// rivalry is the time within which a second takeover of a client id is logged.
const rivalry = time.Minute

// tookOver counts a takeover. If the old connection itself took over a moment ago, two
// programs probably use one client id.
func (b *Broker) tookOver(old, by *conn) {
	b.hub.Counters().TookOver()
	now := b.now()
	by.tookOver = now
	if now.Sub(old.tookOver) < rivalry && b.noisy.Allow(old.clientID, "rivals", now) {
		b.log.WithFields(logrus.Fields{"client": bridge.Shorten(old.clientID), "remote": old.remote, "by": by.remote}).
			Warn("a client id is taken over again and again: two programs seem to have it, give each its own")
	}
}
