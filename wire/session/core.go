package session

import (
	"net/netip"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/wire/frame"
)

// core is what sessions over UDP and TCP have in common. The lock of the Table or Conn
// guards the fields after ended.
type core struct {
	device      *bridge.Device
	key         frame.Key
	id          uint32
	keepAlive   uint16 // seconds
	maxDatagram uint16
	options     frame.Options
	ended       atomic.Bool // written under the lock

	asleep  bool
	expires int64 // when it ends, in its owner's milliseconds
	seen    window
	answers answers
	box     outbox
}

// settle fills in what the registration from an address agreed on, once there is a sender.
func (c *core) settle(o *opened, from netip.AddrPort, maxDatagram uint16, at time.Time) {
	c.id = uint32(c.device.Sender().ID())
	c.key = o.psk.SessionKey(o.Options, o.CNonce, o.Cookie, c.id)
	c.keepAlive = min(max(o.KeepAlive, leastKeepAlive), mostKeepAlive)
	c.maxDatagram = maxDatagram
	c.options = o.Options
	hold := c.device.Hold()
	hold.At(from)
	hold.Heard(at)
	c.promises(c.keepAlive)
}

// promises notes that the device sends something within so many seconds, or a little later.
func (c *core) promises(seconds uint16) {
	c.device.Hold().Promises(time.Duration(seconds) * time.Second * 11 / 10)
}

// opens reports whether a frame's tag is right. If bodies are hidden, it shows the body, in
// place; with a wrong tag nothing is left to show.
func (c *core) opens(raw []byte) bool {
	if c.options&frame.Hidden != 0 {
		c.key.Mask(raw)
	}
	return c.key.Verify(raw)
}

// hide hides the body of a whole frame to the device, if it asked for that.
func (c *core) hide(raw []byte) {
	if c.options&frame.Hidden != 0 {
		c.key.Mask(raw)
	}
}

// stamp appends a delivery, as the device gets it.
func (c *core) stamp(b, delivery []byte, to frame.Receiver) []byte {
	begin := len(b)
	b = frame.Stamp(b, delivery, to, c.key)
	c.hide(b[begin:])
	return b
}

// life is how long the session lives without a frame, in milliseconds.
func (c *core) life() int64 { return int64(c.keepAlive) * 1000 * lifeFactor / 2 }

// alive notes a new frame: the session lives on, and wakes up unless the frame is a d. It
// reports whether the session wakes up. At is the same time as now.
func (c *core) alive(at time.Time, now int64, op frame.Op) (wakes bool) {
	c.device.Hold().Heard(at)
	until := now + c.life()
	switch {
	case c.asleep && op == frame.Bye:
		until = max(until, c.expires)
	case c.asleep:
		c.asleep, wakes = false, true
		c.promises(c.keepAlive)
	}
	c.expires = until
	return wakes
}

// acknowledges takes a k. A k for an outstanding delivery shows that the device is there,
// so the session lives on; for any other it reports false. A k does not wake a sleeping
// device: it may have been sent before the d. Datagrams says that deliveries may get lost.
func (c *core) acknowledges(at time.Time, seq uint32, now int64, datagrams bool) bool {
	if !c.box.acknowledged(seq, datagrams, now) {
		return false
	}
	c.device.Hold().Heard(at)
	c.expires = max(c.expires, now+c.life())
	return true
}

// expiry is when a message expires, in milliseconds since begun; 0: never.
func expiry(m *bridge.Message, begun time.Time) int64 {
	if m.Expires.IsZero() {
		return 0
	}
	return max(1, m.Expires.Sub(begun).Milliseconds())
}

// wait adds a p to those that wait for deliveries. If there are too many, the oldest is
// dropped.
func (c *core) wait(seq uint32) (dropped bool) {
	if dropped = len(c.box.pings) >= pingsWaiting; dropped {
		c.box.pings = c.box.pings[1:]
	}
	c.box.pings = append(c.box.pings, ping{seq: seq, after: c.box.last})
	return dropped
}

// sleep makes deliveries wait for so many seconds, or until a new frame.
func (c *core) sleep(now int64, seconds uint16) {
	c.asleep = true
	c.promises(max(seconds, c.keepAlive))
	c.expires = max(now+int64(seconds)*1000, now+c.life())
}

// acknowledged reports whether the device acknowledges deliveries.
func (c *core) acknowledged() bool { return c.options&frame.Acknowledge != 0 }

// receiver returns the fields of a delivery that are this session's own.
func (c *core) receiver(seq uint32) frame.Receiver {
	to := frame.Receiver{ID: c.id, Seq: seq, Room: int(c.maxDatagram)}
	if c.acknowledged() {
		to.Flags = frame.AckWanted
	}
	return to
}

// registered appends the answer to the registration.
func (c *core) registered(b []byte, cnonce [8]byte) []byte {
	return frame.AppendRegistered(b, c.id, frame.Registered{CNonce: cnonce, KeepAlive: c.keepAlive, MaxDatagram: c.maxDatagram}, c.key)
}
