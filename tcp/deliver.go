package tcp

import (
	"watchtower/bridge"
	"watchtower/bridge/session"
	"watchtower/bridge/wire"
)

// deliver puts messages into their members' queues.
func (s *Server) deliver(jobs []bridge.Job) {
	for _, j := range jobs {
		m := j.Message
		frame := wire.AppendDelivery(make([]byte, 0, wire.DeliveryHeader+len(m.Data)), wire.Delivery{
			Sender: uint32(m.Sender), Channel: uint32(m.Channel), Type: session.DeliveryType(m), Data: m.Data,
		})
		offered, dropped := 0, 0
		for _, a := range j.To {
			if !a.Wants(m) {
				continue
			}
			offered++
			if !s.offer(a.Member.(*conn), frame) {
				dropped++
			}
		}
		s.hub.Counters().Drop(bridge.TCP, bridge.QueueFull, dropped)
		j.Done(s.hub.Counters(), bridge.TCP, offered, dropped)
	}
	for i, c := range s.touched {
		c.touched, s.touched[i] = false, nil
		c.writer.Wake()
	}
	s.touched = s.touched[:0]
}

// offer queues a frame for one connection. Its writer is woken by the first of
// a batch, to make room while the rest is queued, and by the last, so that it
// misses none; not by each, which would cost more than to queue it.
func (s *Server) offer(c *conn, frame []byte) bool {
	if !c.queue.Put(frame) {
		return false
	}
	if !c.touched {
		c.touched = true
		c.writer.Wake()
		s.touched = append(s.touched, c)
	}
	return true
}
