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
	"watchtower/eventloop"
	"watchtower/intake"
)

const (
	controlBytes = 256 << 10       // unsent answers of a client that does not read
	flushTimeout = 2 * time.Second // to write the last packets when the broker closes
)

// conn is one client's connection. It is read by a goroutine of its own, or by an event loop
// while it is parked (park.go).
type conn struct {
	broker  *Broker
	nc      net.Conn
	sock    *eventloop.Socket // nil: it cannot be parked
	r       *bufio.Reader     // nil: it is parked
	writer  *outbound.Writer
	remote  string
	from    auth.Caller
	guest   intake.Guest
	heard   atomic.Int64 // when something came, in Unix nanoseconds, while it is parked
	resumed bool         // nothing was read since it was parked
	rest    []byte       // was read while it was parked, and not executed
	spent   error        // what the next read returns
	owe     []*session   // whose queues the plain publish that is executed now has filled
	last    *place       // to which it published last; nil: to none
	filled  bool         // the last read filled its buffer
	begun   bool         // a packet has begun
	late    int64        // deadline of that packet, in Unix nanoseconds; 0: not set yet

	hashBefore time.Time // deadline for hashing its password

	session      *session
	version      byte
	bridge       bool // see bridgeBit
	clientID     string
	voice        bridge.Voice  // what it has shown of its sender
	keepAlive    time.Duration // 0: none
	keepAliveSet bool          // the broker chose keepAlive (MQTT 5, 3.2.2.3.14)
	maxSize      uint32        // largest packet that the client takes, in bytes; 0: any
	oversize     int           // bytes of a message dropped because of maxSize; the writer's
	unanswered   int           // bytes of the smallest message that was given up; the writer's
	terse        bool          // it wants no reason strings with answers (MQTT-3.1.2-29)
	receiveMax   uint16        // the client's Receive Maximum
	spoke        bool          // it has published
	inbox        *inbox        // of its reader; nil: no answer was held yet
	aliases      map[uint16]string
	aliasBytes   int // of the aliases' topics
	will         *message
	willDelay    time.Duration
	willQuiet    bool      // it said goodbye: no will
	tookOver     time.Time // when it took over its session from another connection
	suspended    bool      // the gateway stops: the session goes on at the next start

	closing  atomic.Bool    // packets of the client are ignored from now on
	reading  atomic.Bool    // its read loop has begun
	left     atomic.Uint32  // why the client left: a bridge.Departure
	stopped  outbound.Latch // closed when the read loop has ended and all packets are executed
	gone     outbound.Latch // closed when nothing of the connection is left
	leaving  sync.Once
	mu       sync.Mutex
	control  []byte // encoded answers, written before messages
	pings    int    // PINGRESPs that are due, after the messages up to the mark pinged
	pinged   uint32
	farewell []byte // DISCONNECT, written last
	parted   bool   // farewell was written: nothing may follow
	drains   bool   // it ends because of a bad packet: see drain
}

// handing is how a publisher hands messages out. Its zero value is for one that cannot wait,
// and does not write itself.
type handing struct {
	// owe says that the publisher can wait: sessions with a full queue then take the message
	// all the same, and are added to it.
	owe *[]*session
	// round is that of the event loop that the publisher's packet is executed in; nil: others
	// write.
	round *outbound.Round
	voice bridge.Voice // what the publisher's connection has shown
	among *sharing     // of a gateway that is not alone; nil: nothing is to be said of it
}

// sharing is what other gateways have to do with a message.
type sharing struct {
	from source // whose message it is that they are told, if it is on no channel
	// elsewhere says that another gateway's client published it. It goes to clients of those shared
	// subscriptions for which that gateway has picked this one.
	elsewhere bool
	picks     []bridge.GroupPick
	// stored says that the message was retained before, in what gateways share: it did not happen
	// just now.
	stored bool
}

// wake has a connection written to, for which something was queued.
func (c *conn) wake(r *outbound.Round) {
	if r != nil {
		r.Note(c.writer)
	} else {
		c.writer.Wake()
	}
}

