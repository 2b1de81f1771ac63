package http

import (
	"net"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/history"
)

// stream follows channels for one client. Its attachments put lines into its queue, and a
// goroutine writes them to its connection, which is hijacked from net/http.
type stream struct {
	server      *Server
	sender      *bridge.Sender
	kind        kind
	conn        net.Conn       // guarded by streams.mu while it may be nil
	linger      bool           // its membership outlives it for a while
	pass        *pass          // the pass that opened it; nil: none
	voice       bridge.Voice   // what the request that opened it showed
	unheed      func()         // stops heed; nil: it was not started
	first       []byte         // written first
	missed      history.Missed // written then
	from        string         // event id where the stream begins, after the missed messages
	queue       *outbound.Queue
	writer      *outbound.Writer
	attachments []*bridge.Attachment
	left        atomic.Int64 // number of channels that it is still on
	parting     atomic.Int32 // a farewell
	ended       atomic.Bool  // its queue is closed
	goodbye     atomic.Bool  // its client closed the WebSocket in good order
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

// catchUpBytes is how many bytes of missed messages are written at once.
const catchUpBytes = 64 << 10

// catchUp writes the head b, the missed messages and the place. If they are few, it does so
// in one write: a client that gets the head then has the place too. New messages wait in
// the queue.
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
	st.server.hub.Counters().Lose(st.sender, Protocol, bridge.Disconnected, st.queue.Close())
}

// enqueue queues a line. If there is no room, it counts the drop and reports false. The
// stream then ends after the waiting lines, so that its client can come back with since.
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
	st.server.hub.Counters().Lose(st.sender, Protocol, why, 1)
	return false
}

// part makes the stream write its waiting lines and end. The first reason counts.
func (st *stream) part(why farewell) {
	st.parting.CompareAndSwap(int32(staying), int32(why))
	st.writer.Close()
}

// departure is why it ended, as its client's. To leave all channels is a goodbye too.
func (st *stream) departure() bridge.Departure {
	switch farewell(st.parting.Load()) {
	case outOf:
		return bridge.LeftByGoodbye
	case stopped:
		return bridge.LeftUnnoticed
	case tooSlow:
		return bridge.LeftTooSlow
	}
	if st.goodbye.Load() {
		return bridge.LeftByGoodbye
	}
	return bridge.LeftByLoss
}
