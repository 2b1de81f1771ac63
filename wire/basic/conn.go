package basic

import (
	"errors"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/wire"
)

// Conn executes the basic frames of one TCP connection, and owns its one id.
// Length, Handle and Refuse are called from one goroutine.
type Conn struct {
	hub    *bridge.Hub
	opts   Options
	from   netip.Addr
	member any
	client atomic.Pointer[client] // nil: not registered
}

// NewConn returns the Conn of a new connection from an address. Member becomes
// Attachment.Member.
func NewConn(hub *bridge.Hub, opts Options, from netip.Addr, member any) *Conn {
	return &Conn{hub: hub, opts: opts.withDefaults(), from: from, member: member}
}

// Registered reports whether the connection has an id.
func (c *Conn) Registered() bool { return c.client.Load() != nil }

// Length returns the length of the frame at the start of b, or 0 while more bytes are
// needed to know. After an error the caller writes what Refuse appends, and closes.
func (c *Conn) Length(b []byte) (int, error) {
	n, err := wire.Length(b, c.hub.MessageBytes())
	if err == nil && len(b) > 0 && !c.opts.Basic {
		return 0, wire.ErrUnknown
	}
	return n, err
}

// Handle executes one whole frame, and appends the reply. After an error the caller does
// as after an error of Length.
func (c *Conn) Handle(frame, reply []byte) ([]byte, error) {
	r, err := wire.Parse(frame)
	if err != nil {
		return reply, err
	}
	client := c.client.Load()
	switch {
	case r.Op == wire.OpWhere:
		return wire.AppendWhere(reply, c.opts.where()), nil
	case r.Op == wire.OpRegister || r.Op == wire.OpKey:
		if !c.opts.mayRegister(c.hub, r, c.from, client != nil) {
			return wire.AppendError(reply), nil
		}
		if client == nil {
			client = c.register()
			c.opts.Door.Proved(c.from)
		}
		return wire.AppendAnswer(reply, client.id()), nil
	case client == nil || client.id() != r.ID:
		return wire.AppendError(reply), nil
	}
	return client.execute(r, reply), nil
}

// Receiver returns the sender of the connection's id; nil: it has none.
func (c *Conn) Receiver() *bridge.Sender {
	if client := c.client.Load(); client != nil {
		return client.Sender()
	}
	return nil
}

// Heard notes that the connection's device sent something.
func (c *Conn) Heard(at time.Time) {
	if client := c.client.Load(); client != nil {
		client.Hold().Heard(at)
	}
}

// Left notes why the connection ends, before Close.
func (c *Conn) Left(why bridge.Departure) {
	if client := c.client.Load(); client != nil {
		client.Left(why)
	}
}

// Refuse counts the wrong frame that ends the connection. It appends the last reply, E,
// unless the peer speaks like a gateway.
func (c *Conn) Refuse(err error, reply []byte) []byte {
	c.hub.Counters().Drop(c.opts.Via, bridge.Malformed, 1)
	c.opts.Misread(c.from, bridge.Malformed)
	if errors.Is(err, wire.ErrFromGateway) {
		return reply
	}
	return wire.AppendError(reply)
}

// Close leaves all channels and gives the id back. It may be called from any
// goroutine, and again.
func (c *Conn) Close() {
	if client := c.client.Swap(nil); client != nil {
		client.Close()
	}
}

func (c *Conn) register() *client {
	n := &client{
		Device: bridge.NewDevice(c.hub, c.opts.Via, false, c.member),
		hub:    c.hub, via: c.opts.Via, wait: true, listed: math.MaxInt,
	}
	n.Register(bridge.Unproved, func() { // the hub deleted the sender: the id is unknown from now on
		c.client.CompareAndSwap(n, nil)
		n.Close()
	})
	n.Hold().At(netip.AddrPortFrom(c.from, 0))
	n.Hold().Heard(c.opts.Now())
	c.client.Store(n)
	if n.Gone() { // deleted before it was stored
		c.client.CompareAndSwap(n, nil)
	}
	return n
}
