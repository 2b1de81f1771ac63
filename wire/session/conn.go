package session

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/wire/frame"
)

// Conn executes the session frames of one TCP connection, and owns its one session.
// Handle is called from one goroutine, the other methods from any.
type Conn struct {
	hub       *bridge.Hub
	opts      Options
	registrar *Registrar
	verbs     verbs
	owner     Owner
	begun     time.Time // milliseconds are counted from here

	mu    sync.Mutex             // guards the session; may be taken before the hub's lock
	epoch uint32                 // how many sessions there have been
	live  atomic.Pointer[Stream] // kept after it has ended, for deliveries in the queue
}

// Owner is the connection of a Conn.
type Owner interface {
	// From is the peer's address, unmapped.
	From() netip.AddrPort
	// Put queues a frame for writing, in the order of the calls. It reports false if
	// there is no room. If mark is not 0, the frame is a delivery that others share, and
	// what Conn.Stamp makes of it is written instead.
	Put(frame []byte, mark uint64) bool
	// Displaced says that the session has ended: another session took its name, or its
	// sender was deleted.
	Displaced()
	// Member is Attachment.Member of a session of the connection.
	Member(s *Stream) any
}

// Stream is one session of a connection.
type Stream struct {
	core
	conn  *Conn
	epoch uint32
}

// NewConn returns the Conn of a new connection. All connections of a server share the
// registrar.
func NewConn(hub *bridge.Hub, r *Registrar, opts Options, owner Owner) *Conn {
	c := &Conn{hub: hub, opts: opts.withDefaults(), registrar: r, owner: owner, verbs: verbs{hub: hub, via: r.via, wait: true}}
	c.begun = c.opts.Now()
	return c
}

// Registered reports whether the connection has a session.
func (c *Conn) Registered() bool { return c.session() != nil }

// session returns the session, or nil.
func (c *Conn) session() *Stream {
	if s := c.live.Load(); s != nil && !s.ended.Load() {
		return s
	}
	return nil
}

// Expires is when the session ends if no frame comes; zero without a session.
func (c *Conn) Expires() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.session(); s != nil {
		return c.begun.Add(time.Duration(s.expires) * time.Millisecond)
	}
	return time.Time{}
}

// Close ends the session. It may be called again.
func (c *Conn) Close() {
	s := c.session()
	if s == nil {
		return
	}
	_, now := c.now()
	c.mu.Lock()
	silent := now >= s.expires
	c.mu.Unlock()
	if silent {
		s.device.Left(bridge.LeftBySilence)
	} else {
		s.device.Left(bridge.LeftByLoss)
	}
	c.end(s)
}

func (c *Conn) now() (time.Time, int64) {
	now := c.opts.Now()
	return now, now.Sub(c.begun).Milliseconds()
}

// Handle executes one whole frame, and appends the reply. It counts a frame that it drops
// without an answer.
func (c *Conn) Handle(raw, reply []byte) []byte {
	f, err := frame.Parse(raw)
	if err != nil || neverTaken(f) {
		c.misread(bridge.Malformed)
		return reply
	}
	if f.Op == frame.Register {
		return c.register(f, raw, reply)
	}
	s := c.session()
	switch {
	case s != nil && s.id == f.ID:
		if !s.opens(raw) {
			c.misread(bridge.Forged)
			return reply
		}
		return c.take(s, f, raw, reply)
	case f.Op == frame.Delivered:
		c.drop(Unknown)
		return reply
	}
	return frame.AppendUnknown(reply, raw)
}

// Passed answers a frame that was too long to be read, on a connection without a session.
// Raw is the frame's header and tag.
func (c *Conn) Passed(raw, reply []byte) []byte {
	if op := frame.Op(raw[0]); op == frame.Register || op == frame.Delivered || op.FromGateway() {
		c.misread(bridge.Malformed)
		return reply
	}
	return frame.AppendUnknown(reply, raw)
}

// Busy answers a frame of the session for which there is no memory, by its header. The
// connection ends after that.
func (c *Conn) Busy(head, reply []byte) []byte {
	s, f := c.session(), frame.Header(head)
	if s == nil || s.id != f.ID {
		return reply
	}
	return answer{seq: f.Seq, op: f.Op, code: frame.SlowDown}.append(reply, &s.core, nil)
}

