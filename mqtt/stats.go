package mqtt

// Stats describes the broker for the gateway's info topic and the metrics.
type Stats struct{ Connections, Sessions, Retained int }

// Stats returns the broker's size.
func (b *Broker) Stats() Stats {
	var st Stats
	b.mu.Lock()
	st.Connections = len(b.conns)
	b.mu.Unlock()
	b.sessions.mu.Lock()
	st.Sessions = len(b.sessions.all)
	b.sessions.mu.Unlock()
	b.retained.mu.RLock()
	st.Retained = b.retained.n
	b.retained.mu.RUnlock()
	return st
}
