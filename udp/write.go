package udp

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/ipv4"

	"watchtower/bridge"
	"watchtower/bridge/session"
	"watchtower/bridge/wire"
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
	n        int
	lost     func(tag int) // told of each datagram that could not be sent; may be nil
}

func newBatch(conn *net.UDPConn, waiting *sync.Mutex, counters *bridge.Counters, log *logrus.Entry) *batch {
	b := &batch{
		conn: conn, packets: ipv4.NewPacketConn(conn), waiting: waiting, counters: counters, log: log,
		messages: make([]ipv4.Message, batchSize), tags: make([]int, batchSize),
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
		b.lost(b.tags[i])
	}
	if b.log.Logger.IsLevelEnabled(logrus.DebugLevel) {
		b.log.WithError(err).WithField("address", b.messages[first].Addr).WithField("datagrams", n).Debug("not sent")
	}
}

// fanOut is what the link's goroutine needs for a batch of messages. It is kept
// from batch to batch, so that fan-out makes no garbage.
type fanOut struct {
	out              *batch
	frames           []byte
	offered, dropped []int // by job
}

// deliver sends messages to their members.
func (s *Server) deliver(jobs []bridge.Job) {
	f := &s.fan
	f.reset(len(jobs))
	for i, j := range jobs {
		frame := f.encode(j.Message)
		for _, a := range j.To {
			if !a.Wants(j.Message) {
				continue
			}
			f.offered[i]++
			if frame == nil {
				s.hub.Counters().Drop(bridge.UDP, bridge.TooLarge, 1)
				f.dropped[i]++
				continue
			}
			f.out.add(frame, a.Member.(*net.UDPAddr), i)
		}
	}
	f.out.flush()
	for i, j := range jobs {
		j.Done(s.hub.Counters(), bridge.UDP, f.offered[i], f.dropped[i])
	}
}

func (f *fanOut) reset(jobs int) {
	if f.out.lost == nil {
		f.out.lost = func(tag int) { f.dropped[tag]++ }
	}
	f.frames = f.frames[:0]
	f.offered, f.dropped = f.offered[:0], f.dropped[:0]
	for range jobs {
		f.offered, f.dropped = append(f.offered, 0), append(f.dropped, 0)
	}
}

// encode makes a message's delivery, or nil if it fits no datagram.
func (f *fanOut) encode(m *bridge.Message) []byte {
	if wire.DeliveryHeader+len(m.Data) > wire.MaxDatagram {
		return nil
	}
	begin := len(f.frames)
	f.frames = wire.AppendDelivery(f.frames, wire.Delivery{
		Sender: uint32(m.Sender), Channel: uint32(m.Channel), Type: session.DeliveryType(m), Data: m.Data,
	})
	return f.frames[begin:]
}