// silent reports whether nothing came on a parked connection for one and a half times the
// keep-alive (MQTT-3.1.2-22).
func (c *conn) silent(now time.Time) bool {
	return c.keepAlive > 0 && now.UnixNano()-c.heard.Load() > int64(c.keepAlive+c.keepAlive/2)
}

// interrupt makes the read loop look whether the connection is to end.
func (c *conn) interrupt() {
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only if it is closed
	c.sock.Kick()
}

// Close closes the connection at once.
func (c *conn) Close() error {
	err := c.nc.Close()
	c.sock.Kick() // its loop does not see that it is closed
	return err
}

// answer queues an encoded control packet.
func (c *conn) answer(b ...byte) error { return c.answerIn(nil, b...) }

// answerIn is answer in an event loop's round; nil: in none.
func (c *conn) answerIn(r *outbound.Round, b ...byte) error {
	c.mu.Lock()
	full := len(c.control)+len(b) > controlBytes
	if !full {
		c.control = append(c.control, b...)
	}
	c.mu.Unlock()
	return c.queued(full, r)
}

// queued wakes the writer, or closes the connection of a client that does not read.
func (c *conn) queued(full bool, r *outbound.Round) error {
	if full {
		_ = c.Close()
		return errUnread
	}
	c.wake(r)
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

// finish ends the connection after its read loop. If the client is still there, its
// waiting messages are written, for a bounded time.
func (c *conn) finish(err error) {
	gone := err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || isReset(err)
	switch {
	case c.closing.Load(): // disconnect was called already
	case gone:
		_ = c.Close()
	default:
		c.drains = c.version == version5 && isMalformed(err)
		c.disconnect(code(err))
	}
	c.writer.Close()
}

// disconnect closes the connection. An MQTT 5 client gets the reason first.
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

// drain lets the client read why its connection ends. A connection over WebSocket cannot
// close its sending half: package http drains it.
func (c *conn) drain() {
	if _, ok := c.nc.(interface{ CloseWrite() error }); ok && c.drains {
		outbound.Drain(c.nc)
	}
}

// How long halt waits for a packet that is being executed, which may wait for a slow
// protocol. displacePatience is for a goroutine that has others to serve.
const (
	haltPatience     = 6 * time.Second
	displacePatience = time.Second
)

// halt ends a connection. When it returns, the client's last packet is executed, the
// connection is off its session, and its will is sent or waits. Its writer may still write.
func (c *conn) halt(why packets.Code, patience time.Duration) {
	c.disconnect(why)
	if c.reading.Load() {
		c.interrupt()
		late := time.NewTimer(patience)
		defer late.Stop()
		select {
		case <-c.stopped.Done():
		case <-late.C:
			c.logged().Warn("a connection that was to end is still executing a packet")
		}
	}
	c.leave()
}

// leave detaches the connection from its session, once.
func (c *conn) leave() { c.leaving.Do(func() { c.broker.left(c) }) }

// over returns why the client's packets are ignored now; nil: they are not.
func (c *conn) over() error {
	switch {
	case c.closing.Load():
		return net.ErrClosed
	case c.broker.quiet.Load():
		return errStopping
	}
	return nil
}

// logged begins a log event with the client's fields.
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

// know tells the intake, and the carrier of the connection, that the client is identified.
func (c *conn) know() {
	c.guest.Know()
	if carrier, ok := c.nc.(interface{ Know() }); ok {
		carrier.Know()
	}
}

// fault, when deferred, recovers from a panic while a packet is executed: it logs the
// stack and sets an error that ends this connection alone.
func (c *conn) fault(err *error) {
	if r := recover(); r != nil {
		c.logged().WithField("panic", fmt.Sprint(r)).WithField("stack", string(debug.Stack())).Error("a fault of the gateway: a connection is closed")
		*err = errFault
	}
}

// acknowledgeNow sends TCP acknowledgements at once if the client also publishes: its
// next publish may wait for them (acknowledgeSegments).
func (c *conn) acknowledgeNow() {
	if c.spoke && c.r.Buffered() == 0 {
		acknowledgeSegments(c.nc)
	}
}
