package http

// Readers is how many requests wait at mailboxes.
func (s *Server) Readers() (n int) {
	for _, b := range s.allMailboxes() {
		b.mu.Lock()
		n += b.readers
		b.mu.Unlock()
	}
	return n
}

// PendingRows is how many rows of callbacks are to be written.
func (s *Server) PendingRows() int {
	k := s.callbacks.keeper
	k.saving.Lock()
	defer k.saving.Unlock()
	return len(k.rows)
}
