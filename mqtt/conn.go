package mqtt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

const (
	beforeConnectBytes = 64 << 10  // largest packet of a stranger
	controlBytes       = 256 << 10 // answers that may wait for a client that does not read
	readBufferBytes    = 2 << 10
	flushTimeout       = 2 * time.Second // for the last packets of a connection that the broker closes
)

var (
	errTooLarge = errors.New("packet too large (mqtt.max_packet_bytes)")
	errStopping = errors.New("the gateway is stopping")
)

// conn is one client's connection. Its reader runs in the goroutine of
// Broker.ServeConn, its writer in one more.
type conn struct {
	broker *Broker
	nc     net.Conn
	r      *bufio.Reader
	writer *outbound.Writer
	remote string

	session    *session
	version    byte
	clientID   string
	keepAlive  time.Duration // 0: none
	maxSize    uint32        // largest packet that the client takes; 0: any
	receiveMax uint16        // most QoS 1 deliveries in flight that it takes
	aliases    map[uint16]string
	will       *publication
	willDelay  time.Duration
	willQuiet  bool // it said goodbye: no will

	closing  atomic.Bool // nothing that the client sends counts any more
	mu       sync.Mutex
	control  []byte // encoded answers, written before messages
	farewell []byte // DISCONNECT, written after them
	parted   bool   // farewell was written: nothing may follow
}

func newConn(b *Broker, nc net.Conn) *conn {
	c := &conn{broker: b, nc: nc, remote: nc.RemoteAddr().String()}
	c.r = bufio.NewReaderSize(c, readBufferBytes)
	c.writer = outbound.NewWriter(nc, c, outbound.Options{Timeout: b.opts.WriteTimeout})
	return c
}

// Read reads from the socket under the keep-alive's deadline, which begins anew
// with each read: while a packet is being executed, the client has no say.
// CONNECT has one deadline for all of it.
func (c *conn) Read(p []byte) (int, error) {
	if c.session != nil {
		if err := c.nc.SetReadDeadline(c.readDeadline()); err != nil {
			return 0, err
		}
		if c.broker.quiet.Load() { // it may have set the deadline that this one replaced
			return 0, errStopping
		}
	}
	return c.nc.Read(p)
}

// Fill gives the writer what waits: answers, then the session's messages, then
// goodbye.
func (c *conn) Fill(buf []byte) []byte {
	c.mu.Lock()
	parted := c.parted
	buf = append(buf, c.control...)
	if cap(c.control) > 1024 {
		c.control = nil
	}
	c.control = c.control[:0]
	c.mu.Unlock()
	if parted {
		return buf[:0]
	}
	if buf = c.session.fill(c, buf, c.broker.now()); len(buf) > 0 {
		return buf
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parted = c.farewell != nil
	return append(buf, c.farewell...)
}

// answer queues an encoded control packet. A client that does not read its
// answers ends.
func (c *conn) answer(b ...byte) error {
	c.mu.Lock()
	full := len(c.control)+len(b) > controlBytes
	if !full {
		c.control = append(c.control, b...)
	}
	c.mu.Unlock()
	if full {
		_ = c.nc.Close()
		return errors.New("the client does not read its answers")
	}
	c.writer.Wake()
	return nil
}

// answerPacket queues a control packet that the codec encodes.
func (c *conn) answerPacket(pk packets.Packet) error {
	b, err := encodeControl(pk, c.version, c.maxSize)
	if err != nil {
		return err
	}
	return c.answer(b...)
}

// readPacket reads one packet, at most limit bytes long, before any memory is
// taken for it.
func (c *conn) readPacket(limit int) (packets.Packet, error) {
	var pk packets.Packet
	first, err := c.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	length, err := c.readLength()
	if err != nil {
		return pk, err
	}
	if length > limit {
		return pk, errTooLarge
	}
	pk.FixedHeader.Remaining = length
	pk.ProtocolVersion = c.version
	body := make([]byte, length)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return pk, err
	}
	return pk, decode(&pk, body)
}

// readLength reads a remaining length of one to four bytes (MQTT 5, 1.5.5).
func (c *conn) readLength() (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := c.r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, packets.ErrMalformedVariableByteInteger
}

// readLoop executes what the client sends until it ends. A packet on which the
// codec panics is a malformed packet, and the program goes on.
func (c *conn) readLoop() (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.broker.log.WithField("client", c.clientID).WithField("panic", fmt.Sprint(r)).Warn("malformed packet")
			err = packets.ErrMalformedPacket
		}
	}()
	for {
		if c.broker.quiet.Load() {
			return errStopping
		}
		_, _ = c.r.Peek(1) // waits; an error comes again below
		if c.readAcks() {
			continue
		}
		pk, err := c.readPacket(c.broker.opts.MaxPacketBytes)
		switch {
		case c.closing.Load():
			return net.ErrClosed
		case err != nil && c.broker.quiet.Load():
			return errStopping
		case err != nil:
			return err
		}
		if done, err := c.handle(&pk); done || err != nil {
			return err
		}
	}
}

// readAcks takes the plainest PUBACKs off the stream, as every receiver at QoS 1
// sends them for each message, without the cost of a packet.
func (c *conn) readAcks() (any bool) {
	for c.r.Buffered() >= 4 {
		b, err := c.r.Peek(4)
		if err != nil || b[0] != packets.Puback<<4 || b[1] != 2 {
			return any
		}
		if c.closing.Load() {
			return any
		}
		c.session.acked(uint16(b[2])<<8 | uint16(b[3]))
		_, _ = c.r.Discard(4) // they are buffered
		any = true
	}
	return any
}

func (c *conn) readDeadline() time.Time {
	if c.keepAlive == 0 {
		return time.Time{}
	}
	return time.Now().Add(c.keepAlive + c.keepAlive/2) // MQTT-3.1.2-22
}

// code is what a client of MQTT 5 is told about why its connection ends.
func code(err error) packets.Code {
	var known packets.Code
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, errTooLarge):
		return packets.ErrPacketTooLarge
	case errors.Is(err, errStopping):
		return packets.ErrServerShuttingDown
	case errors.Is(err, os.ErrDeadlineExceeded):
		return packets.ErrKeepAliveTimeout
	}
	return packets.ErrUnspecifiedError
}

// finish ends the connection after its read loop. What still waits for a client
// that can take it is written, for a bounded time.
func (c *conn) finish(err error) {
	gone := err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || isReset(err)
	switch {
	case c.closing.Load(): // whoever closes it has said why
	case gone:
		_ = c.nc.Close()
	default:
		c.disconnect(code(err))
	}
	c.writer.Close()
}

// disconnect says why, where the version allows it, and closes once that is
// written.
func (c *conn) disconnect(why packets.Code) {
	c.closing.Store(true)
	if c.version == version5 {
		b, err := encodeControl(packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Disconnect},
			ReasonCode:  why.Code,
			Properties:  packets.Properties{ReasonString: why.Reason},
		}, c.version, c.maxSize)
		if err == nil {
			c.mu.Lock()
			c.farewell = b
			c.mu.Unlock()
		}
	}
	c.writer.Close()
}

// isMalformed reports whether an error is the client's bad packet.
func isMalformed(err error) bool {
	var known packets.Code
	return errors.As(err, &known) || errors.Is(err, errTooLarge)
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// drop counts a packet that is not one.
func (c *conn) drop(err error) {
	if isMalformed(err) {
		c.broker.hub.Counters().Drop(bridge.MQTT, bridge.Malformed, 1)
	}
}
