package http

// Readers returns how many requests wait at mailboxes.
func (s *Server) Readers() (n int) {
	for _, b := range s.allMailboxes() {
		b.mu.Lock()
		n += b.readers
		b.mu.Unlock()
	}
	return n
}
