package http

import (
	"net"
	"sync"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// streams are those that are open, and how many of each sender.
type streams struct {
	most int // of one sender

	mu     sync.Mutex
	open   map[*stream]struct{}
	of     map[*bridge.Sender]int
	ending bool // no more
	cut    bool // their connections are closed
}

// add takes a stream in, unless its sender has too many or streams are ending.
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

// end makes every stream write what waits for it and end.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for st := range s.open {
		st.part(stopped)
	}
}

// connect gives a stream its connection, without what is around it for the time that
// nobody is known on it: whoever ends the stream closes all of it.
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

// cutAll closes the connections of those that took too long to end.
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

// count returns how many streams of each name of a kind are open, and what waits
// for them.
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
