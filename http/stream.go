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
	queue       *outbound.Queue
	writer      *outbound.Writer
	attachments []*bridge.Attachment
	left        atomic.Int64 // channels that it was not made to leave
	ended       atomic.Bool  // its queue is closed

	touched bool // belongs to the fan-out: there is something new in the queue
}

// heartbeat is the empty line that says that a stream is alive.
var heartbeat = []byte("\n")

// joinStream answers GET /channels/join. The sender has joined all channels
// before the client sees the status.
func (s *Server) joinStream(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, q, err := s.asker(r, "sender", "channels", "echo", "linger")
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
	st := s.newStream(w)
	if !s.addStream(st) {
		return errStopping()
	}
	defer s.removeStream(st)
	defer func() { st.end(linger) }()
	if err := st.attach(sender, sorted(channels), !echo); err != nil {
		linger = false // nothing is half done
		return err
	}
	st.run(w, r)
	return nil
}

func (s *Server) newStream(w nethttp.ResponseWriter) *stream {
	st := &stream{server: s, queue: outbound.NewQueue(s.opts.StreamQueue, s.opts.StreamBytes)}
	conn := flushingConn{w, nethttp.NewResponseController(w)}
	st.writer = outbound.NewWriter(conn, st.queue, outbound.Options{
		Timeout: s.opts.WriteTimeout, Heartbeat: heartbeat, Every: s.opts.Heartbeat,
	})
	return st
}

// attach joins the channels. The stream ends when it was made to leave the
// last of them.
func (st *stream) attach(sender *bridge.Sender, channels []bridge.Channel, noEcho bool) error {
	st.left.Store(int64(len(channels)))
	for _, c := range channels {
		a := &bridge.Attachment{
			Via: bridge.HTTP, Broadcasts: true, Sends: true, NoEcho: noEcho, Member: st,
			Ended: func() {
				if st.left.Add(-1) == 0 {
					st.writer.Close()
				}
			},
		}
		if err := st.server.hub.Attach(sender, c, a); err != nil {
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
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = nethttp.NewResponseController(w).SetReadDeadline(time.Time{}) // of a body, if there was one
	w.WriteHeader(nethttp.StatusOK)
	if err := st.writer.Run(); err != nil {
		st.server.log.WithError(err).Debug("http stream ended")
		return
	}
	st.server.deadline(w) // for the end of the body, which net/http writes
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
// room.
func (st *stream) put(line []byte) bool {
	if st.queue.Put(line) {
		return true
	}
	why := bridge.QueueFull
	if st.ended.Load() {
		why = bridge.Disconnected
	}
	st.server.hub.Counters().Drop(bridge.HTTP, why, 1)
	return false
}

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