// register answers an r.
func (c *Conn) register(f frame.Frame, raw, reply []byte) []byte {
	now, _ := c.now()
	o, reply := c.registrar.open(now, c.owner.From(), c.Registered(), f, raw, reply)
	switch {
	case o == nil:
		return reply
	case o.earlier != nil && o.earlier.ended.Load():
		c.drop(Duplicate)
		return reply
	case o.earlier != nil:
		return o.earlier.registered(reply, o.CNonce)
	}
	s := &Stream{conn: c}
	s.device = bridge.NewDevice(c.hub, c.verbs.via, o.Options&frame.NoEcho != 0, c.owner.Member(s))
	wait, err := c.registrar.hold(o, s.device, func() { c.displaced(s) })
	if err == nil && wait != nil {
		err = wait()
	}
	if err != nil {
		s.device.Close()
		return c.registrar.refuse(o, codeOf(err), reply)
	}
	c.Close() // the session before this one
	s.device.Claim(func() { c.displaced(s) })
	if c.begin(s, o) {
		reply = s.registered(reply, o.CNonce)
	}
	c.registrar.done(o, &s.core)
	return reply
}

// begin starts a session. It reports false if the session was displaced already.
func (c *Conn) begin(s *Stream, o *opened) bool {
	at, now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended.Load() {
		return false
	}
	s.settle(o, c.owner.From(), tcpDatagram, at)
	c.epoch++
	s.epoch = c.epoch
	s.expires = now + s.life()
	c.live.Store(s)
	return true
}

func (c *Conn) displaced(s *Stream) {
	c.end(s)
	c.owner.Displaced()
}

func (c *Conn) end(s *Stream) {
	c.mu.Lock()
	s.ended.Store(true)
	c.verbs.lose(s.device, bridge.Disconnected, s.box.waiting())
	s.box = outbox{}
	c.mu.Unlock()
	s.device.Close()
}

// take executes an authentic frame of the session.
func (c *Conn) take(s *Stream, f frame.Frame, raw, reply []byte) []byte {
	at, now := c.now()
	execute, reply := c.admit(s, f, at, now, reply)
	if !execute {
		return reply
	}
	code, list := frame.OK, []byte(nil)
	switch f.Op {
	case frame.Ping:
		if _, _, err := frame.ParsePing(f.Body); err == nil {
			c.ping(s, f.Seq)
			return reply
		}
		code = frame.BadRequest
	case frame.Bye:
		seconds, err := frame.ParseBye(f.Body)
		switch {
		case err != nil:
			code = frame.BadRequest
		case seconds == 0:
			s.device.Left(bridge.LeftByGoodbye)
			c.end(s)
			return answer{seq: f.Seq, op: f.Op}.append(reply, &s.core, nil)
		default:
			c.mu.Lock()
			s.sleep(now, seconds)
			c.mu.Unlock()
		}
	default:
		code, list = c.verbs.execute(s.device, f, listedOverTCP, nil)
	}
	if code == frame.UnknownID { // its sender was deleted meanwhile
		return frame.AppendUnknown(reply, raw)
	}
	if code != frame.OK || f.AckWanted() || !silent(f.Op) {
		a, list := answerTo(f, code, list)
		reply = a.append(reply, &s.core, list)
		c.mu.Lock()
		if !repeatable(f.Op) {
			s.answers.add(a)
		}
		c.mu.Unlock()
	}
	if f.Seq == lastSeq { // numbers never wrap: the session ends
		c.end(s)
	}
	return reply
}

// admit decides what becomes of an authentic frame. It reports whether to
// execute it.
func (c *Conn) admit(s *Stream, f frame.Frame, at time.Time, now int64, reply []byte) (bool, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended.Load() { // it has ended meanwhile
		c.drop(Unknown)
		return false, reply
	}
	if f.Op == frame.Delivered {
		if s.acknowledges(at, f.Seq, now, false) {
			c.pumpLocked(s)
		} else {
			c.drop(Duplicate)
		}
		return false, reply
	}
	switch v, a := s.judge(f); v {
	case again:
		return true, reply
	case answered:
		return false, a.append(reply, &s.core, nil)
	case stale:
		c.drop(Duplicate)
		return false, reply
	}
	s.seen.take(f.Seq)
	if s.alive(at, now, f.Op) {
		c.pumpLocked(s)
	}
	return true, reply
}

