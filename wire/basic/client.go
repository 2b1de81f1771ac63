package basic

import (
	"bytes"
	"errors"

	"watchtower/bridge"
	"watchtower/wire"
)

// client is one registered id.
type client struct {
	*bridge.Device
	hub    *bridge.Hub
	via    bridge.Protocol
	wait   bool // publishing may be slowed down
	listed int  // how many channels an answer to L holds
}

func (c *client) id() uint32 { return uint32(c.Sender().ID()) }

// execute executes a request of this client, except R, K and W, and appends the reply, if
// there is one.
func (c *client) execute(r wire.Request, reply []byte) []byte {
	ok := r.Channel != 0
	switch r.Op {
	case wire.OpKeepAlive:
		return wire.AppendAnswer(reply, c.id())
	case wire.OpList:
		channels := c.hub.Joined(c.Sender())
		return wire.AppendList(reply, channels[:min(len(channels), c.listed)])
	case wire.OpJoin:
		ok = ok && c.Join(bridge.Channel(r.Channel)) == nil
	case wire.OpQuit:
		c.Leave(bridge.Channel(r.Channel))
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

// publish broadcasts or sends. Basic frames say nothing of their content, so it
// is opaque. The data is copied: the message outlives the read buffer.
func (c *client) publish(r wire.Request) bool {
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
	_, err := c.hub.Publish(c.Sender(), p)
	return err == nil || errors.As(err, new(*bridge.Unconfirmed)) // basic frames have no third answer
}
