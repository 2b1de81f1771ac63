package outbound

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Direct writes what a Source has to a connection, without a goroutine of its own. Whoever
// has put something into the source has it written: by Flush in its own goroutine, or by
// Wake, which leaves it to a Crew. What the socket does not take at once is written by a
// goroutine that ends with it. Only one goroutine writes at a time, so the order of the
// source is kept.
//
// A connection that cannot be written to without waiting, such as one of TLS, always gets
// such a goroutine.
type Direct struct {
	conn    net.Conn
	src     Source
	timeout time.Duration
	ended   func(error)
	sock    *rawSocket // nil: the connection cannot be written to without waiting
	shard   *shard

	noted atomic.Bool // it is on a list: somebody will call Flush
	due   atomic.Bool // something may wait that the present writer has not seen

	mu   sync.Mutex // held by the goroutine that writes
	rest []byte     // what the socket had no room for
	over bool       // nothing more is written

	closing sync.Once
	once    sync.Once // for ended
	done    chan struct{}
}

// NewDirect returns a writer whose Wake uses a crew. A write that takes longer than timeout
// fails. Ended is called once: with the error of the first write that failed, or with nil
// after Close when all is written. It closes the connection, and does not wait.
func NewDirect(conn net.Conn, src Source, timeout time.Duration, crew *Crew, ended func(error)) *Direct {
	return &Direct{
		conn: conn, src: src, timeout: timeout, ended: ended, sock: newRawSocket(conn), shard: crew.next(),
		done: make(chan struct{}),
	}
}

// Wake says that the source has something. It never blocks.
func (d *Direct) Wake() {
	if !d.noted.Load() && d.noted.CompareAndSwap(false, true) {
		d.shard.add(d)
	}
}

// flush writes what waits, as far as the socket takes it at once, with the memory in room.
// It never blocks: while another goroutine writes, that one writes this too.
func (d *Direct) flush(room *[]byte) {
	d.noted.Store(false)
	d.due.Store(true)
	for d.due.Load() && d.mu.TryLock() {
		d.due.Store(false)
		if d.sock == nil || !d.writeNow(room) {
			go d.run() // Close waits for it: it has the lock
			return
		}
		d.mu.Unlock()
	}
}

// writeNow writes what waits. It reports false if the socket is full. The caller holds mu.
func (d *Direct) writeNow(room *[]byte) bool {
	for !d.over {
		b := d.fill(room)
		if len(b) == 0 {
			return true
		}
		n, err := d.sock.write(b)
		switch {
		case err != nil:
			d.fail(err)
		case n < len(b):
			d.rest = append([]byte(nil), b[n:]...)
			return false
		case len(b) < batchBytes: // that was all; what came meanwhile has set due
			return true
		}
	}
	return true
}

func (d *Direct) fill(room *[]byte) []byte {
	b := d.src.Fill((*room)[:0])
	if cap(b) <= 2*batchBytes {
		*room = b
	}
	return b
}

// run writes until nothing waits, and waits for the socket. It begins with mu held, and
// unlocks it.
func (d *Direct) run() {
	room := buffers.Get().(*[]byte)
	defer buffers.Put(room)
	for {
		d.due.Store(false)
		d.write(room, time.Time{})
		if !d.over {
			_ = d.conn.SetWriteDeadline(time.Time{}) // or flush would fail after it
		}
		d.mu.Unlock()
		if !d.due.Load() || !d.mu.TryLock() {
			return
		}
	}
}

// write writes until nothing waits: each batch within the timeout, or all until a
// deadline. The caller holds mu.
func (d *Direct) write(room *[]byte, until time.Time) {
	for !d.over {
		b := d.rest
		d.rest = nil
		if b == nil {
			if b = d.fill(room); len(b) == 0 {
				return
			}
		}
		deadline := until
		if deadline.IsZero() {
			deadline = time.Now().Add(d.timeout)
		}
		err := d.conn.SetWriteDeadline(deadline)
		if err == nil {
			_, err = d.conn.Write(b)
		}
		if err != nil {
			d.fail(err)
		}
	}
}

func (d *Direct) fail(err error) {
	d.over, d.rest = true, nil
	d.once.Do(func() { d.ended(err) })
}

// Close has what waits written, within one timeout, and then calls ended. It does not wait;
// Done tells when that has happened.
func (d *Direct) Close() {
	d.closing.Do(func() {
		go func() {
			defer close(d.done)
			d.mu.Lock()
			defer d.mu.Unlock()
			room := buffers.Get().(*[]byte)
			d.write(room, time.Now().Add(d.timeout))
			buffers.Put(room)
			d.over = true
			d.once.Do(func() { d.ended(nil) })
		}()
	})
}

// Done is closed after Close, when nothing is written any more and ended has returned.
func (d *Direct) Done() <-chan struct{} { return d.done }
