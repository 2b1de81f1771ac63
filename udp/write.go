package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/ipv4"

	"watchtower/bridge"
	"watchtower/bridge/session"
)

// batchSize is how many datagrams a system call moves.
const batchSize = 64

// writePatience is how long a batch waits for room in the socket's buffer.
const writePatience = 100 * time.Millisecond

// batch gathers datagrams and writes them in one call. It is one goroutine's.
type batch struct {
	conn     *net.UDPConn
	packets  *ipv4.PacketConn
	waiting  *sync.Mutex // the socket's: held while its write deadline is set
	counters *bridge.Counters
	log      *logrus.Entry

	messages []ipv4.Message // with room for one buffer each
	tags     []int          // whose each datagram is
	to       []net.UDPAddr  // of datagrams that were added with an AddrPort
	n        int
	lost     func(tag int) // told of each datagram that could not be sent; may be nil
}

func newBatch(conn *net.UDPConn, waiting *sync.Mutex, counters *bridge.Counters, log *logrus.Entry) *batch {
	b := &batch{
		conn: conn, packets: ipv4.NewPacketConn(conn), waiting: waiting, counters: counters, log: log,
		messages: make([]ipv4.Message, batchSize), tags: make([]int, batchSize), to: make([]net.UDPAddr, batchSize),
	}
	for i := range b.messages {
		b.messages[i].Buffers = make([][]byte, 1)
	}
	return b
}

// add puts a datagram into the batch, and writes the batch if that fills it. The
// datagram is not to change before flush, and is never empty: a datagram of
// length zero breaks the receive loops of small devices.
func (b *batch) add(datagram []byte, to *net.UDPAddr, tag int) {
	m := &b.messages[b.n]
	m.Buffers[0], m.Addr, b.tags[b.n] = datagram, to, tag
	if b.n++; b.n == len(b.messages) {
		b.flush()
	}
}

// nobodys tags a datagram that is told of to nobody if it could not be sent: a
// session may have more than one of a message, and repeat it.
const nobodys = -1

// addTo is add for what sessions send, whose addresses nobody keeps as a UDPAddr.
func (b *batch) addTo(datagram []byte, to netip.AddrPort) {
	a := &b.to[b.n]
	if addr := to.Addr(); addr.Is4() {
		ip := addr.As4()
		a.IP = append(a.IP[:0], ip[:]...)
		a.Zone = ""
	} else {
		ip := addr.As16()
		a.IP = append(a.IP[:0], ip[:]...)
		a.Zone = addr.Zone()
	}
	a.Port = int(to.Port())
	b.add(datagram, a, nobodys)
}

// flush writes the batch. A datagram that the system refuses is counted, and
// the next one tried: a bad destination costs nobody else theirs. When the
// socket stays full the rest of the batch is lost.
func (b *batch) flush() {
	for sent := 0; sent < b.n; {
		n, err := b.write(b.messages[sent:b.n])
		if n > 0 { // what stopped it short is told by the next call
			sent += n
			continue
		}
		refused := 1
		if isFull(err) || errors.Is(err, net.ErrClosed) {
			refused = b.n - sent
		}
		b.refuse(sent, refused, err)
		sent += refused
	}
	b.n = 0
}

// write writes what the socket's buffer has room for, and waits for room only if
// there is none. No deadline stands otherwise: one that passed before a write
// began, because the program was held up, would lose what could have been sent.
func (b *batch) write(messages []ipv4.Message) (int, error) {
	n, err := b.packets.WriteBatch(messages, syscall.MSG_DONTWAIT)
	if !isFull(err) {
		return n, err
	}
	b.waiting.Lock()
	defer b.waiting.Unlock()
	_ = b.conn.SetWriteDeadline(time.Now().Add(writePatience)) // fails on a closed socket, as writing then does
	n, err = b.packets.WriteBatch(messages, 0)
	_ = b.conn.SetWriteDeadline(time.Time{})
	if isFull(err) { // or was the program held up for so long?
		n, err = b.packets.WriteBatch(messages, syscall.MSG_DONTWAIT)
	}
	return n, err
}

// isFull reports whether a write failed for want of room: at once, or after the
// time that it, or another one on the socket, was given.
func isFull(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, os.ErrDeadlineExceeded)
}

// refuse counts n datagrams, from first on, that were not sent.
func (b *batch) refuse(first, n int, err error) {
	b.counters.Drop(bridge.UDP, bridge.Unsendable, n)
	for i := first; b.lost != nil && i < first+n; i++ {
		if b.tags[i] != nobodys {
			b.lost(b.tags[i])
		}
	}
	if b.log.Logger.IsLevelEnabled(logrus.DebugLevel) {
		b.log.WithError(err).WithField("address", b.messages[first].Addr).WithField("datagrams", n).Debug("not sent")
	}
}

// outgoing is a batch, and what sessions want to be put into it. It is one
// goroutine's.
type outgoing struct {
	batch    *batch
	sessions session.Out
}

// flush writes all there is.
func (o *outgoing) flush() {
	o.pass()
	o.batch.flush()
	o.sessions.Reset()
}

// outFull is how many bytes of sessions' datagrams are gathered before they are
// written.
const outFull = 64 << 10

// pass puts what sessions have into the batch. It is not to change before flush.
func (o *outgoing) pass() {
	for i := range o.sessions.Len() {
		to, datagram := o.sessions.At(i)
		o.batch.addTo(datagram, to)
	}
}
