package mqtt

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/intake"
)

const (
	beforeConnectBytes = 64 << 10        // largest packet of a stranger
	controlBytes       = 256 << 10       // answers that may wait for a client that does not read
	flushTimeout       = 2 * time.Second // for the last packets of a connection that the broker closes
	lingerTimeout      = time.Second     // for the client to end it, having read them
	lingerBytes        = 1 << 20
)

var (
	errTooLarge   = overLimit{"packet too large", "mqtt.max_packet_bytes"}
	errUnfinished = packets.Code{Code: packets.ErrQuotaExceeded.Code, Reason: "too many packets are not complete (" + intake.UnfinishedSetting + ")"}
	errFault      = errors.New("the gateway failed")
	errStopping   = errors.New("the gateway is stopping")
	errUnread     = errors.New("the client does not read its answers")
)

// conn is one client's connection. Its reader runs in the goroutine of
// Broker.ServeConn, its writer in one more.
type conn struct {
	broker *Broker
	nc     net.Conn
	r      *bufio.Reader
	writer *outbound.Writer
	remote string
	from   auth.Caller
	guest  intake.Guest
	filled bool  // the last read would have taken more
	begun  bool  // a packet has begun
	late   int64 // when it has to be complete, in Unix nanoseconds; 0: nobody has waited for it so far

	hashBefore time.Time // latest that its password may be hashed

	session   *session
	version   byte
	bridge    bool // see bridgeBit
	clientID  string
	keepAlive time.Duration // 0: none
	// keepAliveSet: it is the broker's, not the client's (MQTT 5, 3.2.2.3.14).
	keepAliveSet bool
	maxSize      uint32 // largest packet that the client takes; 0: any
	oversize     int    // bytes of a message that was dropped for that; the writer's
	unanswered   int    // likewise of the smallest that were given up
	terse        bool   // it wants no reason strings with answers (MQTT-3.1.2-29)
	receiveMax   uint16 // most deliveries at QoS 1 and 2 in flight that it takes
	spoke        bool   // it has published
	inbox        *inbox // of its reader; nil: nothing was held yet
	aliases      map[uint16]string
	aliasBytes   int // of their topics
	will         *publication
	willDelay    time.Duration
	willQuiet    bool      // it said goodbye: no will
	tookOver     time.Time // when it took its session over from another connection, if it did
	suspended    bool      // the gateway is stopping: the session goes on when it starts again

	closing  atomic.Bool   // nothing that the client sends counts any more
	reading  atomic.Bool   // its read loop has begun
	stopped  chan struct{} // closed when the read loop has ended: nothing is executed any more
	leave    func()        // takes it off its session, once
	mu       sync.Mutex
	control  []byte // encoded answers, written before messages
	pings    int    // PINGRESPs, written behind the messages that waited at pinged
	pinged   uint32
	farewell []byte // DISCONNECT, written after them
	parted   bool   // farewell was written: nothing may follow
	lingers  bool   // it ends because of what the client sent: see linger
}

func newConn(b *Broker, nc net.Conn) *conn {
	c := &conn{broker: b, nc: nc, remote: nc.RemoteAddr().String(), stopped: make(chan struct{})}
	c.leave = sync.OnceFunc(func() { b.left(c) })
	c.from = auth.Caller{Via: Protocol, At: auth.Address(nc.RemoteAddr())}
	if proxied, ok := nc.(interface{ Forwarded() bool }); ok {
		c.from.Forwarded = proxied.Forwarded()
	}
	c.r = bufio.NewReaderSize(c, idleBufferBytes)
	outbound.EndStuck(nc, b.opts.WriteTimeout)
	c.writer = outbound.NewWriter(nc, c, outbound.Options{Timeout: b.opts.WriteTimeout})
	return c
}

