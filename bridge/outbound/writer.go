package outbound

import (
	"sync"
	"sync/atomic"
	"time"
)

// Writer writes what a Source has, from Start on. Whoever has put something into the source
// has it written: by a Round in its own goroutine, or by Wake. What the socket does not
// take at once is written by a goroutine that ends with it. Only one goroutine writes at a
// time, so the order of the source is kept.
//
// A connection that cannot be written to without waiting, such as one of TLS, always gets
// such a goroutine.
//
// Options.Ended is called once: with the error of the first write that failed, or with nil
// after Close when all is written. It does not wait for anything.
type Writer struct {
	src   Source
	opts  Options
	shard *shard

	noted atomic.Bool  // it is on a list: somebody will write
	due   atomic.Bool  // something may wait that the present writer has not seen
	last  atomic.Int64 // when something was written, in Unix nanoseconds; only with a heartbeat

	mu   sync.Mutex // held by the goroutine that writes
	conn Conn       // nil: not started
	sock *rawSocket // nil: it cannot be written to without waiting
	rest []byte     // what the socket had no room for
	late bool       // Close came before Start
	over bool       // nothing more is written
	err  error      // why

	closing sync.Once
	done    Latch
}

// NewWriter returns a writer. It writes nothing before Start.
func NewWriter(src Source, opts Options) *Writer {
	return &Writer{src: src, opts: opts, shard: opts.Crew.next()}
}

// Start lets it write to a connection. Until Done nobody else writes there.
func (w *Writer) Start(conn Conn) {
	w.mu.Lock()
	w.conn, w.sock = conn, newRawSocket(conn)
	if w.opts.Heartbeat != nil {
		_ = w.between(w.opts.Heartbeat) // it ends the writer
	}
	if w.late {
		go w.finish()
	}
	w.mu.Unlock()
	w.Wake()
}

// Run starts it, writes heartbeats, and returns when it has ended.
func (w *Writer) Run(conn Conn) error {
	w.last.Store(time.Now().UnixNano())
	w.Start(conn)
	if w.opts.Heartbeat == nil {
		<-w.Done()
		return w.err
	}
	timer := time.NewTimer(w.opts.Every)
	defer timer.Stop()
	for {
		select {
		case <-w.Done():
			return w.err
		case now := <-timer.C:
			if now.Sub(time.Unix(0, w.last.Load())) >= w.opts.Every {
				_ = w.Put(w.opts.Heartbeat) // it ends the writer, which is seen above
			}
			timer.Reset(max(w.opts.Every-time.Since(time.Unix(0, w.last.Load())), time.Millisecond))
		}
	}
}

// Put writes b between two batches, and waits until it is written. It returns why the writer has
// ended, if it has.
func (w *Writer) Put(b []byte) error {
	w.mu.Lock()
	err := w.between(b)
	w.mu.Unlock()
	if w.due.Load() { // something came meanwhile
		w.Wake()
	}
	return err
}

// between writes b between two batches. The caller holds mu.
func (w *Writer) between(b []byte) error {
	if !w.over {
		w.put(b, time.Now().Add(w.opts.Timeout))
		w.calm()
	}
	return w.err
}

// Wake says that the source has something. It never blocks.
func (w *Writer) Wake() {
	if !w.noted.Load() && w.noted.CompareAndSwap(false, true) {
		w.shard.add(w)
	}
}

// flush writes what waits, as far as the socket takes it at once, with the memory in room.
// It never blocks: while another goroutine writes, that one writes this too.
func (w *Writer) flush(room *[]byte) {
	w.noted.Store(false)
	w.due.Store(true)
	for w.due.Load() && w.mu.TryLock() {
		if w.conn == nil { // Start wakes it
			w.mu.Unlock()
			return
		}
		w.due.Store(false)
		if w.sock == nil || !w.writeNow(room) {
			go w.run() // Close waits for it: it has the lock
			return
		}
		w.mu.Unlock()
	}
}

// writeNow writes what waits. It reports false if the socket is full. The caller holds mu.
func (w *Writer) writeNow(room *[]byte) bool {
	for !w.over {
		b := w.fill(room)
		if len(b) == 0 {
			return true
		}
		n, err := w.sock.write(b)
		switch {
		case err != nil:
			w.end(err)
		case n < len(b):
			w.rest = append([]byte(nil), b[n:]...)
			return false
		}
		w.wrote()
		if len(b) < batchBytes { // that was all; what came meanwhile has set due
			return true
		}
	}
	return true
}

func (w *Writer) wrote() {
	if w.opts.Heartbeat != nil {
		w.last.Store(time.Now().UnixNano())
	}
}

func (w *Writer) fill(room *[]byte) []byte {
	b := w.src.Fill((*room)[:0])
	if cap(b) <= 2*batchBytes {
		*room = b
	}
	return b
}

// run writes until nothing waits, and waits for the socket. It begins with mu held, and
// unlocks it.
func (w *Writer) run() {
	room := buffers.Get().(*[]byte)
	defer buffers.Put(room)
	for {
		w.due.Store(false)
		w.write(room, time.Time{})
		w.calm()
		w.mu.Unlock()
		if !w.due.Load() || !w.mu.TryLock() {
			return
		}
	}
}

// calm takes the deadline back, after which a raw write would fail. The caller holds mu.
func (w *Writer) calm() {
	if !w.over && w.sock != nil {
		_ = w.conn.SetWriteDeadline(time.Time{})
	}
}

// write writes until nothing waits: each batch within the timeout, or all until a
// deadline. The caller holds mu.
func (w *Writer) write(room *[]byte, until time.Time) {
	for !w.over {
		b := w.rest
		w.rest = nil
		if b == nil {
			if b = w.fill(room); len(b) == 0 {
				return
			}
		}
		deadline := until
		if deadline.IsZero() {
			deadline = time.Now().Add(w.opts.Timeout)
		}
		w.put(b, deadline)
	}
}

// put writes b, and waits until it is written. The caller holds mu.
func (w *Writer) put(b []byte, deadline time.Time) {
	err := w.conn.SetWriteDeadline(deadline)
	if err == nil {
		_, err = w.conn.Write(b)
	}
	if err != nil {
		w.end(err)
	}
	w.wrote()
}

// end ends the writing, once. The caller holds mu.
func (w *Writer) end(err error) {
	if w.over {
		return
	}
	w.over, w.err, w.rest = true, err, nil
	if w.opts.Ended != nil {
		w.opts.Ended(err)
	}
	w.done.Close()
}

// Close has what waits written, within one timeout, and ends it. It does not wait. A writer
// that has not started does that when it starts.
func (w *Writer) Close() {
	w.closing.Do(func() { go w.finish() }) // Done waits for it, or for the write that failed
}

func (w *Writer) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.late = w.conn == nil; w.late {
		return // Start calls it again
	}
	room := buffers.Get().(*[]byte)
	w.write(room, time.Now().Add(w.opts.Timeout))
	buffers.Put(room)
	w.end(nil)
}

// Done is closed when nothing is written any more, and Options.Ended has returned.
func (w *Writer) Done() <-chan struct{} { return w.done.Done() }
