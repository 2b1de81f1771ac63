package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// client is a connection of MQTT 3.1.1. All its reads and writes have to end within patience of
// its connect.
type client struct{ net.Conn }

// connect opens a connection and sends CONNECT, without keep-alive, with the key if it is a
// gateway. Present says that the server had a session of this id (MQTT 3.1.1, sections 3.1 and 3.2).
func (p *process) connect(id string, clean bool) (c client, present bool, err error) {
	nc, err := net.DialTimeout("tcp", p.mqtt, patience)
	if err != nil {
		return client{}, false, err
	}
	c = client{nc}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return c, false, err
	}
	flags, credentials := byte(0), ""
	if clean {
		flags = 0x02
	}
	if p.http != "" { // of the brokers, the gateway alone has HTTP
		flags, credentials = flags|0xc0, field16("peers")+field16(secretKey)
	}
	if err := c.say(0x10, field16("MQTT")+"\x04"+string([]byte{flags})+"\x00\x00"+field16(id)+credentials); err != nil {
		return c, false, err
	}
	first, body, err := c.hear()
	if err == nil && (first != 0x20 || len(body) != 2 || body[1] != 0) {
		err = fmt.Errorf("CONNECT of %s is answered %x %x", id, first, body)
	}
	return c, err == nil && body[0] == 1, err
}

// field16 is a text with its length before it (MQTT 3.1.1, section 1.5.3).
func field16(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

// packet returns a packet with that body (MQTT 3.1.1, section 2.2). Longer ones than 16 KiB are not needed.
func packet(first byte, body string) string {
	if len(body) < 0x80 {
		return string([]byte{first, byte(len(body))}) + body
	}
	return string([]byte{first, byte(len(body)) | 0x80, byte(len(body) >> 7)}) + body
}

func (c client) say(first byte, body string) error {
	_, err := io.WriteString(c, packet(first, body))
	return err
}

// hear reads a packet of less than 16 KiB.
func (c client) hear() (first byte, body []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1])
	if n >= 0x80 {
		var more [1]byte
		if _, err := io.ReadFull(c, more[:]); err != nil {
			return 0, nil, err
		}
		n = n&0x7f | int(more[0])<<7
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c, body)
	return head[0], body, err
}

// expect reads a packet, which must be as it says.
func (c client) expect(packet string) error {
	got := make([]byte, len(packet))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != packet {
		return fmt.Errorf("%x came, and not %x", got, packet)
	}
	return nil
}

// subscribe subscribes to a filter, and waits for SUBACK (MQTT 3.1.1, sections 3.8 and 3.9).
func (c client) subscribe(filter string, qos byte) error {
	if err := c.say(0x82, "\x00\x01"+field16(filter)+string([]byte{qos})); err != nil {
		return err
	}
	return c.expect(packet(0x90, "\x00\x01"+string([]byte{qos})))
}

// leave says that the connection ends, and ends it (MQTT 3.1.1, section 3.14).
func (c client) leave() error {
	err := c.say(0xe0, "")
	c.Close()
	return err
}
