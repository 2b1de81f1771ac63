package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// errSkipped is a packet that was read past, and needs nothing more.
var errSkipped = errors.New("skipped")

// skip reads past a PUBLISH that is too large, and acknowledges it: a client before
// MQTT 5 cannot be told the limit, and would send the same again for ever, with
// whatever is behind it. Nothing of it is kept.
func (c *conn) skip(first byte, length int) error {
	qos := first >> 1 & 3
	var head [2]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return err
	}
	named := int(binary.BigEndian.Uint16(head[:]))
	rest := length - 2 - named
	if qos > 0 {
		rest -= 2
	}
	if rest < 0 {
		return packets.ErrMalformedPacket
	}
	topic := make([]byte, min(named, 4*shownBytes))
	if _, err := io.ReadFull(c.r, topic); err != nil {
		return err
	}
	if _, err := c.r.Discard(named - len(topic)); err != nil {
		return err
	}
	if qos > 0 {
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return err
		}
	}
	if _, err := c.r.Discard(rest); err != nil {
		return err
	}
	c.broker.hub.Counters().Drop(Protocol, bridge.Limit, 1)
	c.broker.warn(c.clientID, fmt.Sprintf("message of %d bytes on %q skipped: %v", rest, shorten(string(topic)), errTooLarge), c)
	switch qos {
	case 1:
		return c.reply(packets.Puback, binary.BigEndian.Uint16(head[:]))
	case 2: // its PUBREL is answered as that of any id
		return c.reply(packets.Pubrec, binary.BigEndian.Uint16(head[:]))
	}
	return nil
}

// tooLarge is what becomes of a packet over the limit.
func (c *conn) tooLarge(first byte, length int) error {
	if c.session == nil || c.version == version5 || first>>4 != packets.Publish {
		return errTooLarge
	}
	c.allow(length)
	if err := c.skip(first, length); err != nil {
		return err
	}
	return errSkipped
}

// allow gives a packet that has begun the time that its length needs.
func (c *conn) allow(length int) {
	c.latest(time.Now())
	c.late += int64(length) * int64(time.Second) / leastRate
}
