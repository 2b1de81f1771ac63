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

	"watchtower/bridge"
	"watchtower/datagram"
	"watchtower/wire/session"
)

// writePatience is how long a batch waits for room in the socket's buffer.
const writePatience = 100 * time.Millisecond

// batch gathers datagrams and writes them in one call. It is one goroutine's.
type batch struct {
	conn     *net.UDPConn
	out      *datagram.Writer
	absent   *absent     // the hosts that are not there; may be nil
	waiting  *sync.Mutex // the socket's: held while its write deadline is set
	counters *bridge.Counters
	log      *logrus.Entry

	tags []int         // whose each datagram is
	lost func(tag int) // told of each datagram that could not be sent; may be nil
}

// nobodys tags a datagram that is told of to nobody if it could not be sent: a
// session may have more than one of a message, and repeat it.
const nobodys = -1

// add puts a datagram into the batch, and writes the batch if that fills it. The
// datagram is not to change before flush, and is never empty: a datagram of
// length zero breaks the receive loops of small devices.
func (b *batch) add(frame []byte, to netip.AddrPort, tag int) { b.addFrom(frame, to, 0, tag) }

// addFrom is add for a datagram that is to leave from one of the machine's addresses.
func (b *batch) addFrom(frame []byte, to netip.AddrPort, from datagram.Local, tag int) {
	if b.absent != nil && b.absent.refuses(to.Addr()) {
		b.drop([]int{tag})
		return
	}
	b.tags = append(b.tags, tag)
	if b.out.AddFrom(frame, to, from) {
		b.flush()
	}
}

// flush writes the batch. A datagram that the system refuses is counted, and
// the next one tried: a bad destination costs nobody else theirs. When the
// socket stays full the rest of the batch is lost.
func (b *batch) flush() {
	for b.out.Waiting() > 0 {
		n, err := b.write()
		if n > 0 { // what stopped it short is told by the next call
			continue
		}
		if isFull(err) || errors.Is(err, net.ErrClosed) {
			b.refuse(b.tags[b.out.Done():], err)
			break
		}
		first, refused := b.out.Done(), b.out.Skip()
		b.refuse(b.tags[first:first+refused], err)
	}
	b.out.Reset()
	b.tags = b.tags[:0]
}

// write writes what the socket's buffer has room for, and waits for room only if
// there is none. No deadline stands otherwise: one that passed before a write
// began, because the program was held up, would lose what could have been sent.
func (b *batch) write() (int, error) {
	n, err := b.out.Write(false)
	if b.absent != nil {
		b.absent.wrote(b.out, isFull(err))
	}
	if !isFull(err) {
		return n, err
	}
	b.waiting.Lock()
	defer b.waiting.Unlock()
	_ = b.conn.SetWriteDeadline(time.Now().Add(writePatience)) // fails on a closed socket, as writing then does
	n, err = b.out.Write(true)
	_ = b.conn.SetWriteDeadline(time.Time{})
	if isFull(err) { // or was the program held up for so long?
		n, err = b.out.Write(false)
	}
	return n, err
}

// isFull reports whether a write failed for want of room: at once, or after the
// time that it, or another one on the socket, was given.
func isFull(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, os.ErrDeadlineExceeded)
}

// refuse counts datagrams that were not sent, and tells whose they were.
func (b *batch) refuse(tags []int, err error) {
	b.drop(tags)
	if b.log.Logger.IsLevelEnabled(logrus.DebugLevel) {
		b.log.WithError(err).WithField("datagrams", len(tags)).Debug("not sent")
	}
}

// drop counts datagrams that were not sent, and tells whose they were.
func (b *batch) drop(tags []int) {
	b.counters.Drop(Protocol, Unsendable, len(tags))
	for _, tag := range tags {
		if b.lost != nil && tag != nobodys {
			b.lost(tag)
		}
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
		to, b := o.sessions.At(i)
		o.batch.addFrom(b, to, datagram.Local(o.sessions.From(i)), nobodys)
	}
}
