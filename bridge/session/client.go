package session

import (
	"bytes"
	"sync"

	"watchtower/bridge"
	"watchtower/bridge/wire"
)

// client is one registered id and what it has joined. Its lock may be taken
// before the hub's, never after: the hub calls back without locks.
type client struct {
	hub    *bridge.Hub
	via    bridge.Protocol
	wait   bool // publishing may be slowed down
	listed int  // how many channels an answer to L holds
	member any  // the receiver, as its protocol knows it
	hold   *bridge.Hold

	mu     sync.Mutex
	joined map[bridge.Channel]*bridge.Attachment
	gone   bool
}

// register gives the client its id. end is called, without locks, if the hub
// deletes it.
func (c *client) register(end func()) {
	c.mu.Lock() // end closes the client, which waits until there is a hold
	defer c.mu.Unlock()
	c.hold = c.hub.RegisterWire(end)
}

func (c *client) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

func (c *client) sender() *bridge.Sender { return c.hold.Sender() }
func (c *client) id() uint32             { return uint32(c.sender().ID()) }

// close leaves all channels and gives the id back. It may be called again.
func (c *client) close() {
	c.mu.Lock()
	c.gone = true
	for _, a := range c.joined {
		c.hub.Detach(a)
	}
	c.joined = nil
	c.mu.Unlock()
	c.hub.Release(c.hold)
}

// execute does what a request of this client asks for, all but R, K and W, and
// appends the reply, if there is one.
func (c *client) execute(r wire.Request, reply []byte) []byte {
	ok := r.Channel != 0
	switch r.Op {
	case wire.OpKeepAlive:
		return wire.AppendAnswer(reply, c.id())
	case wire.OpList:
		channels := c.hub.Joined(c.sender())
		return wire.AppendList(reply, channels[:min(len(channels), c.listed)])
	case wire.OpJoin:
		ok = ok && c.join(bridge.Channel(r.Channel))
	case wire.OpQuit:
		c.leave(bridge.Channel(r.Channel))
	case wire.OpMessage, wire.OpSend:
		if ok && c.publish(r) {
			return reply
		}
		ok = false
	}
	if !ok {
		return wire.AppendError(reply)
	}
	return wire.AppendAnswer(reply, r.Channel)
}

// join attaches the client to a channel, once however often it is asked.
func (c *client) join(ch bridge.Channel) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	if c.joined[ch] != nil {
		return true
	}
	a := &bridge.Attachment{Via: c.via, Broadcasts: true, Sends: true, Member: c.member}
	a.Ended = func() { c.ended(ch, a) }
	if c.hub.Attach(c.sender(), ch, a) != nil {
		return false
	}
	if c.joined == nil {
		c.joined = map[bridge.Channel]*bridge.Attachment{}
	}
	c.joined[ch] = a
	return true
}

// ended notes that the hub ended an attachment.
func (c *client) ended(ch bridge.Channel, a *bridge.Attachment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joined[ch] == a {
		delete(c.joined, ch)
	}
}

func (c *client) leave(ch bridge.Channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.joined[ch]; a != nil {
		delete(c.joined, ch)
		c.hub.Detach(a)
	}
}

// publish broadcasts or sends. Basic frames say nothing of their content, so it
// is opaque. The data is copied: the message outlives the read buffer.
func (c *client) publish(r wire.Request) bool {
	if len(r.Data) > c.hub.MessageBytes() {
		return false
	}
	p := bridge.Publication{
		Channels: []bridge.Channel{bridge.Channel(r.Channel)},
		Content:  bridge.Content{Data: bytes.Clone(r.Data), Hint: bridge.Opaque},
		Via:      c.via,
		Wait:     c.wait,
	}
	if r.Op == wire.OpSend {
		p.Type = bridge.Send
		p.Receivers = make([]bridge.SenderID, r.Receivers.Len())
		for i := range p.Receivers {
			p.Receivers[i] = bridge.SenderID(r.Receivers.At(i))
		}
	}
	_, err := c.hub.Publish(c.sender(), p)
	return err == nil
}
