package http

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	nethttp "net/http"
	"strconv"
	"strings"

	"watchtower/bridge"
)

// net/http answers data that is not a request itself, in plain text, before any handler
// runs. Such an answer is written while no handler runs, and so is recognized here. It is
// replaced by a problem and a log line, as for any other error.
var (
	cannedAnswer = []byte("HTTP/1.")
	cannedTLS    = []byte("Client sent an HTTP request to an HTTPS server")
)

// secured is a TLS connection of a listener.
type secured struct {
	*tls.Conn
	visitor *visitor
}

// NetConn returns the connection below TLS.
func (c secured) NetConn() net.Conn { return c.visitor }

func (c secured) Write(p []byte) (int, error) {
	if c.visitor.misread(c.Conn, p) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// securedListener accepts TLS connections.
type securedListener struct {
	net.Listener // of visitors
	config       *tls.Config
}

func (l securedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return secured{tls.Server(conn, l.config), visitorOf(conn)}, nil
}

// Write replaces net/http's own answers, and writes everything else.
func (v *visitor) Write(p []byte) (int, error) {
	if v.misread(v.Conn, p) {
		return len(p), nil
	}
	return v.Conn.Write(p)
}

// CloseWrite closes the sending half, if the connection can do so.
func (v *visitor) CloseWrite() error {
	if c, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// misread writes a problem to conn in place of an answer of net/http's own. It reports
// false if canned is not such an answer.
func (v *visitor) misread(conn net.Conn, canned []byte) bool {
	v.mu.Lock()
	inside := v.inside
	v.mu.Unlock()
	if inside || !bytes.HasPrefix(canned, cannedAnswer) {
		return false
	}
	v.server.refuse(v.at, conn, v.server.misreading(canned), "")
	return true
}

// misreading converts an answer of net/http's own to an error.
func (s *Server) misreading(canned []byte) *bridge.Error {
	if bytes.Contains(canned, cannedTLS) {
		return fault(speaksTLS, "", "this port speaks TLS: use https://")
	}
	status, _, _ := strings.Cut(string(canned), "\r\n")
	_, text, _ := strings.Cut(status, " ")
	number, text, _ := strings.Cut(text, " ")
	switch code, _ := strconv.Atoi(number); code { // 0 on an error
	case nethttp.StatusExpectationFailed:
		return fault(expectationFailed, "Expect", "is something else than 100-continue")
	case nethttp.StatusRequestHeaderFieldsTooLarge:
		return fault(headerTooLarge, "", "the request line and the header have more than %d bytes", headerBytes)
	case nethttp.StatusNotImplemented:
		return fault(unsupportedCoding, "Transfer-Encoding", "is something else than chunked")
	case nethttp.StatusHTTPVersionNotSupported:
		return fault(unsupportedVersion, "", "the request is not of HTTP/1.1 or HTTP/1.0")
	}
	_, reason, found := strings.Cut(text, ": ")
	if !found {
		reason = "it begins with no request line, or has a header that cannot be read"
	}
	return fault(invalidRequest, "", "this is no request of HTTP/1.1: %s", bridge.Shorten(reason))
}

// visitorOf returns the visitor of a connection of net/http's, or nil.
func visitorOf(c net.Conn) *visitor {
	if secure, ok := c.(secured); ok {
		return secure.visitor
	}
	v, _ := c.(*visitor)
	return v
}

// withVisitor puts the visitor into the context of its requests.
func withVisitor(ctx context.Context, c net.Conn) context.Context {
	if v := visitorOf(c); v != nil {
		return context.WithValue(ctx, visitorKey{}, v)
	}
	return ctx
}
