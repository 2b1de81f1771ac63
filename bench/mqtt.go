package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// The first bytes of packets (MQTT 3.1.1, section 2.2).
const (
	mqttConnect   = 0x10
	mqttConnack   = 0x20
	mqttPublish   = 0x30
	mqttPuback    = 0x40
	mqttSubscribe = 0x82
	mqttSuback    = 0x90
)

const (
	subscribedAtOnce = 100 // filters of one SUBSCRIBE
	packetIDs        = 65_535
)

var errMQTT = errors.New("the server sends what is no MQTT")

// mqttConn is a client of MQTT 3.1.1: clean session, no keep-alive.
type mqttConn struct {
	server *server
	nc     *net.TCPConn
	in     inbox
	out    []byte
	acks   []byte
	topics map[uint32][]byte // by channel, with their length before them
	lastID uint32
}

func (s *server) dialMQTT(n int) (conn, error) {
	nc, err := dialStream(s.opts.MQTTAddr)
	if err != nil {
		return nil, err
	}
	most := s.opts.Size + len(s.opts.Topic) + 64
	if s.opts.Rest > 0 {
		most *= 1000 // that come while it rests
	}
	c := &mqttConn{server: s, nc: nc, in: newInbox(most), topics: map[uint32][]byte{}}
	if err := patiently(nc, func() error { return c.connect(fmt.Sprintf("bench/%08x/%d", s.run, n)) }); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return c, nil
}

// connect does CONNECT and CONNACK (MQTT 3.1.1, sections 3.1 and 3.2). A gateway remembers
// clients whose id is a valid name. An id with a slash is none.
func (c *mqttConn) connect(id string) error {
	o := c.server.opts
	flags := byte(2) // a clean session
	if o.SecretKey != "" {
		flags |= 0xc0
	}
	b := append(mqttString(nil, "MQTT"), 4, flags, 0, 0)
	b = mqttString(b, id)
	if o.SecretKey != "" {
		b = mqttString(mqttString(b, o.User), o.SecretKey)
	}
	if _, err := c.nc.Write(append(mqttLength([]byte{mqttConnect}, len(b)), b...)); err != nil {
		return err
	}
	answer, err := c.await(mqttConnack)
	if err != nil {
		return err
	}
	if len(answer) != 2 || answer[1] != 0 {
		return fmt.Errorf("CONNACK %x: --secret-key may be wrong, or a limit reached", answer)
	}
	return nil
}

func mqttString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// mqttLength appends a remaining length (MQTT 3.1.1, section 2.2.3).
func mqttLength(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// next takes the next whole packet from the bytes that were read. If there is none, first
// is 0.
func (c *mqttConn) next() (first byte, body []byte, err error) {
	b := c.in.rest()
	n := 0
	for i := 1; ; i++ {
		if i >= len(b) {
			return 0, nil, nil
		}
		if i > 4 || b[0] == 0 {
			return 0, nil, errMQTT
		}
		n |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] >= 0x80 {
			continue
		}
		if len(b) < i+1+n {
			return 0, nil, nil
		}
		c.in.begin += i + 1 + n
		return b[0], b[i+1 : i+1+n], nil
	}
}

// await returns the body of the next packet of a kind, and drops the packets before it.
func (c *mqttConn) await(kind byte) ([]byte, error) {
	for {
		first, body, err := c.next()
		switch {
		case err != nil:
			return nil, err
		case first == kind:
			return body, nil
		case first != 0:
			continue
		}
		if err := c.in.read(c.nc); err != nil {
			return nil, err
		}
	}
}

// fill writes a channel into a template.
func fill(template string, channel uint32) string {
	return strings.ReplaceAll(template, "{channel}", strconv.FormatUint(uint64(channel), 10))
}

// join subscribes (MQTT 3.1.1, sections 3.8 and 3.9).
func (c *mqttConn) join(channels []uint32) error {
	o := c.server.opts
	return patiently(c.nc, func() error {
		for len(channels) > 0 {
			n := min(len(channels), subscribedAtOnce)
			b := []byte{0, 1}
			for _, channel := range channels[:n] {
				b = append(mqttString(b, fill(o.Filter, channel)), o.QoS)
			}
			if _, err := c.nc.Write(append(mqttLength([]byte{mqttSubscribe}, len(b)), b...)); err != nil {
				return err
			}
			answer, err := c.await(mqttSuback)
			if err != nil {
				return err
			}
			for _, granted := range answer[2:] {
				if granted != o.QoS {
					return fmt.Errorf("SUBACK grants %#x, not QoS %d", granted, o.QoS)
				}
			}
			channels = channels[n:]
		}
		return nil
	})
}

func (c *mqttConn) listen(e *ear) error {
	for {
		e.begin()
		for {
			first, body, err := c.next()
			if err != nil {
				return err
			}
			if first == 0 {
				break
			}
			if first&0xf0 != mqttPublish {
				continue // a PUBACK: receivers say when a message has arrived
			}
			if err := c.published(e, first, body); err != nil {
				return err
			}
		}
		e.end()
		if len(c.acks) > 0 {
			if _, err := c.nc.Write(c.acks); err != nil {
				return ended(err)
			}
			c.acks = c.acks[:0]
		}
		if rest := c.server.opts.Rest; rest > 0 {
			time.Sleep(rest)
		}
		if err := c.in.read(c.nc); err != nil {
			return ended(err)
		}
	}
}

// published takes a PUBLISH, and queues its PUBACK (MQTT 3.1.1, sections 3.3 and 3.4).
func (c *mqttConn) published(e *ear, first byte, body []byte) error {
	if len(body) < 2 {
		return errMQTT
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	if first&0x06 != 0 {
		if at+2 > len(body) {
			return errMQTT
		}
		c.acks = append(c.acks, mqttPuback, 2, body[at], body[at+1])
		at += 2
	}
	if at > len(body) {
		return errMQTT
	}
	e.take(body[at:])
	return nil
}

func (c *mqttConn) add(channel uint32, payload []byte) error {
	topic := c.topics[channel]
	if topic == nil {
		topic = mqttString(nil, fill(c.server.opts.Topic, channel))
		c.topics[channel] = topic
	}
	qos := c.server.opts.QoS
	c.out = mqttLength(append(c.out, mqttPublish|qos<<1), len(topic)+2*int(qos)+len(payload))
	c.out = append(c.out, topic...)
	if qos > 0 {
		c.lastID = c.lastID%packetIDs + 1
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(c.lastID))
	}
	c.out = append(c.out, payload...)
	return nil
}

func (c *mqttConn) flush() error {
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *mqttConn) number() uint32 { return 0 }
func (c *mqttConn) keep() error    { return nil }
func (c *mqttConn) close()         { _ = c.nc.Close() }
