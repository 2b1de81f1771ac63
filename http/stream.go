package http

import (
	"context"
	nethttp "net/http"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// stream follows channels for one client. Its attachments put lines into its
// queue, and the goroutine of its request writes them.
type stream struct {
	server      *Server
	sender      *bridge.Sender
	kind        kind
	conn        target
	missed      replay // written first
	queue       *outbound.Queue
	writer      *outbound.Writer
	attachments []*bridge.Attachment
	left        atomic.Int64 // channels that it was not made to leave
	parting     atomic.Int32 // a farewell
	ended       atomic.Bool  // its queue is closed

	touched bool // belongs to the fan-out: there is something new in the queue
}

// farewell is why the gateway ends a stream.
type farewell int32

const (
	staying farewell = iota
	outOf            // it was made to leave its last channel
	stopped          // the gateway stops
	tooSlow          // its queue was full
)

// reason is what the client is told of a farewell.
func (f farewell) reason() string { return [...]string{"", "left", "stopping", "too_slow"}[f] }

// detail says it to a person.
func (f farewell) detail() string {
	return [...]string{
		"", "the sender left the channels", "the gateway is stopping",
		"more messages waited than http.stream_queue allows: come back with since",
	}[f]
}

// joinStream answers GET /channels/join. The sender has joined all channels
// before the client sees the status.
func (s *Server) joinStream(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, q, err := s.asker(r, "sender", "channels", "echo", "linger", "since")
	if err != nil {
		return err
	}
	channels, err := s.channels(q)
	if err != nil {
		return err
	}
	echo, err := q.flag("echo", true)
	if err != nil {
		return err
	}
	linger, err := q.flag("linger", true)
	if err != nil {
		return err
	}
	from, err := readSince(r, q)
	if err != nil {
		return err
	}
	st := s.newStream(w, sender, kindOf(r))
	if err := s.streams.add(st); err != nil {
		return err
	}
	defer s.streams.remove(st)
	defer func() { st.end(linger) }()
	if err := st.attach(sorted(channels), !echo, from); err != nil {
		linger = false // nothing is half done
		return err
	}
	if st.kind != frames {
		st.run(w, r)
		return nil
	}
	if err := st.runSocket(w, r); err != nil {
		linger = false
		return err
	}
	return nil
}

func (s *Server) newStream(w nethttp.ResponseWriter, sender *bridge.Sender, k kind) *stream {
	st := &stream{server: s, sender: sender, kind: k, queue: outbound.NewQueue(s.opts.StreamQueue, s.opts.StreamBytes)}
	st.conn.Conn = flushingConn{w, nethttp.NewResponseController(w)}
	st.writer = outbound.NewWriter(&st.conn, st.queue, outbound.Options{
		Timeout: s.opts.WriteTimeout, Heartbeat: k.heartbeat(), Every: s.opts.Heartbeat,
	})
	return st
}

// attach joins the channels, and finds out what was missed there if that is
// wanted. The stream ends when it was made to leave the last of them.
func (st *stream) attach(channels []bridge.Channel, noEcho bool, from *since) error {
	if from != nil {
		h := st.server.history
		h.mu.Lock() // so that the fan-out stands still
		defer h.mu.Unlock()
		st.missed = h.missedLocked(*from, channels, st.sender, noEcho)
	}
	st.left.Store(int64(len(channels)))
	for _, c := range channels {
		a := &bridge.Attachment{
			Via: bridge.HTTP, Broadcasts: true, Sends: true, NoEcho: noEcho, Member: st, Replays: from != nil,
			Ended: func() {
				if st.left.Add(-1) == 0 {
					st.part(outOf)
				}
			},
		}
		if err := st.server.hub.Attach(st.sender, c, a); err != nil {
			return err
		}
		st.attachments = append(st.attachments, a)
	}
	return nil
}

// run writes the stream until the client goes, or the stream is closed.
func (st *stream) run(w nethttp.ResponseWriter, r *nethttp.Request) {
	gone := make(chan struct{})
	stop := context.AfterFunc(r.Context(), func() {
		defer close(gone)
		st.discard() // there is nobody to write it to
		st.writer.Close()
	})
	defer func() {
		if !stop() {
			<-gone
		}
	}()
	h := w.Header()
	h.Set("Content-Type", st.kind.contentType())
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = nethttp.NewResponseController(w).SetReadDeadline(time.Time{}) // of a body, if there was one
	w.WriteHeader(nethttp.StatusOK)
	err := st.catchUp()
	if err == nil {
		err = st.writer.Run()
	}
	if err != nil {
		st.server.log.WithError(err).Debug("http stream ended")
		return
	}
	st.server.deadline(w) // for the end of the body, which net/http writes
	if farewell(st.parting.Load()) == tooSlow {
		_, _ = w.Write(st.kind.end(tooSlow)) // it may not read this either
	}
}

// catchUpBytes is how much of what was missed is written at once.
const catchUpBytes = 64 << 10

// catchUp writes what was missed. What is said meanwhile waits in the queue.
func (st *stream) catchUp() error {
	var b []byte
	write := func() error {
		if err := st.conn.SetWriteDeadline(time.Now().Add(st.server.opts.WriteTimeout)); err != nil {
			return err
		}
		_, err := st.conn.Write(b)
		b = b[:0]
		return err
	}
	for _, c := range st.missed.gaps {
		b = append(b, st.kind.gap(c)...)
	}
	for _, m := range st.missed.messages {
		if b = append(b, st.kind.encode(m)...); len(b) >= catchUpBytes {
			if err := write(); err != nil {
				return err
			}
		}
	}
	st.missed = replay{}
	if len(b) == 0 {
		return nil
	}
	return write()
}

// end takes the stream off its channels and counts what it did not write.
func (st *stream) end(linger bool) {
	for _, a := range st.attachments {
		if linger {
			st.server.hub.DetachLingering(a)
		} else {
			st.server.hub.Detach(a)
		}
	}
	st.discard()
}

func (st *stream) discard() {
	st.ended.Store(true)
	st.server.hub.Counters().Drop(bridge.HTTP, bridge.Disconnected, st.queue.Close())
}

// put queues a line. It reports false, and counts the drop, if there is no
// room: then the stream ends with what waits, so that its client knows what it
// missed and can come back for it.
func (st *stream) put(line []byte) bool {
	why := bridge.Disconnected
	if farewell(st.parting.Load()) == staying {
		if st.queue.Put(line) {
			return true
		}
		if !st.ended.Load() {
			why = bridge.QueueFull
			st.part(tooSlow)
		}
	}
	st.server.hub.Counters().Drop(bridge.HTTP, why, 1)
	return false
}

// part makes the stream write what waits, and end. The first reason counts.
func (st *stream) part(why farewell) {
	st.parting.CompareAndSwap(int32(staying), int32(why))
	st.writer.Close()
}

// target is where a stream is written to. For a WebSocket that is known only when
// it has joined.
type target struct{ outbound.Conn }

// flushingConn is the connection under an answer, as outbound.Writer wants it.
type flushingConn struct {
	w  nethttp.ResponseWriter
	rc *nethttp.ResponseController
}

func (c flushingConn) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, c.rc.Flush()
}

func (c flushingConn) SetWriteDeadline(t time.Time) error { return c.rc.SetWriteDeadline(t) }
