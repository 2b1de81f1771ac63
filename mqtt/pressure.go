package mqtt

import "time"

// An acknowledgement at QoS 1 or 2 tells the publisher that its message is in the
// receivers' queues. If the queue of a connected receiver is full, it takes the message all
// the same, and the acknowledgement is held until the queue is shorter; later packets of
// the publisher wait too (inbox.go). So a queue holds at most twice its limit. Publishers
// never wait under a lock, and their acknowledgements are still read, so two clients that
// wait for each other do not block.
//
// Publishers do not wait for a receiver that does not read. If nothing left its queue for a
// second, or they have waited five in all, it is slow: messages that do not fit are
// dropped until its queue is down to a half.
const (
	stillPatience = time.Second
	slowPatience  = 5 * time.Second
	pressedCheck  = 100 * time.Millisecond
)

// relieve lets publishers go on once the queue is down to three quarters, or anyway. Down
// to a half, the receiver is not slow any more.
func (s *session) relieve(anyway bool) {
	waiting, bytes := s.queue.Len()-s.backlog, s.bytes
	if anyway || waiting <= s.limits.messages/2 && bytes <= s.limits.bytes/2 {
		s.slow = false
	}
	if s.pressed != nil && (anyway || waiting <= s.limits.messages*3/4 && bytes <= s.limits.bytes*3/4) {
		close(s.pressed.over)
		s.pressed = nil
	}
}

// wait waits until the queue has room again, its client is slow, or stop returns an error.
func (s *session) wait(stop func() error) {
	s.mu.Lock()
	p := s.pressed
	s.mu.Unlock()
	if p == nil {
		return
	}
	check := time.NewTicker(pressedCheck)
	defer check.Stop()
	for {
		select {
		case <-p.over:
			return
		case now := <-check.C:
			s.judge(p, now)
		}
		if stop() != nil {
			return
		}
	}
}

// judge decides whether a client for which publishers wait is slow.
func (s *session) judge(p *pressed, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pressed != p {
		return
	}
	if s.lastID != p.lastID {
		p.moved, p.lastID = now, s.lastID
	}
	if now.Sub(p.moved) > stillPatience || now.Sub(p.since) > slowPatience {
		s.slow = true
		close(p.over)
		s.pressed = nil
	}
}
