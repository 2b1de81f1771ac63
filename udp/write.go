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

// batch gathers datagrams and writes them in one call. One goroutine uses it.
type batch struct {
	conn     *net.UDPConn
	out      *datagram.Writer
	absent   *absent     // the hosts that are not there; may be nil
	waiting  *sync.Mutex // the socket's: held while its write deadline is set
	counters *bridge.Counters
	receiver func(netip.AddrPort) *bridge.Sender // who is at an address; nil: nobody known
	log      *logrus.Entry

	tags []int         // one for each datagram, for lost
	lost func(tag int) // told of each datagram that could not be sent; may be nil
}

// nobodys is the tag of a datagram for which lost is not called: a session may have more
// than one of a message, and repeat it.
const nobodys = -1

// add puts a datagram into the batch, and writes the batch if that fills it. The datagram
// does not change before flush. It is never empty: a datagram of length zero breaks the
// receive loops of small devices.
func (b *batch) add(frame []byte, to netip.AddrPort, tag int) { b.addFrom(frame, to, 0, tag) }

// addFrom is add for a datagram that leaves from a given address of the machine.
func (b *batch) addFrom(frame []byte, to netip.AddrPort, from datagram.Local, tag int) {
	if b.absent != nil && b.absent.refuses(to.Addr()) {
		b.drop(tag, to)
		return
	}
	b.tags = append(b.tags, tag)
	if b.out.AddFrom(frame, to, from) {
		b.flush()
	}
}

// flush writes the batch. It counts a datagram that the system refuses, and tries the
// next: a bad destination costs no other one. If the socket stays full, the rest of the
// batch is lost.
func (b *batch) flush() {
	for b.out.Waiting() > 0 {
		n, err := b.write()
		if n > 0 { // the next call returns the error that stopped this one
			continue
		}
		if isFull(err) || errors.Is(err, net.ErrClosed) {
			b.refuse(b.out.Done(), len(b.tags), err)
			break
		}
		first, refused := b.out.Done(), b.out.Skip()
		b.refuse(first, first+refused, err)
	}
	b.out.Reset()
	b.tags = b.tags[:0]
}

// write writes what the socket's buffer has room for. Only if there is no room it sets a
// deadline and waits. At any other time no deadline is set: it might pass while the
// program is held up, and datagrams would be lost for nothing.
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
	if isFull(err) { // the program may have been held up until the deadline
		n, err = b.out.Write(false)
	}
	return n, err
}

// isFull reports whether a write failed because there was no room: at once, or at the
// deadline that it, or another one on the socket, had set.
func isFull(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, os.ErrDeadlineExceeded)
}

// refuse does what drop does, for the datagrams from first up to end, and logs the error.
func (b *batch) refuse(first, end int, err error) {
	for i := first; i < end; i++ {
		b.drop(b.tags[i], b.out.To(i))
	}
	if b.log.Logger.IsLevelEnabled(logrus.DebugLevel) {
		b.log.WithError(err).WithField("datagrams", end-first).Debug("not sent")
	}
}

// drop counts a datagram that was not sent, and calls lost for it.
func (b *batch) drop(tag int, to netip.AddrPort) {
	var who *bridge.Sender
	if b.receiver != nil {
		who = b.receiver(to)
	}
	b.counters.Lose(who, Protocol, Unsendable, 1)
	if b.lost != nil && tag != nobodys {
		b.lost(tag)
	}
}

// outgoing is a batch, and the sessions' datagrams that go into it. One goroutine uses
// it.
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

// pass puts the sessions' datagrams into the batch. They do not change before flush.
func (o *outgoing) pass() {
	for i := range o.sessions.Len() {
		to, b := o.sessions.At(i)
		o.batch.addFrom(b, to, datagram.Local(o.sessions.From(i)), nobodys)
	}
}
