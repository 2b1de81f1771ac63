package mqtt

// receivedMax bounds the QoS 2 publishes of a client between PUBREC and PUBREL.
const receivedMax = 1024

// receive notes a QoS 2 publish. fresh is false if its id is in use: then it is
// the same message again. full says that the client went over its bound.
func (s *session) receive(id uint16) (fresh, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.received[id]; ok {
		return false, false
	}
	if len(s.received) >= receivedMax {
		return false, true
	}
	if s.received == nil {
		s.received = map[uint16]struct{}{}
	}
	s.received[id] = struct{}{}
	return true, false
}

// release ends a QoS 2 publish, and reports whether its id was in use.
func (s *session) release(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.received[id]
	delete(s.received, id)
	return ok
}
