// Package outbound writes what waits for a connection, in as few calls as possible. TCP
// connections, HTTP streams and MQTT clients all use it.
//
// A Source holds what waits. A Writer, in one goroutine of its owner, takes all of it and
// writes it in one call, under a deadline: a receiver that does not read is cut off, and
// delays nobody else. A Queue is the plain bounded Source.
package outbound

import (
	"sync"
	"time"
)

// batchBytes is the most bytes of one write, unless a single frame is larger.
const batchBytes = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, batchBytes); return &b }}

// Source gives a Writer the next bytes to write.
type Source interface {
	// Fill appends what waits to buf, which is empty and has room for a batch,
	// and returns it. An empty result says that nothing waits.
	Fill(buf []byte) []byte
}

// Conn is the part of a connection that a Writer needs.
type Conn interface {
	Write([]byte) (int, error)
	SetWriteDeadline(time.Time) error
}

// Options of a Writer.
type Options struct {
	Timeout   time.Duration // a write that takes longer ends the Writer
	Heartbeat []byte        // written at the start, and after Every without a write; nil: none
	Every     time.Duration
}

// Writer writes what a Source has.
type Writer struct {
	conn    Conn
	src     Source
	opts    Options
	wake    chan struct{}
	once    sync.Once
	closing chan struct{}
}

// NewWriter returns a writer. It writes only in Run.
func NewWriter(conn Conn, src Source, opts Options) *Writer {
	return &Writer{conn: conn, src: src, opts: opts, wake: make(chan struct{}, 1), closing: make(chan struct{})}
}

// Wake says that the source has something. It never blocks.
func (w *Writer) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Close makes Run write what waits, within one timeout, and return. Close itself does not
// wait.
func (w *Writer) Close() { w.once.Do(func() { close(w.closing) }) }

// Run writes until Close or an error.
func (w *Writer) Run() error {
	var beat <-chan time.Time
	var timer *time.Timer
	last := time.Now() // when something was written
	if w.opts.Heartbeat != nil {
		if err := w.write(w.opts.Heartbeat, last.Add(w.opts.Timeout)); err != nil {
			return err
		}
		timer = time.NewTimer(w.opts.Every)
		defer timer.Stop()
		beat = timer.C
	}
	for {
		now := time.Now()
		wrote, err := w.flush(now.Add(w.opts.Timeout))
		if err != nil {
			return err
		}
		if wrote {
			last = now
			select {
			case <-w.closing:
				return w.drain()
			default:
				continue
			}
		}
		select {
		case <-w.wake:
		case <-w.closing:
			return w.drain()
		case now := <-beat:
			if now.Sub(last) >= w.opts.Every {
				if err := w.write(w.opts.Heartbeat, now.Add(w.opts.Timeout)); err != nil {
					return err
				}
				last = now
			}
			timer.Reset(w.opts.Every - now.Sub(last))
		}
	}
}

// drain writes what still waits, all within one timeout.
func (w *Writer) drain() error {
	deadline := time.Now().Add(w.opts.Timeout)
	for {
		if wrote, err := w.flush(deadline); err != nil || !wrote {
			return err
		}
	}
}

// flush writes one batch. Its buffer goes back to the pool before Run waits, so an idle
// connection holds none.
func (w *Writer) flush(deadline time.Time) (wrote bool, err error) {
	p := buffers.Get().(*[]byte)
	b := w.src.Fill((*p)[:0])
	if len(b) > 0 {
		err = w.write(b, deadline)
		wrote = true
	}
	if cap(b) <= 2*batchBytes {
		*p = b
	}
	buffers.Put(p)
	return wrote, err
}

func (w *Writer) write(b []byte, deadline time.Time) error {
	if err := w.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	return err
}
