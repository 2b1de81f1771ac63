package session

import (
	"net/netip"
	"time"

	"watchtower/bridge"
	"watchtower/wire/frame"
)

// Handle executes one datagram that begins like a session frame. From is an unmapped
// address. It counts a datagram that it drops without an answer.
func (t *Table) Handle(from netip.AddrPort, datagram []byte, out *Out) {
	f, err := frame.Parse(datagram)
	switch {
	case err != nil, len(datagram) > frame.MaxDatagram, neverTaken(f):
		t.misread(from, bridge.Malformed)
		return
	case f.Op == frame.Register:
		t.register(from, f, datagram, out)
		return
	}
	s := t.find(f.ID)
	switch {
	case s == nil && f.Op == frame.Delivered:
		t.drop(Unknown)
	case s == nil:
		t.unknown(from, datagram, out)
	case !s.opens(datagram):
		t.misread(from, bridge.Forged)
	default:
		t.take(s, from, f, datagram, out)
	}
}

// neverTaken reports whether a frame is dropped whoever sent it: only gateways send it,
// or it is a k with a body.
func neverTaken(f frame.Frame) bool {
	return f.Op.FromGateway() || f.Op == frame.Delivered && len(f.Body) > 0
}

// unknown tells whoever sent a frame that its session is not known.
func (t *Table) unknown(to netip.AddrPort, datagram []byte, out *Out) {
	begin := len(out.bytes)
	out.bytes = frame.AppendUnknown(out.bytes, datagram)
	out.commit(to, begin)
}

// find returns the session with an id, unless it has expired.
func (t *Table) find(id uint32) *Session {
	_, now := t.now()
	t.mu.Lock()
	s := t.byID[id]
	over := s != nil && now >= s.expires
	t.mu.Unlock()
	if over {
		s.device.Left(bridge.LeftBySilence)
		t.end(s)
		return nil
	}
	return s
}

// take executes an authentic frame of a session.
func (t *Table) take(s *Session, from netip.AddrPort, f frame.Frame, datagram []byte, out *Out) {
	at, now := t.now()
	var gone *Session
	t.mu.Lock()
	execute := t.admitLocked(s, from, f, at, now, out, &gone)
	t.mu.Unlock()
	if gone != nil {
		gone.device.Close()
	}
	if !execute {
		return
	}
	code, list := frame.OK, []byte(nil)
	switch f.Op {
	case frame.Ping:
		if _, _, err := frame.ParsePing(f.Body); err == nil {
			t.ping(s, f.Seq, now, out)
			return
		}
		code = frame.BadRequest
	case frame.Bye:
		if seconds, err := frame.ParseBye(f.Body); err != nil {
			code = frame.BadRequest
		} else if t.bye(s, from, f, seconds, now, out); seconds == 0 {
			return
		}
	default:
		code, list = t.verbs.execute(s.device, f, s.listRoom(), nil)
	}
	if code == frame.UnknownID { // its sender was deleted meanwhile
		t.unknown(from, datagram, out)
		return
	}
	if code != frame.OK || f.AckWanted() || !silent(f.Op) {
		a, list := answerTo(f, code, list)
		t.answer(s, a, list, now, out)
	}
	if f.Seq == lastSeq { // numbers never wrap: the session ends
		t.end(s)
	}
}

// silent reports whether success is answered only if the frame asks for it.
func silent(op frame.Op) bool { return op == frame.Broadcast || op == frame.Send }

// listRoom is how many ids fit into the answer to an l or u.
func (s *Session) listRoom() int { return (int(s.maxDatagram) - frame.Overhead - 2) / 4 }

// admitLocked decides what becomes of an authentic frame (docs/protocol.md, "Numbers").
// It reports whether to execute it. If a session ended by that, gone is set to it: the
// caller closes its device.
func (t *Table) admitLocked(s *Session, from netip.AddrPort, f frame.Frame, at time.Time, now int64, out *Out, gone **Session) bool {
	switch {
	case s.ended.Load(): // it has ended meanwhile
		t.drop(Unknown)
		return false
	case f.Op == frame.Delivered:
		t.deliveredLocked(s, from, f.Seq, at, now, out)
		return false
	case from != s.at && !t.movesLocked(s, from, f, at, now, out, gone):
		t.drop(Elsewhere)
		return false
	}
	switch v, a := s.judge(f); v {
	case again:
		return true
	case answered:
		t.answerLocked(s, a, nil, now, out)
		return false
	case stale:
		t.drop(Duplicate)
		return false
	}
	s.seen.take(f.Seq)
	s.local = out.Local
	if s.alive(at, now, f.Op) {
		s.box.retryAll(now)
		t.pumpLocked(s, now, out)
	}
	return true
}

// movesLocked checks a frame from another address. If the frame proves that the device is
// there, the session moves. Otherwise the device is challenged, if the number is new or
// only a little old: after a second move the device repeats a request that is older than
// its last proof.
func (t *Table) movesLocked(s *Session, from netip.AddrPort, f frame.Frame, at time.Time, now int64, out *Out, gone **Session) bool {
	if f.Seq == 0 || f.Seq < s.seen.newest && s.seen.newest-f.Seq > movedBelow {
		return false
	}
	if f.Op == frame.Ping && f.Seq > s.seen.newest && t.registrar.challengeIs(f.Body, at, from, s.key) {
		if *gone = t.byAddress[from]; *gone != nil { // its device is no longer there
			t.removeLocked(*gone)
		}
		delete(t.byAddress, s.at)
		s.at = from
		s.device.Hold().At(from)
		t.byAddress[from] = s
		t.registrar.door.Proved(from.Addr())
		return true
	}
	if s.challenged == 0 || now-s.challenged >= challengeEvery {
		s.challenged = now
		challenge := t.registrar.challenge(at, from, s.key)
		begin := len(out.bytes)
		out.bytes = frame.Append(out.bytes, frame.Frame{Op: frame.Challenge, ID: s.id, Seq: f.Seq, Body: challenge[:]}, s.key)
		s.hide(out.bytes[begin:])
		out.commit(from, begin)
	}
	return false
}

// deliveredLocked takes a k.
func (t *Table) deliveredLocked(s *Session, from netip.AddrPort, seq uint32, at time.Time, now int64, out *Out) {
	switch {
	case from != s.at:
		t.drop(Elsewhere)
	case !s.acknowledges(at, seq, now, true):
		t.drop(Duplicate)
	default:
		t.pumpLocked(s, now, out)
	}
}

// ping answers a p. If deliveries came before it, pumpLocked answers it after them.
func (t *Table) ping(s *Session, seq uint32, now int64, out *Out) {
	t.mu.Lock()
	switch {
	case s.ended.Load():
	case s.box.empty() && len(s.box.pings) == 0:
		a := answer{seq: seq, op: frame.Ping}
		s.answers.add(a)
		t.answerLocked(s, a, nil, now, out)
	default:
		if s.wait(seq) {
			t.drop(bridge.QueueFull)
		}
		t.pumpLocked(s, now, out)
	}
	t.mu.Unlock()
	if seq == lastSeq {
		t.end(s)
	}
}

// bye puts a session to sleep or, with 0 seconds, answers and ends it.
func (t *Table) bye(s *Session, from netip.AddrPort, f frame.Frame, seconds uint16, now int64, out *Out) {
	if seconds == 0 {
		begin := len(out.bytes) // whatever its pace: there is no later
		out.bytes = answer{seq: f.Seq, op: f.Op}.append(out.bytes, &s.core, nil)
		out.commit(from, begin)
		s.device.Left(bridge.LeftByGoodbye)
		t.end(s)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.sleep(now, seconds)
}
