package session

import (
	"net/netip"
	"sync"
	"time"

	"watchtower/bridge"
	"watchtower/wire/frame"
)

// Table holds the sessions that speak datagrams. Its methods may be called from
// any goroutine; what one device sends is executed in the order of the calls.
type Table struct {
	hub       *bridge.Hub
	opts      Options
	registrar *Registrar
	verbs     verbs
	begun     time.Time // milliseconds are counted from here

	mu        sync.Mutex // guards all below, and the sessions; may be taken before the hub's lock
	byID      map[uint32]*Session
	byAddress map[netip.AddrPort]*Session
	wheel     wheel
	next      int64 // what Advance said last, or the earlier time of a Wake since
}

// Session is one device. The table's lock guards it.
type Session struct {
	core
	at         netip.AddrPort
	local      uint32 // the gateway's address that it speaks to: Out.Local
	pace       int64  // milliseconds between two datagrams
	clear      int64  // when the next one may be sent
	challenged int64  // when the last q was sent
	late       [][]byte
	filed      filed
}

// NewTable returns an empty table. A nil keys is that of an open gateway.
func NewTable(hub *bridge.Hub, keys Keys, opts Options) *Table {
	t := &Table{
		hub: hub, opts: opts.withDefaults(),
		registrar: NewRegistrar(hub, opts.Via, keys, opts.Door),
		verbs:     verbs{hub: hub, via: opts.Via},
		byID:      map[uint32]*Session{},
		byAddress: map[netip.AddrPort]*Session{},
		next:      never,
	}
	t.begun = t.opts.Now()
	return t
}

// now returns the time, and the same in the table's milliseconds. They begin with 1,
// because 0 stands for never.
func (t *Table) now() (time.Time, int64) {
	now := t.opts.Now()
	return now, now.Sub(t.begun).Milliseconds() + 1
}

// Len returns how many sessions there are.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// Close ends all sessions.
func (t *Table) Close() {
	t.mu.Lock()
	all := make([]*Session, 0, len(t.byID))
	for _, s := range t.byID {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		t.end(s)
	}
}

// Advance returns when out has outFull bytes, or when it has looked at advanced sessions.
const (
	outFull  = 64 << 10
	advanced = 1024
)

// Advance does what is due: retries, answers that waited, ends of sessions. It returns
// the time until something is due again, 0 if there is more to do at once, or a negative
// duration if nothing will be due.
func (t *Table) Advance(out *Out) time.Duration {
	_, now := t.now()
	var over []*Session
	t.mu.Lock()
	next := now // if there is more
	for range advanced {
		s := t.wheel.take(now)
		if s == nil {
			next = t.wheel.next()
			break
		}
		if now >= s.expires {
			t.removeLocked(s)
			over = append(over, s)
			continue
		}
		t.pumpLocked(s, now, out)
		if len(out.bytes) >= outFull {
			break
		}
	}
	t.next = next
	t.mu.Unlock()
	for _, s := range over {
		s.device.Left(bridge.LeftBySilence)
		s.device.Close()
	}
	if next == never {
		return -1
	}
	return time.Duration(next-now) * time.Millisecond
}

// fileLocked makes sure that Advance looks at a session when it is due.
func (t *Table) fileLocked(s *Session, due, now int64) {
	if at := t.wheel.file(s, due, now); at < t.next {
		t.next = at
		t.opts.Wake()
	}
}

// register answers an r.
func (t *Table) register(from netip.AddrPort, f frame.Frame, raw []byte, out *Out) {
	now, _ := t.now()
	begin := len(out.bytes)
	var o *opened
	o, out.bytes = t.registrar.open(now, from, t.live(from), f, raw, out.bytes)
	switch {
	case o == nil:
	case o.earlier != nil:
		if o.earlier.ended.Load() {
			t.drop(Duplicate)
			break
		}
		out.bytes = o.earlier.registered(out.bytes, o.CNonce)
	default:
		t.open(from, o, out)
		return
	}
	out.commit(from, begin)
}

