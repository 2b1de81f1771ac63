package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/intake"
)

// The read buffer of a connection, and of one that has sent more than that at a time.
const (
	idleBufferBytes = 512
	busyBufferBytes = 4 << 10
)

// leastRate gives a large packet more time than packetTimeout: one second for so many bytes.
const leastRate = 4 << 10

// readPacket reads one packet of at most limit bytes, header included. It checks the length
// before it takes memory. The memory grows with the bytes that arrive, and is lent.
func (c *conn) readPacket(limit int, loan *intake.Loan) (packets.Packet, error) {
	var pk packets.Packet
	first, err := c.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if first>>4 == packets.Publish && first&6 == 6 {
		return pk, packets.ErrMalformedPacket // MQTT-3.3.1-4
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	length, used, err := c.readLength()
	if err != nil {
		return pk, err
	}
	if 1+used+length > limit {
		return pk, c.tooLarge(first, length)
	}
	pk.FixedHeader.Remaining = length
	pk.ProtocolVersion = c.version
	if length > intake.Free || c.late != 0 {
		c.allow(length)
	}
	body, err := c.readBody(length, loan)
	if err != nil {
		return pk, err
	}
	return pk, decode(&pk, body)
}

func (c *conn) readBody(length int, loan *intake.Loan) ([]byte, error) {
	first := min(length, intake.Free)
	if c.session == nil {
		first = idleBufferBytes
	} else if length > intake.Free {
		*loan = c.broker.opts.Intake.Lend(Protocol, c.session)
	}
	body, err := intake.Read(c.r, nil, first, length, loan)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return body, err
}

// readLength reads a remaining length of one to four bytes (MQTT 5, 1.5.5).
func (c *conn) readLength() (length, used int, _ error) {
	for used < 4 {
		b, err := c.r.ReadByte()
		if err != nil {
			return 0, 0, err
		}
		length |= int(b&0x7f) << (7 * used)
		used++
		if b < 0x80 {
			return length, used, nil
		}
	}
	return 0, 0, packets.ErrMalformedVariableByteInteger
}

// readLoop executes the client's packets until the connection ends. Its stack frame is
// small, because most connections are idle most of the time and keep their stack.
func (c *conn) readLoop() error {
	for {
		c.sock.Unkick()
		if err := c.over(); err != nil {
			return err
		}
		if c.park() {
			return errParked
		}
		if c.filled && c.r.Buffered() == 0 && c.r.Size() < busyBufferBytes {
			c.r = bufio.NewReaderSize(c, busyBufferBytes)
		}
		c.begun, c.late = false, 0
		_, err := c.r.Peek(1) // waits; bufio returns an error once only
		c.begun = true
		if err == nil && c.readPlain() {
			continue
		}
		done := false
		switch {
		case c.spent != nil:
			err = c.spent
		case err == nil:
			done, err = c.readOne()
		}
		switch {
		case c.closing.Load():
			return net.ErrClosed
		case err != nil && c.broker.quiet.Load():
			return errStopping
		case done || err != nil:
			return err
		}
	}
}

// readOne reads and executes one packet. SUBSCRIBE and UNSUBSCRIBE are rare and need a
// deep stack, so they are executed aside.
func (c *conn) readOne() (done bool, err error) {
	first, err := c.r.Peek(1)
	if err != nil {
		return false, err
	}
	switch first[0] >> 4 {
	case packets.Subscribe, packets.Unsubscribe:
		err = aside(func() error { done, err = c.execute(); return err })
	default:
		done, err = c.execute()
	}
	return done, err
}

// execute does the work of readOne.
func (c *conn) execute() (done bool, err error) {
	defer c.fault(&err)
	var loan intake.Loan
	defer loan.Close()
	pk, err := c.readPacket(c.broker.opts.MaxPacketBytes, &loan)
	switch {
	case errors.Is(err, errSkipped):
		return false, nil
	case err != nil || c.closing.Load():
		return false, err
	}
	return c.handle(&pk)
}

// aside runs f on its own goroutine and waits for it. Go gives the memory of a grown stack
// back late; this stack ends with its goroutine.
func aside(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return <-done
}

// readPlain executes the plain packets in the buffer.
func (c *conn) readPlain() (any bool) {
	b, err := c.r.Peek(c.r.Buffered())
	if err != nil {
		return false
	}
	n, err := c.r.Discard(c.plain(b, nil))
	return n > 0 && err == nil
}

// Read reads from the socket with the deadline of readDeadline. The keep-alive starts
// again with each read, because the execution of a packet is not the client's time.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	if c.spent != nil {
		return 0, c.spent
	}
	if c.session != nil {
		now := time.Now()
		if c.resumed { // nothing came since
			c.resumed, now = false, time.Unix(0, c.heard.Load())
		}
		c.session.hold.Heard(now) // the packets of the read before, or CONNECT
		if err := c.nc.SetReadDeadline(c.readDeadline(now)); err != nil {
			return 0, err
		}
		if err := c.over(); err != nil { // its deadline may just have been replaced
			return 0, err
		}
	}
	n, err := c.nc.Read(p)
	c.filled = n == len(p)
	return n, err
}

// readDeadline is, as of now, the earlier of the keep-alive and the deadline of a packet that has
// begun; zero: none.
func (c *conn) readDeadline(now time.Time) (until time.Time) {
	if c.keepAlive > 0 {
		until = now.Add(c.keepAlive + c.keepAlive/2) // MQTT-3.1.2-22
	}
	if !c.begun {
		return until
	}
	c.latest(now)
	if late := time.Unix(0, c.late); until.IsZero() || late.Before(until) {
		return late
	}
	return until
}

// latest sets the deadline of a packet that has begun, once.
func (c *conn) latest(now time.Time) {
	if c.late == 0 {
		c.late = now.Add(c.broker.opts.packetTimeout).UnixNano()
	}
}

// allow extends the deadline of a packet by the time for its length in bytes.
func (c *conn) allow(length int) {
	c.latest(time.Now())
	c.late += int64(length) * int64(time.Second) / leastRate
}

// errSkipped says that a packet was skipped and acknowledged.
var errSkipped = errors.New("skipped")

// tooLarge skips a packet over the limit, or returns the error that ends the connection.
func (c *conn) tooLarge(first byte, length int) error {
	const dup = 1 << 3
	switch {
	case c.session == nil, first>>4 != packets.Publish:
		return errTooLarge
	case c.version == version5 && first&dup == 0:
		return errTooLarge // it was told the limit (MQTT 5, 3.2.2.3.6)
	}
	c.allow(length)
	if err := c.skip(first, length); err != nil {
		return err
	}
	return errSkipped
}

// skip reads past a PUBLISH that is too large, and acknowledges it. A client before MQTT 5
// cannot be told the limit, and would send the packet again and again. So do some of MQTT 5, as
// Home Assistant, which have not minded the limit: what they repeat is skipped too.
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
	topic := make([]byte, min(named, 512)) // the part that is logged
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
	why := fmt.Errorf("message of %d bytes skipped: %w", rest, errTooLarge)
	c.broker.refuse(c.session, strings.ToValidUTF8(string(topic), "?"), qos, why)
	if qos == 0 {
		return nil
	}
	a := answer{kind: packets.Puback, id: binary.BigEndian.Uint16(head[:]), refusal: why}
	if qos == 2 { // PUBREL is answered for an unknown id too
		a.kind = packets.Pubrec
	}
	if waits, err := c.queueBehind(item{a: a}); waits || err != nil {
		return err
	}
	return c.say(a)
}
