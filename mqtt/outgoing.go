package mqtt

import (
	"encoding/binary"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// batch bounds how many bytes of deliveries are encoded in one go.
const batch = 64 << 10

// Fill appends the waiting bytes for the writer: answers, then the session's messages,
// then DISCONNECT.
func (c *conn) Fill(buf []byte) []byte {
	c.mu.Lock()
	parted := c.parted
	buf = append(buf, c.control...)
	if cap(c.control) > 1024 {
		c.control = nil
	}
	c.control = c.control[:0]
	pings, pinged := c.pings, c.pinged
	c.mu.Unlock()
	if parted {
		return buf[:0]
	}
	buf = c.session.fill(c, buf, c.broker.now())
	if pings > 0 && (len(buf) < batch || c.session.passed(pinged)) {
		for range pings {
			buf = append(buf, packets.Pingresp<<4, 0)
		}
		c.mu.Lock()
		c.pings -= pings
		c.mu.Unlock()
	}
	if c.oversize > 0 {
		c.broker.warn(c.clientID, "message dropped: it is larger than the packets that the client takes (its Maximum Packet Size)", c)
		c.oversize = 0
	}
	if c.unanswered > 0 {
		c.reportUnanswered()
	}
	if len(buf) > 0 {
		return buf
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parted = c.farewell != nil
	return append(buf, c.farewell...)
}

// ping handles a PINGREQ. Its answer follows the messages that wait now, as far as the
// window allows: a device that sleeps between pings then knows that it has them all.
func (c *conn) ping(r *outbound.Round) error {
	mark := c.session.mark()
	c.mu.Lock()
	c.pings++
	c.pinged = mark
	full := len(c.control)+2*c.pings > controlBytes
	c.mu.Unlock()
	return c.queued(full, r)
}

// A delivery at QoS 1 is in flight from its PUBLISH to its PUBACK. One at QoS 2 is
// published until PUBREC comes, then released until PUBCOMP does (MQTT 5, 4.3.3).

// fill appends the deliveries that c may be sent now: in the order of the queue, and
// within the window. A QoS 0 message waits behind a waiting QoS 1 message.
func (s *session) fill(c *conn, buf []byte, now time.Time) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return buf
	}
	for len(buf) < batch {
		d, again := s.next(now)
		if d == nil {
			break
		}
		if again && d.is(markReleased) { // on an earlier connection
			buf = append(buf, packets.Pubrel<<4|2, 2, byte(d.id>>8), byte(d.id))
			continue
		}
		var fits bool
		if buf, fits = d.appendTo(buf, c, again, now); !fits {
			s.counters.Lose(s.sender(), Protocol, bridge.TooLarge, 1)
		}
		switch {
		case d.qos == 0:
			s.discard()
		case !fits:
			s.settle(s.sent - 1)
		}
	}
	if s.pressed != nil || s.slow {
		s.relieve(false)
	}
	return buf
}

// next returns the delivery to send, and whether it may have been sent before; nil: none.
// At QoS 0 it is the first in the queue, and the caller discards it; otherwise it is the
// last of those in flight that were sent.
func (s *session) next(now time.Time) (d *delivery, again bool) {
	if s.tries >= triesAlone && s.alone() {
		return nil, false
	}
	if s.sent < s.inflight.Len() {
		if s.sent >= s.window { // the window may be smaller than before
			return nil, false
		}
		s.sent++
		return s.inflight.At(s.sent - 1), true
	}
	for s.queue.Len() > 0 {
		d = s.queue.At(0)
		if d.m.expired(now) {
			s.discard()
			s.counters.Lose(s.sender(), Protocol, bridge.Expired, 1)
			s.changed(false)
			continue
		}
		if d.qos == 0 {
			return d, false
		}
		id := s.lastID + 1
		if id == 0 {
			id = 1
		}
		// Ids rise, so only the oldest in flight can have the next one.
		if n := s.inflight.Len(); n >= s.window || n > 0 && s.inflight.At(0).id == id {
			if s.giveUp() {
				continue
			}
			return nil, false
		}
		s.lastID, d.id = id, id
		s.send()
		s.sent++
		d = s.inflight.At(s.sent - 1)
		if d.qos == 2 {
			s.changed(false) // its id must be on disk
		}
		return d, d.is(markAgain)
	}
	return nil, false
}

