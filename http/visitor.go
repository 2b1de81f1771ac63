package http

import (
	"net"
	nethttp "net/http"
	"net/netip"
	"sync"

	"watchtower/bridge"
	"watchtower/intake"
)

// Bytes that a connection counts for until its client is identified: net/http's two
// buffers, and TLS.
const (
	strangerBytes = 8 << 10
	tlsBytes      = 12 << 10
)

// headerCost is the memory for a byte of a long header: it is copied once.
const headerCost = 2

// visitor is a connection of a listener. Until the handler runs it counts the memory of the
// request's header, which net/http reads without a common limit.
type visitor struct {
	net.Conn
	server *Server
	guest  intake.Guest
	at     netip.Prefix // the peer's, which may be a proxy
	secure bool

	mu      sync.Mutex  // net/http reads in the background while a handler runs
	inside  bool        // a handler runs, or the connection is hijacked
	header  int         // bytes of the current request's header so far
	lending intake.Loan // for the header
	body    intake.Loan // the handler's
}

// visitors is a listener whose connections are counted.
type visitors struct {
	net.Listener
	server *Server
	secure bool
}

func (l visitors) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		v := &visitor{Conn: nc, server: l.server, at: intake.From(nc.RemoteAddr()), secure: l.secure}
		visit := intake.Visit{At: v.at, Bytes: strangerBytes, Exempt: l.server.proxies.trust(v.at.Addr()), Closer: nc}
		if l.secure {
			visit.Bytes += tlsBytes
		}
		if l.server.door.Enter(&v.guest, visit) {
			v.lending = v.guest.Lend(v.at)
			return v, nil
		}
		_ = nc.Close()
	}
}

// Read reads, and ends the connection if there is no memory left for the header.
func (v *visitor) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	if v.holds(n) {
		return n, err
	}
	if !v.secure { // net/http would not answer
		v.server.refuse(v.at, v.Conn, fault(busy, "", "too many headers are not complete (%s): try again in a moment", intake.StrangersSetting), "Retry-After: 1\r\n")
	}
	return 0, &net.OpError{Op: "read", Net: "tcp", Err: intake.ErrFull}
}

// holds counts n more bytes of a header, and reports whether there is room for them.
func (v *visitor) holds(n int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.inside {
		return true
	}
	before := max(v.header, intake.Free)
	v.header += n
	more := v.header - before
	return more <= 0 || v.lending.Take(headerCost*more)
}

// Close ends the visit. A running handler gives back its body's loan itself.
func (v *visitor) Close() error {
	v.enter()
	v.guest.Leave()
	return v.Conn.Close()
}

// enter notes that a handler runs: the header is read.
func (v *visitor) enter() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.inside = true
	v.lending.Close()
}

// NetConn returns the system's connection.
func (v *visitor) NetConn() net.Conn { return v.Conn }

// Plain returns it too: what is written goes there as it is (outbound.Conn).
func (v *visitor) Plain() net.Conn { return v.Conn }

// leave notes that the handler is done.
func (v *visitor) leave() { v.body.Close() }

// wait notes that the next request may come.
func (v *visitor) wait() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.inside, v.header = false, 0
}

type visitorKey struct{}

// visitorOfRequest returns the connection of a request; nil: it is not a listener's.
func visitorOfRequest(r *nethttp.Request) *visitor {
	v, _ := r.Context().Value(visitorKey{}).(*visitor)
	return v
}

// know notes that the client of a request is identified.
func know(r *nethttp.Request) {
	if v := visitorOfRequest(r); v != nil {
		v.guest.Know()
	}
}

// count counts a long-lived connection for its client, not for a proxy.
func (s *Server) count(r *nethttp.Request) error {
	v := visitorOfRequest(r)
	if v == nil || v.guest.Count(intake.Of(s.proxies.client(r))) {
		return nil
	}
	return fault(tooManyStreams, "", "too many connections come from %s (%s): end one first", s.proxies.client(r), intake.AddressSetting)
}

// lendUnknown lends bytes for a request's body, counted for unidentified clients.
func (s *Server) lendUnknown(r *nethttp.Request) intake.Loan {
	if v := visitorOfRequest(r); v != nil {
		return v.guest.Lend(intake.Of(s.proxies.client(r)))
	}
	return intake.Loan{}
}

// lend lends bytes for an unfinished body or message of a known sender.
func (s *Server) lend(sender *bridge.Sender) intake.Loan {
	return s.opts.Intake.Lend(Protocol, sender)
}

// bodyLoan returns the loan for a known sender's body. It ends with the request.
func (s *Server) bodyLoan(r *nethttp.Request, sender *bridge.Sender) *intake.Loan {
	loan := s.lend(sender)
	v := visitorOfRequest(r)
	if v == nil {
		return &intake.Loan{} // without a visitor nothing would end the loan
	}
	v.body.Close()
	v.body = loan
	return &v.body
}
