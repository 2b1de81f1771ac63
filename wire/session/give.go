package session

import (
	"watchtower/bridge"
	"watchtower/wire/frame"
)

// Deliver gives a session a message. Delivery is what frame.AppendDelivery made of it;
// others share it, so nobody changes it. It is put into out, or waits. Deliver reports
// false if the session has ended.
func (t *Table) Deliver(s *Session, m *bridge.Message, delivery []byte, out *Out) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.ended.Load() {
		t.verbs.lose(s.device, bridge.Disconnected, 1)
		return false
	}
	if !s.asleep && s.pace == 0 && !s.acknowledged() && s.box.empty() { // it need not wait
		s.box.seq++
		t.transmitLocked(s, delivery, s.box.seq, true, out)
		return true
	}
	if s.box.push(delivery, expiry(m, t.begun), t.opts.SessionQueue) {
		t.verbs.lose(s.device, bridge.QueueFull, 1)
	}
	_, now := t.now()
	t.pumpLocked(s, now, out)
	return true
}

// transmitLocked puts a delivery into out. The first time, it counts whether the delivery
// is cut short.
func (t *Table) transmitLocked(s *Session, delivery []byte, seq uint32, first bool, out *Out) {
	if first && len(delivery) > int(s.maxDatagram) {
		t.verbs.lose(s.device, Truncated, 1)
	}
	begin := len(out.bytes)
	to := s.receiver(seq)
	if s.acknowledged() && s.box.entries[0].seq == seq {
		s.box.entries[0].first = true
		if s.options.Window() > 1 {
			to.Flags |= frame.First // the device need not wait for an earlier one
		}
	}
	out.bytes = s.stamp(out.bytes, delivery, to)
	out.give(s, begin)
	if seq == lastSeq {
		s.expires = 0 // numbers never wrap: the wheel ends the session
		t.wheel.remove(s)
		t.fileLocked(s, 0, 0)
	}
}

// pumpLocked sends what may be sent now, and files the session for the rest.
func (t *Table) pumpLocked(s *Session, now int64, out *Out) {
	for s.pace == 0 || now >= s.clear {
		if !t.nextLocked(s, now, out) {
			break
		}
		s.clear = now + s.pace
	}
	if !s.ended.Load() {
		t.fileLocked(s, s.dueLocked(now), now)
	}
}

// nextLocked sends one datagram. It reports false if there is none to send yet.
func (t *Table) nextLocked(s *Session, now int64, out *Out) bool {
	if len(s.late) > 0 {
		begin := len(out.bytes)
		out.bytes = append(out.bytes, s.late[0]...)
		out.give(s, begin)
		if s.late = s.late[1:]; len(s.late) == 0 {
			s.late = nil
		}
		return true
	}
	if s.asleep {
		return false
	}
	t.verbs.lose(s.device, bridge.Expired, s.box.dropExpired(now))
	for i := 0; i < s.box.flying; i++ {
		e := &s.box.entries[i]
		if e.had || now < e.due {
			continue
		}
		if e.sends > retries {
			t.verbs.lose(s.device, bridge.Failed, 1)
			s.box.giveUp(i)
			s.box.settle(now)
			i = -1 // they may have moved
			continue
		}
		t.sendLocked(s, e, now, out)
		return true
	}
	if s.box.waiting() > 0 && s.box.seq < lastSeq && (!s.acknowledged() || s.box.outstanding() < s.options.Window()) {
		t.sendLocked(s, s.box.next(), now, out)
		if !s.acknowledged() {
			s.box.remove(0)
		}
		return true
	}
	if seq, ok := s.box.answerable(); ok {
		a := answer{seq: seq, op: frame.Ping}
		s.answers.add(a)
		begin := len(out.bytes)
		out.bytes = a.append(out.bytes, &s.core, nil)
		out.give(s, begin)
		return true
	}
	return false
}

func (t *Table) sendLocked(s *Session, e *entry, now int64, out *Out) {
	e.sends++
	e.due = now + retryAfter(t.opts.RetryGap, e.sends)
	t.transmitLocked(s, e.frame, e.seq, !e.counted, out)
	e.counted = true
}

// dueLocked is when the session needs something, if nothing happens before. Its end may
// be noticed a little late.
func (s *Session) dueLocked(now int64) int64 {
	due := (s.expires + coarse - 1) &^ (coarse - 1)
	if now < s.clear && (len(s.late) > 0 || len(s.box.pings) > 0 || s.box.waiting() > 0) {
		due = min(due, s.clear)
	}
	if s.asleep {
		return due
	}
	for _, e := range s.box.entries[:s.box.flying] {
		if e.had {
			continue
		}
		due = min(due, max(e.due, s.clear))
	}
	return due
}

// answer sends an answer. It keeps the answer, unless to an l or u, for a repetition of
// the request.
func (t *Table) answer(s *Session, a answer, list []byte, now int64, out *Out) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.ended.Load() {
		return
	}
	if !repeatable(a.op) {
		s.answers.add(a)
	}
	t.answerLocked(s, a, list, now, out)
}

func (t *Table) answerLocked(s *Session, a answer, list []byte, now int64, out *Out) {
	begin := len(out.bytes)
	out.bytes = a.append(out.bytes, &s.core, list)
	t.shipLocked(s, now, out, begin)
}

// shipLocked sends what was appended to out since begin. If the device's pace forbids
// that, it keeps the datagram until it may be sent.
func (t *Table) shipLocked(s *Session, now int64, out *Out, begin int) {
	if s.pace == 0 || now >= s.clear && len(s.late) == 0 {
		out.give(s, begin)
		s.clear = now + s.pace
		return
	}
	late := append([]byte(nil), out.bytes[begin:]...)
	out.bytes = out.bytes[:begin]
	if len(s.late) == lateAnswers {
		t.drop(bridge.QueueFull)
		return
	}
	s.late = append(s.late, late)
	t.fileLocked(s, s.clear, now)
}
