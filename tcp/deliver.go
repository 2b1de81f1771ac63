package tcp

import (
	"watchtower/bridge"
	"watchtower/bridge/basic"
	"watchtower/bridge/frame"
	"watchtower/bridge/session"
	"watchtower/bridge/wire"
)

// deliver puts messages into their members' queues.
func (s *Server) deliver(jobs []bridge.Job) {
	for _, j := range jobs {
		e := encoded{message: j.Message}
		offered, dropped := 0, 0
		for _, a := range j.To {
			if !a.Wants(j.Message) {
				continue
			}
			offered++
			if !s.offer(a, &e) {
				dropped++
			}
		}
		j.Done(s.hub.Counters(), bridge.TCP, offered, dropped)
	}
	for i, c := range s.touched {
		c.touched, s.touched[i] = false, nil
		c.writer.Wake()
	}
	s.touched = s.touched[:0]
}

// offer queues a message for one connection. Its writer is woken by the first of
// a batch, to make room while the rest is queued, and by the last, so that it
// misses none; not by each, which would cost more than to queue it. What does not
// fit is counted.
func (s *Server) offer(a *bridge.Attachment, e *encoded) bool {
	var c *conn
	ok := false
	switch to := a.Member.(type) {
	case *conn:
		if c, ok = to, to.queue.Put(e.basic()); !ok {
			s.hub.Counters().Drop(bridge.TCP, bridge.QueueFull, 1)
		}
	case *session.Stream:
		c, ok = to.Owner().(*conn), to.Deliver(e.message, e.session())
	}
	if ok && !c.touched {
		c.touched = true
		c.writer.Wake()
		s.touched = append(s.touched, c)
	}
	return ok
}

// encoded is one message as its members get it: made once, by the first that
// wants it, and shared by all.
type encoded struct {
	message         *bridge.Message
	plain, sessions []byte
}

// basic returns the delivery for basic members.
func (e *encoded) basic() []byte {
	if e.plain == nil {
		e.plain = wire.AppendDelivery(make([]byte, 0, wire.DeliveryHeader+len(e.message.Data)), basic.Delivery(e.message))
	}
	return e.plain
}

// session returns the delivery for sessions.
func (e *encoded) session() []byte {
	if e.sessions == nil {
		e.sessions = frame.AppendDelivery(make([]byte, 0, frame.Overhead+frame.DeliveryFixed+len(e.message.Data)), basic.Delivery(e.message))
	}
	return e.sessions
}
