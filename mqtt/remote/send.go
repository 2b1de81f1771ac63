package remote

import (
	"errors"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge/outbound"
)

// publish sends a message that waits for the broker for as long as it takes. It reports false if
// there is no room.
func (c *client) publish(p *publish, version byte) bool {
	it := &item{stays: true, version: version, drop: c.dropped}
	it.b, it.idAt = p.encode(nil, version)
	return c.send(it, nil)
}

// send puts a packet into the outbox. It reports false if there is no room. R writes it; nil:
// the crew does.
func (c *client) send(it *item, r *outbound.Round) bool {
	due, ok := c.outbox.put(it)
	if due {
		c.wake(r)
	}
	return ok
}

// wake has what waits written: by a round, or by the crew.
func (c *client) wake(r *outbound.Round) {
	switch w := c.writer.Load(); {
	case w == nil:
	case r != nil:
		r.Note(w)
	default:
		w.Wake()
	}
}

// direct sends a packet that is no message.
func (c *client) direct(pk *packets.Packet) error {
	var b buffer
	if err := write(&b, pk); err != nil {
		return err
	}
	return c.now(b)
}

var errBehind = errors.New("the broker does not take what the gateway sends")

// now sends bytes before all messages.
func (c *client) now(b []byte) error {
	if !c.outbox.direct(b) {
		return errBehind
	}
	c.wake(nil)
	return nil
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