// live reports whether an address has a session.
func (t *Table) live(from netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byAddress[from] != nil
}

// open begins a session, at once or when its name is on disk.
func (t *Table) open(from netip.AddrPort, o *opened, out *Out) {
	s := &Session{at: from, local: out.Local, pace: int64(o.Pace)}
	s.device = bridge.NewDevice(t.hub, t.verbs.via, o.Options&frame.NoEcho != 0, t.opts.Member(s))
	wait, err := t.registrar.hold(o, s.device, func() { t.end(s) })
	if err != nil {
		t.refuse(s, o, codeOf(err), out)
		return
	}
	begin := func(out *Out) {
		if wait != nil {
			if err := wait(); err != nil {
				t.refuse(s, o, codeOf(err), out)
				return
			}
		}
		t.begin(s, o, out)
	}
	if wait == nil || t.opts.Later == nil {
		begin(out)
		return
	}
	o.Name = nil // it points into the datagram
	if !t.opts.Later(begin) {
		t.drop(bridge.QueueFull)
		t.refuse(s, o, frame.SlowDown, out)
	}
}

// refuse refuses a registration, and gives its sender back.
func (t *Table) refuse(s *Session, o *opened, code frame.Code, out *Out) {
	s.device.Close()
	begin := len(out.bytes)
	out.bytes = t.registrar.refuse(o, code, out.bytes)
	out.give(s, begin)
}

// begin starts a session in place of the sessions that it ends, and answers.
func (t *Table) begin(s *Session, o *opened, out *Out) {
	at, now := t.now()
	s.device.Claim(func() { t.end(s) })
	t.mu.Lock()
	if s.ended.Load() { // deleted, or displaced already
		t.mu.Unlock()
		t.registrar.done(o, &s.core)
		return
	}
	s.settle(o, s.at, min(max(o.MaxDatagram, frame.LeastDatagram), frame.MaxDatagram), at)
	var over []*Session
	for _, old := range []*Session{t.byAddress[s.at], t.byID[s.id]} {
		if old != nil && !old.ended.Load() {
			t.removeLocked(old)
			over = append(over, old)
		}
	}
	full := len(t.byID) >= t.opts.UDPSessions
	if !full {
		t.byID[s.id], t.byAddress[s.at] = s, s
		s.expires = now + s.life()
		begin := len(out.bytes)
		out.bytes = s.registered(out.bytes, o.CNonce)
		t.shipLocked(s, now, out, begin)
		t.pumpLocked(s, now, out)
	}
	t.mu.Unlock()
	for _, old := range over {
		old.device.Close()
	}
	if full {
		t.drop(bridge.Limit)
		t.refuse(s, o, frame.Full, out)
		return
	}
	t.registrar.done(o, &s.core)
}

// end ends a session: it has expired, was deleted or displaced. It may be called
// again.
func (t *Table) end(s *Session) {
	t.mu.Lock()
	if !s.ended.Load() {
		t.removeLocked(s)
	}
	t.mu.Unlock()
	s.device.Close()
}

// removeLocked removes a session. The caller closes its device without the lock.
func (t *Table) removeLocked(s *Session) {
	s.ended.Store(true)
	if t.byID[s.id] == s {
		delete(t.byID, s.id)
	}
	if t.byAddress[s.at] == s {
		delete(t.byAddress, s.at)
	}
	t.wheel.remove(s)
	t.verbs.lose(s.device, bridge.Disconnected, len(s.box.entries)-s.box.had())
	s.box, s.late = outbox{}, nil
}

func (t *Table) drop(why bridge.Reason) { t.hub.Counters().Drop(t.verbs.via, why, 1) }

// Receiver returns the sender of the session at an address; nil: there is none.
func (t *Table) Receiver(at netip.AddrPort) *bridge.Sender {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.byAddress[at]; s != nil {
		return s.device.Sender()
	}
	return nil
}

func (t *Table) misread(from netip.AddrPort, why bridge.Reason) {
	t.drop(why)
	t.opts.Misread(from.Addr(), why)
}
