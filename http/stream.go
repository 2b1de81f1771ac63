package http

import (
	"net"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/history"
)

// stream follows channels for one client. Its attachments put lines into its
// queue, and a goroutine writes them to its connection, which net/http has given
// up.
type stream struct {
	server      *Server
	sender      *bridge.Sender
	kind        kind
	conn        net.Conn       // guarded by streams.mu while it may be nil
	linger      bool           // its membership outlives it
	pass        *pass          // that opened it; nil: none
	unheed      func()         // stops looking at that; nil: nobody does
	missed      history.Missed // written first
	from        string         // of events: where the stream begins, behind what was missed
	queue       *outbound.Queue
	writer      *outbound.Writer
	attachments []*bridge.Attachment
	left        atomic.Int64 // channels that it was not made to leave
	parting     atomic.Int32 // a farewell
	ended       atomic.Bool  // its queue is closed

	touched bool // belongs to the fan-out: there is something new in the queue
}

// write writes within the write timeout.
func (st *stream) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := st.conn.SetWriteDeadline(time.Now().Add(st.server.opts.WriteTimeout)); err != nil {
		return err
	}
	_, err := st.conn.Write(b)
	return err
}

// catchUpBytes is how much of what was missed is written at once.
const catchUpBytes = 64 << 10

// catchUp writes how the stream begins and what was missed, at once if it is not
// too much: who has heard that it began knows where. What is said meanwhile waits
// in the queue.
func (st *stream) catchUp(b []byte) error {
	for _, c := range st.missed.Gaps {
		b = append(b, st.kind.gap(c)...)
	}
	for _, m := range st.missed.Messages {
		if b = append(b, st.kind.encode(m)...); len(b) >= catchUpBytes {
			if err := st.write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	st.missed = history.Missed{}
	if st.kind.ofEvents() {
		b = append(b, st.kind.place(st.from)...)
	}
	return st.write(b)
}

func (st *stream) discard() {
	st.ended.Store(true)
	st.server.hub.Counters().Drop(Protocol, bridge.Disconnected, st.queue.Close())
}

// enqueue queues a line. It reports false, and counts the drop, if there is no
// room: then the stream ends with what waits, so that its client knows what it
// missed and can come back for it.
func (st *stream) enqueue(line []byte) bool {
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
	st.server.hub.Counters().Drop(Protocol, why, 1)
	return false
}

// part makes the stream write what waits, and end. The first reason counts.
func (st *stream) part(why farewell) {
	st.parting.CompareAndSwap(int32(staying), int32(why))
	st.writer.Close()
}

// connection is where a stream's writer writes to.
type connection struct{ st *stream }

func (c connection) Write(b []byte) (int, error)        { return c.st.conn.Write(b) }
func (c connection) SetWriteDeadline(t time.Time) error { return c.st.conn.SetWriteDeadline(t) }