// Read reads from the socket under the keep-alive's deadline, which begins anew
// with each read: while a packet is being executed, the client has no say. A packet
// that has begun has a deadline for all of it besides, as CONNECT has.
func (c *conn) Read(p []byte) (int, error) {
	if c.session != nil {
		if err := c.nc.SetReadDeadline(c.readDeadline()); err != nil {
			return 0, err
		}
		switch { // it may have set the deadline that this one replaced
		case c.broker.quiet.Load():
			return 0, errStopping
		case c.closing.Load():
			return 0, net.ErrClosed
		}
	}
	n, err := c.nc.Read(p)
	c.filled = n == len(p)
	return n, err
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
	pings, pinged := c.pings, c.pinged
	c.mu.Unlock()
	if parted {
		return buf[:0]
	}
	buf = c.session.fill(c, buf, c.broker.now())
	if pings > 0 && (len(buf) < batch || c.session.passed(pinged)) {
		buf = c.pong(buf, pings)
	}
	if c.oversize > 0 {
		c.broker.warn(c.clientID, "message dropped: it is larger than the packets that the client takes (its Maximum Packet Size)", c)
		c.oversize = 0
	}
	if c.unanswered > 0 {
		c.reportUnanswered()
	}
	if len(buf) > 0 {
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
		return errUnread
	}
	c.writer.Wake()
	return nil
}

// ping is a PINGREQ. Its answer comes behind the messages that wait for the client
// now, as far as it may be sent them: a device that sleeps then knows that was all.
func (c *conn) ping() error {
	mark := c.session.mark()
	c.mu.Lock()
	c.pings++
	c.pinged = mark
	full := len(c.control)+2*c.pings > controlBytes
	c.mu.Unlock()
	if full {
		_ = c.nc.Close()
		return errUnread
	}
	c.writer.Wake()
	return nil
}

// pong appends answers to pings.
func (c *conn) pong(buf []byte, pings int) []byte {
	c.mu.Lock()
	c.pings -= pings
	c.mu.Unlock()
	for range pings {
		buf = append(buf, packets.Pingresp<<4, 0)
	}
	return buf
}

// answerPacket queues a control packet that the codec encodes.
func (c *conn) answerPacket(pk packets.Packet) error {
	if c.terse && pk.FixedHeader.Type != packets.Connack {
		pk.Properties.ReasonString = ""
	}
	b, err := encodeControl(pk, c.version, c.maxSize)
	if err != nil {
		return err
	}
	return c.answer(b...)
}

// code is what a client of MQTT 5 is told about why its connection ends.
func code(err error) packets.Code {
	var known packets.Code
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, errTooLarge):
		return packets.ErrPacketTooLarge
	case errors.Is(err, intake.ErrFull):
		return errUnfinished
	case errors.Is(err, errStopping):
		return packets.ErrServerShuttingDown
	case errors.Is(err, errFault):
		return packets.ErrImplementationSpecificError
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
		c.lingers = c.version == version5 && isMalformed(err)
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

// linger lets the client read why its connection ends: closed while there is more
// from it to be read, a connection is reset, and a client that writes on fails before
// it reads. It ends with the client, and is bounded in time and in bytes.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !c.lingers || !ok || half.CloseWrite() != nil || c.nc.SetReadDeadline(time.Now().Add(lingerTimeout)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.nc, lingerBytes)
}

// haltPatience bounds the wait for a packet that is being executed: its publisher
// may be held back by a protocol that is behind.
//
// displacePatience does, where the goroutine that waits has others to serve.
const (
	haltPatience     = 6 * time.Second
	displacePatience = time.Second
)

// halt ends a connection, and returns when it can do nothing any more: what it
// was executing is done, it is off its session, and its will is sent or waits.
// What was to be written to it may still be.
func (c *conn) halt(why packets.Code, patience time.Duration) {
	c.disconnect(why)
	if c.reading.Load() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection, as reading then does
		late := time.NewTimer(patience)
		defer late.Stop()
		select {
		case <-c.stopped:
		case <-late.C:
			c.broker.log.WithField("client", shorten(c.clientID)).Warn("a connection that was to end is still executing a packet")
		}
	}
	c.leave()
}

// isMalformed reports whether an error is the client's bad packet.
func isMalformed(err error) bool {
	var known packets.Code
	return errors.As(err, &known)
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// drop counts a packet that ended the connection.
func (c *conn) drop(err error) {
	switch {
	case errors.Is(err, errTooLarge):
		c.broker.limited(c, "packet "+c.host(), errTooLarge)
	case isMalformed(err):
		c.broker.hub.Counters().Drop(Protocol, bridge.Malformed, 1)
		c.broker.warn(c.host(), "MQTT connection closed: "+err.Error(), c)
	}
}
