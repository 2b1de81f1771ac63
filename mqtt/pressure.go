package mqtt

import "time"

// A publisher at QoS 1 or 2 is told that its message is where it is to go, so it has
// to be. If a client that reads finds its queue full, the message is put into it all
// the same, and its acknowledgement is held until the queue is shorter; what its
// publisher sends after it waits with it (inbox.go). So a queue holds at most as much
// again as it may, one message of each publisher. Publishers never wait under a lock,
// nor with their acknowledgements unread, so those that wait for each other go on.
//
// Nobody waits for who does not read: after a second in which nothing left the queue,
// or five in all, the client is slow, and what does not fit is dropped for it, until
// its queue is down to a half.
const (
	stillPatience = time.Second
	slowPatience  = 5 * time.Second
	pressedCheck  = 100 * time.Millisecond
)

// relieve lets publishers go on once the queue is down to three quarters, or anyway.
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

// wait waits until the queue has room again, its client is found to be slow, or stop
// says that the publisher is not to.
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

// judge finds out whether a client for which publishers wait is slow.
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