// fitting returns the encoding for a client, with as many added properties as the
// client's packet size allows; false if even the bare message is too large.
func (m *message) fitting(c *conn, d *delivery) (*encoding, bool) {
	e, err := m.encode(c.version, d.qos, d.subIDs, c.broker.budget)
	for adds := addsSender; err == nil && c.maxSize > 0 && uint32(len(e.b)) > c.maxSize; adds++ {
		if adds > addsNothing || !c.broker.tree.OnChannel(m.topic) {
			c.oversize = len(e.b)
			return nil, false
		}
		e, err = m.build(c.version, d.qos, d.subIDs, adds)
	}
	return e, err == nil
}

// appendTo appends the PUBLISH. If that is too large for the client, it appends nothing
// and reports false.
func (d *delivery) appendTo(buf []byte, c *conn, dup bool, now time.Time) ([]byte, bool) {
	at := len(buf)
	var idAt, expiryAt int
	if c.version != version5 && !d.m.many && len(d.m.topic) > 0 {
		buf, idAt = d.m.appendPlain(buf, d.qos)
	} else {
		e, fits := d.m.fitting(c, d)
		if !fits {
			return buf, false
		}
		buf = append(buf, e.b...)
		idAt, expiryAt = e.idAt, e.expiryAt
	}
	out := buf[at:]
	out[0] = packets.Publish<<4 | d.qos<<1
	if dup {
		out[0] |= 8
	}
	if d.is(markRetain) {
		out[0] |= 1
	}
	if idAt > 0 {
		binary.BigEndian.PutUint16(out[idAt:], d.id)
	}
	if expiryAt > 0 {
		binary.BigEndian.PutUint32(out[expiryAt:], uint32(max(1, seconds(d.m.expires-now.UnixMilli()))))
	}
	return buf, true
}

// find returns the index in inflight of the sent delivery with a packet id, or -1. Ids
// rise, so its distance from the oldest is at most that of the ids.
func (s *session) find(id uint16) int {
	if s.sent == 0 {
		return -1
	}
	i := min(int(id-s.inflight.At(0).id), s.sent-1)
	for i >= 0 && s.inflight.At(i).id != id {
		i--
	}
	return i
}

// acked handles a PUBACK: it ends the delivery of that packet id, also one at QoS 2.
func (s *session) acked(id uint16, r *outbound.Round) {
	s.finish(r, func() { s.ackedLocked(id, false) })
}

// ackedAll handles the PUBACKs without a reason that b begins with, and returns how many
// bytes they have.
func (s *session) ackedAll(b []byte, r *outbound.Round) (n int) {
	s.finish(r, func() {
		for ; len(b)-n >= 4 && b[n] == packets.Puback<<4 && b[n+1] == 2; n += 4 {
			s.ackedLocked(binary.BigEndian.Uint16(b[n+2:]), false)
		}
	})
	return n
}

// completed handles a PUBCOMP: it ends a released delivery.
func (s *session) completed(id uint16, r *outbound.Round) {
	s.finish(r, func() { s.ackedLocked(id, true) })
}

// finish lets end end deliveries. It has the client written to if the window held back others.
func (s *session) finish(r *outbound.Round, end func()) {
	s.mu.Lock()
	end()
	if s.pressed != nil || s.slow {
		s.relieve(false)
	}
	c := s.conn
	more := s.queue.Len() > 0 || s.sent < s.inflight.Len()
	s.mu.Unlock()
	if c != nil && more {
		c.wake(r)
	}
}

// ackedLocked ends the delivery of a packet id if its released state is right. The caller
// holds mu.
func (s *session) ackedLocked(id uint16, released bool) {
	if i := s.find(id); i >= 0 && s.inflight.At(i).is(markReleased) == released {
		s.settle(i)
		s.overtaken = max(s.overtaken, uint16(i))
	}
}

// recorded handles a PUBREC: the client has the message, and PUBREL must follow, also on
// a later connection. known is false if there is no such delivery.
func (s *session) recorded(id uint16) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(id)
	if i < 0 {
		return false
	}
	if d := s.inflight.At(i); !d.is(markReleased) {
		d.marks |= markReleased
		if s.tries > 0 && d.seq == s.suspect {
			s.tries = 0
		}
		s.overtaken = max(s.overtaken, uint16(i))
		s.changed(false)
	}
	return true
}

// mark returns the end of the queue as it is now, for passed.
func (s *session) mark() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left + uint32(s.queue.Len())
}

// passed reports whether all deliveries that waited at a mark were sent, on this
// connection or an earlier one.
func (s *session) passed(mark uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent == s.inflight.Len() && int32(s.left-mark) >= 0
}
