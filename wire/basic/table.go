package basic

import (
	"net/netip"
	"sync"
	"time"

	"watchtower/bridge"
	"watchtower/wire"
)

// Table executes basic frames that come in datagrams, and owns the ids that it
// gives: each is pinned to an address and port (docs/protocol.md, "Over UDP"). Its
// methods may be called from any goroutine.
type Table struct {
	hub    *bridge.Hub
	opts   Options
	member func(netip.AddrPort) any

	mu          sync.Mutex // guards all below; may be taken before the hub's lock
	byID        map[uint32]*entry
	byAddress   map[netip.AddrPort]*entry
	sources     map[netip.Prefix]*source
	unconfirmed list // by the time of registration
	confirmed   list // by the time of the last frame
}

// Reached is for a member that has to know which of the gateway's addresses its device
// uses. The socket numbers these addresses. Any goroutine may call it.
type Reached interface{ ReachedAt(local uint32) }

// source is all ids of one address.
type source struct {
	ids         int
	unconfirmed list // by the time of registration
}

// entry is one id. The table's lock guards it.
type entry struct {
	client    *client
	reached   Reached // may be nil
	from      netip.AddrPort
	confirmed bool
	since     time.Time // when it registered; once it is confirmed: when it was last heard of
	links     [2]links  // in one of the table's lists, and in its source's
}

// lateAfter is the part of the idle timeout after which a silent device is late. Devices send
// something every 25 seconds or so.
const lateAfter = 2

type links struct{ prev, next *entry }

// NewTable returns an empty table. Member makes the Attachment.Member of the receiver at
// an address.
func NewTable(hub *bridge.Hub, opts Options, member func(netip.AddrPort) any) *Table {
	return &Table{
		hub:       hub,
		opts:      opts.withDefaults(),
		member:    member,
		byID:      map[uint32]*entry{},
		byAddress: map[netip.AddrPort]*entry{},
		sources:   map[netip.Prefix]*source{},
	}
}

// Handle executes one datagram, and appends the reply: at most one datagram. From is an
// unmapped address. A datagram that is no request is counted and not answered. A gateway
// with several addresses calls HandleAt.
func (t *Table) Handle(from netip.AddrPort, datagram, reply []byte) []byte {
	return t.HandleAt(from, 0, datagram, reply)
}

// HandleAt is Handle for a datagram that came to one of the gateway's addresses.
func (t *Table) HandleAt(from netip.AddrPort, local uint32, datagram, reply []byte) []byte {
	r, err := wire.Parse(datagram)
	if err != nil || len(datagram) > wire.MaxDatagram || !t.opts.Basic {
		t.hub.Counters().Drop(t.opts.Via, bridge.Malformed, 1)
		t.opts.Misread(from.Addr(), bridge.Malformed)
		return reply
	}
	switch r.Op {
	case wire.OpWhere:
		return wire.AppendWhere(reply, t.opts.where())
	case wire.OpRegister, wire.OpKey:
		if !t.opts.mayRegister(t.hub, r, from.Addr(), t.registered(from)) {
			return wire.AppendError(reply)
		}
		id, ok := t.register(from, local)
		if !ok {
			return wire.AppendError(reply)
		}
		return wire.AppendAnswer(reply, id)
	}
	c := t.heard(from, local, r.ID)
	if c == nil {
		return wire.AppendError(reply)
	}
	return c.execute(r, reply)
}

// Sweep forgets the ids whose time is over. Its cost grows only with their number.
func (t *Table) Sweep(now time.Time) {
	t.mu.Lock()
	over := t.expireLocked(now, nil)
	t.mu.Unlock()
	closeAll(over)
}

// Len returns how many ids live, and how many of them are unconfirmed.
func (t *Table) Len() (ids, unconfirmed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID), t.unconfirmed.len
}

// Close forgets all ids: their senders leave.
func (t *Table) Close() {
	t.mu.Lock()
	all := make([]*client, 0, len(t.byID))
	for _, e := range t.byID {
		all = append(all, e.client)
		t.removeLocked(e)
	}
	t.mu.Unlock()
	closeAll(all)
}

func closeAll(clients []*client) {
	for _, c := range clients {
		c.Close()
	}
}

// Receiver returns the sender of the id of an address; nil: it has none.
func (t *Table) Receiver(at netip.AddrPort) *bridge.Sender {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byAddress[at]; e != nil {
		return e.client.Sender()
	}
	return nil
}

// registered reports whether an address has an id.
func (t *Table) registered(from netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byAddress[from] != nil
}

// register returns the id of an address: the one it has, or a new one. It reports
// false if there is no room for one.
func (t *Table) register(from netip.AddrPort, local uint32) (id uint32, ok bool) {
	now := t.opts.Now()
	t.mu.Lock()
	over := t.expireLocked(now, nil)
	e := t.byAddress[from]
	if e == nil {
		if over, ok = t.roomLocked(t.opts.Source(from.Addr()), over); ok {
			e = t.addLocked(from, now)
		}
	} else if e.confirmed { // an unconfirmed id does not live longer if it is asked for again
		t.touchLocked(e, now)
	}
	if e != nil {
		e.reachedAt(local)
		id, ok = e.client.id(), true
	}
	t.mu.Unlock()
	closeAll(over)
	return id, ok
}

