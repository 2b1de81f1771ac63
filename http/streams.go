package http

import (
	"net"
	"sync"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// streams are the open streams, and their number by sender.
type streams struct {
	most int // of one sender

	mu     sync.Mutex
	open   map[*stream]struct{}
	of     map[*bridge.Sender]int
	ending bool // no new ones
	cut    bool // cutAll was called
}

// add adds a stream, unless its sender has too many or the server is ending.
func (s *streams) add(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return errStopping()
	}
	if n := s.of[st.sender]; n >= s.most {
		return fault(tooManyStreams, "sender", "%d has %d streams open, and may have no more (limits.sender_streams): end one first", st.sender.ID(), n)
	}
	s.open[st] = struct{}{}
	s.of[st.sender]++
	return nil
}

func (s *streams) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
	if s.of[st.sender]--; s.of[st.sender] == 0 {
		delete(s.of, st.sender)
	}
}

// end makes every stream write its waiting lines and end.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for st := range s.open {
		st.part(stopped)
	}
}

// connect gives a stream its connection, without the visitor around it, which is only
// needed while the client is not identified.
func (s *streams) connect(st *stream, conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outbound.EndStuck(conn, st.server.opts.WriteTimeout)
	switch c := conn.(type) {
	case *visitor:
		st.conn = c.Conn
	case secured:
		st.conn = c.Conn
	default:
		st.conn = conn
	}
	if s.cut {
		_ = conn.Close()
	}
}

// cutAll closes the connections of streams that took too long to end.
func (s *streams) cutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	for st := range s.open {
		if st.conn != nil {
			_ = st.conn.Close()
		}
	}
}

// count returns the number of open streams by the names of kinds, and how many lines wait.
func (s *streams) count() (of map[string]int, waiting int) {
	of = map[string]int{}
	for k := range numKinds {
		of[k.String()] = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.open {
		of[st.kind.String()]++
		waiting += st.queue.Len()
	}
	return of, waiting
}