// ping has a p answered after the deliveries that came before it.
func (c *Conn) ping(s *Stream, seq uint32) {
	c.mu.Lock()
	if !s.ended.Load() {
		if s.wait(seq) {
			c.drop(bridge.QueueFull)
		}
		c.pumpLocked(s)
	}
	c.mu.Unlock()
	if seq == lastSeq {
		c.end(s)
	}
}

// Deliver gives the session a message. Delivery is what frame.AppendDelivery made of it;
// others share it. It is queued for writing, or waits. Deliver reports false, and counts
// a drop, if there is no room or the session has ended.
func (s *Stream) Deliver(m *bridge.Message, delivery []byte) bool {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended.Load() || s.box.seq == lastSeq {
		c.verbs.lose(s.device, bridge.Disconnected, 1)
		return false
	}
	if !s.asleep && !s.acknowledged() && s.box.empty() {
		s.box.seq++
		return c.putLocked(s, delivery, s.box.seq)
	}
	if s.box.push(delivery, expiry(m, c.begun), c.opts.SessionQueue) {
		c.verbs.lose(s.device, bridge.QueueFull, 1)
	}
	c.pumpLocked(s)
	return true
}

// pumpLocked sends what may be sent now. It never repeats a delivery.
func (c *Conn) pumpLocked(s *Stream) {
	if s.asleep {
		return
	}
	_, now := c.now()
	c.verbs.lose(s.device, bridge.Expired, s.box.dropExpired(now))
	for s.box.waiting() > 0 && s.box.seq < lastSeq && (!s.acknowledged() || s.box.flying < s.options.Window()) {
		e := s.box.next()
		e.sends = 2 // TCP loses nothing: the answer to a p need not wait for the k
		if !c.putLocked(s, e.frame, e.seq) {
			s.box.remove(s.box.flying - 1)
		} else if !s.acknowledged() {
			s.box.remove(0)
		}
	}
	for seq, ok := s.box.answerable(); ok; seq, ok = s.box.answerable() {
		a := answer{seq: seq, op: frame.Ping}
		s.answers.add(a)
		if !c.owner.Put(a.append(nil, &s.core, nil), 0) {
			c.drop(bridge.QueueFull)
		}
	}
}

// putLocked queues a delivery. It reports false, and counts it, if there is no room.
func (c *Conn) putLocked(s *Stream, delivery []byte, seq uint32) bool {
	if !c.owner.Put(delivery, s.mark(seq)) {
		c.verbs.lose(s.device, bridge.QueueFull, 1)
		return false
	}
	if len(delivery) > tcpDatagram {
		c.verbs.lose(s.device, Truncated, 1)
	}
	return true
}

// mark is the mark with which a delivery of this session is put.
func (s *Stream) mark(seq uint32) uint64 { return uint64(s.epoch)<<32 | uint64(seq) }

// Stamp appends a delivery that was put with a mark, as the session gets it. It drops a
// delivery of an earlier session.
func (c *Conn) Stamp(b, delivery []byte, mark uint64) []byte {
	s := c.live.Load()
	if s == nil || s.epoch != uint32(mark>>32) {
		c.drop(bridge.Disconnected)
		return b
	}
	return s.stamp(b, delivery, s.receiver(uint32(mark)))
}

func (c *Conn) drop(why bridge.Reason) { c.hub.Counters().Drop(c.verbs.via, why, 1) }

// Receiver is the sender of the session, or of the last one; nil: there was none.
func (c *Conn) Receiver() *bridge.Sender {
	if s := c.live.Load(); s != nil {
		return s.device.Sender()
	}
	return nil
}

func (c *Conn) misread(why bridge.Reason) {
	c.drop(why)
	c.opts.Misread(c.owner.From().Addr(), why)
}