// roomLocked makes room for an id from a source: it removes the oldest unconfirmed id, of
// the source or of all. It never removes a confirmed id. It reports false if there is no
// room.
func (t *Table) roomLocked(at netip.Prefix, over []*client) ([]*client, bool) {
	forget := func(oldest *entry, why bridge.Reason) bool {
		t.hub.Counters().Drop(t.opts.Via, why, 1)
		if oldest == nil {
			return false
		}
		t.removeLocked(oldest)
		over = append(over, oldest.client)
		return true
	}
	if s := t.sources[at]; s != nil && s.ids >= t.opts.ConnectionsPerAddress && !forget(s.unconfirmed.first, bridge.Limit) {
		return over, false
	}
	if len(t.byID) >= t.opts.UDPBasic && !forget(t.unconfirmed.first, bridge.Limit) {
		return over, false
	}
	return over, t.unconfirmed.len < t.opts.UnconfirmedLimit || forget(t.unconfirmed.first, Forgotten)
}

// heard returns the client with an id, and notes that it lives. It returns nil
// if the id is unknown or belongs to another address.
func (t *Table) heard(from netip.AddrPort, local, id uint32) *client {
	now := t.opts.Now()
	t.mu.Lock()
	over := t.expireLocked(now, nil)
	e := t.byID[id]
	if e != nil && e.from == from {
		t.touchLocked(e, now)
		e.reachedAt(local)
	} else {
		e = nil
	}
	t.mu.Unlock()
	closeAll(over)
	if e == nil {
		return nil
	}
	return e.client
}

func (t *Table) addLocked(from netip.AddrPort, now time.Time) *entry {
	member := t.member(from)
	reached, _ := member.(Reached)
	e := &entry{from: from, since: now, reached: reached, client: &client{
		Device: bridge.NewDevice(t.hub, t.opts.Via, false, member),
		hub:    t.hub, via: t.opts.Via, listed: wire.MaxListed,
	}}
	e.client.Register(bridge.Unproved, func() { t.deleted(e) })
	hold := e.client.Hold()
	hold.At(from)
	hold.Heard(now)
	hold.Promises(t.opts.IdleTimeout / lateAfter)
	t.byID[e.client.id()] = e
	t.byAddress[from] = e
	t.unconfirmed.push(e)
	at := t.opts.Source(from.Addr())
	s := t.sources[at]
	if s == nil {
		s = &source{unconfirmed: list{which: 1}}
		t.sources[at] = s
	}
	s.ids++
	s.unconfirmed.push(e)
	return e
}

func (e *entry) reachedAt(local uint32) {
	if e.reached != nil {
		e.reached.ReachedAt(local)
	}
}

// touchLocked confirms an id, and moves it to the end of the confirmed ones.
func (t *Table) touchLocked(e *entry, now time.Time) {
	if !e.confirmed { // it knows the id that was sent to its address
		t.opts.Door.Proved(e.from.Addr())
	}
	t.listOf(e).remove(e)
	if !e.confirmed {
		t.sources[t.opts.Source(e.from.Addr())].unconfirmed.remove(e)
	}
	e.confirmed, e.since = true, now
	e.client.Hold().Heard(now)
	t.confirmed.push(e)
}

// expireLocked removes ids that lived or were silent for too long. It appends their
// clients to over: the caller closes them without the table's lock.
func (t *Table) expireLocked(now time.Time, over []*client) []*client {
	expire := func(l *list, after time.Duration) {
		for e := l.first; e != nil && now.Sub(e.since) >= after; e = l.first {
			t.removeLocked(e)
			e.client.Hold().Left(bridge.LeftBySilence)
			over = append(over, e.client)
		}
	}
	expire(&t.unconfirmed, UnconfirmedFor)
	expire(&t.confirmed, t.opts.IdleTimeout)
	return over
}

func (t *Table) removeLocked(e *entry) {
	t.listOf(e).remove(e)
	at := t.opts.Source(e.from.Addr())
	s := t.sources[at]
	if !e.confirmed {
		s.unconfirmed.remove(e)
	}
	if s.ids--; s.ids == 0 {
		delete(t.sources, at)
	}
	delete(t.byID, e.client.id())
	delete(t.byAddress, e.from)
}

// deleted forgets an id whose sender the hub deleted.
func (t *Table) deleted(e *entry) {
	t.mu.Lock()
	if t.byID[e.client.id()] == e {
		t.removeLocked(e)
	}
	t.mu.Unlock()
	e.client.Close()
}

func (t *Table) listOf(e *entry) *list {
	if e.confirmed {
		return &t.confirmed
	}
	return &t.unconfirmed
}

// list holds entries by time, the oldest first. Its links are in the entries,
// so that a frame moves its entry to the end without searching or allocating.
type list struct {
	which       int // index into entry.links
	first, last *entry
	len         int
}

func (l *list) push(e *entry) {
	e.links[l.which] = links{prev: l.last}
	if l.last == nil {
		l.first = e
	} else {
		l.last.links[l.which].next = e
	}
	l.last = e
	l.len++
}

func (l *list) remove(e *entry) {
	at := e.links[l.which]
	if at.prev == nil {
		l.first = at.next
	} else {
		at.prev.links[l.which].next = at.next
	}
	if at.next == nil {
		l.last = at.prev
	} else {
		at.next.links[l.which].prev = at.prev
	}
	e.links[l.which] = links{}
	l.len--
}
