package mqtt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/intake"
)

const (
	controlBytes  = 256 << 10       // answers that may wait for a client that does not read
	flushTimeout  = 2 * time.Second // for the last packets of a connection that the broker closes
	lingerTimeout = time.Second     // for the client to end it, having read them
	lingerBytes   = 1 << 20
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
	will         *message
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

// answer queues an encoded control packet.
func (c *conn) answer(b ...byte) error {
	c.mu.Lock()
	full := len(c.control)+len(b) > controlBytes
	if !full {
		c.control = append(c.control, b...)
	}
	c.mu.Unlock()
	return c.queued(full)
}

// queued has an answer written, or ends a client that does not read its answers.
func (c *conn) queued(full bool) error {
	if full {
		_ = c.nc.Close()
		return errUnread
	}
	c.writer.Wake()
	return nil
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
			c.logged().Warn("a connection that was to end is still executing a packet")
		}
	}
	c.leave()
}

// over says why nothing that the client sends counts any more; nil: it does.
func (c *conn) over() error {
	switch {
	case c.closing.Load():
		return net.ErrClosed
	case c.broker.quiet.Load():
		return errStopping
	}
	return nil
}

// logged begins an event of the client's in the log.
func (c *conn) logged() *logrus.Entry {
	return c.broker.log.WithFields(logrus.Fields{"client": bridge.Shorten(c.clientID), "remote": c.remote})
}

func (c *conn) host() string {
	host, _, err := net.SplitHostPort(c.remote)
	if err != nil {
		return c.remote
	}
	return host
}

// know says that the client has proved who it is, to whatever carries it as well.
func (c *conn) know() {
	c.guest.Know()
	if carrier, ok := c.nc.(interface{ Know() }); ok {
		carrier.Know()
	}
}

// fault ends a connection whose packet met a fault of the program's own, and the
// program goes on: what was locked is released, and where it was is logged. It is
// to be deferred.
func (c *conn) fault(err *error) {
	if r := recover(); r != nil {
		c.logged().WithField("panic", fmt.Sprint(r)).WithField("stack", string(debug.Stack())).Error("a fault of the gateway: a connection is closed")
		*err = errFault
	}
}

// acknowledgeNow has acknowledgements that nothing is answered to acknowledged by the
// system, where the client may be waiting with what it publishes.
func (c *conn) acknowledgeNow() {
	if c.spoke && c.r.Buffered() == 0 {
		acknowledgeSegments(c.nc)
	}
}
