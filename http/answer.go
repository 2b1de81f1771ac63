package http

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	nethttp "net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/intake"
)

// call answers one kind of request, or returns the error for the answer.
type call func(nethttp.ResponseWriter, *nethttp.Request) error

// problem returns the problem for an error. An error that clients may not see is logged,
// and becomes an internal error.
func (s *Server) problem(err error) problem {
	var shown *bridge.Error
	if !errors.As(err, &shown) {
		s.log.WithError(err).Error("request failed")
		shown = fault(internalError, "", "the gateway failed in a way that it logged")
	}
	kind := kinds[shown.Code]
	return problem{"urn:watchtower:problem:" + string(shown.Code), kind.title, kind.status, shown.Error(), shown.Field}
}

// fail answers a request with an error's problem.
func (s *Server) fail(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	hangsUp := errors.As(err, new(hangUp))
	var guess denied
	if errors.As(err, &guess) {
		caller := s.proxies.caller(r)
		var who named
		if errors.As(err, &who) {
			caller.Name = who.name
		}
		if wait := s.auth.Wrong(caller, guess.reason()); wait > 0 {
			err = s.tooMany(r, wait)
		}
	}
	var late waits
	if errors.As(err, &late) {
		w.Header().Set("Retry-After", strconv.Itoa(late.seconds))
	}
	shown := s.problem(err)
	if hangsUp || shown.Status == nethttp.StatusServiceUnavailable {
		w.Header().Set("Connection", "close")
	}
	if shown.Status == nethttp.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if (shown.Status == nethttp.StatusTooManyRequests || shown.Status == nethttp.StatusServiceUnavailable) && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1")
	}
	s.refused.WithLabelValues(strconv.Itoa(shown.Status)).Inc()
	if worthALine(shown.Status) {
		s.notice(intake.Of(s.proxies.client(r)), shown, r)
	}
	s.write(w, shown.Status, problemType, shown)
}

// The bounds of hearOut.
const (
	hearFor   = time.Second
	hearBytes = 8 << 20
)

// hearOut sends the answer, and reads what the client still sends, if it asked for its connection to be
// closed. Then net/http would close it at once, and TCP resets a connection that is closed with unread
// bytes: the client would not see the answer.
func hearOut(w nethttp.ResponseWriter, r *nethttp.Request) {
	if !r.Close || r.ContentLength == 0 || r.Method == nethttp.MethodGet { // a GET may have taken its connection over
		return
	}
	rc := nethttp.NewResponseController(w)
	if rc.Flush() == nil && rc.SetReadDeadline(time.Now().Add(hearFor)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, hearBytes) // an error: it has gone, or is too slow
	}
}

// tooMany makes the error for a client with too many failures. It says how long to wait.
func (s *Server) tooMany(r *nethttp.Request, wait time.Duration) error {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	return waits{fault(tooManyFailures, "", "too many wrong secret keys, passwords, tokens or senders from %s (limits.failures): wait %d s; a sender's own calls go on with its token (Authorization: Bearer …)", s.proxies.client(r), seconds), seconds}
}

// answer writes a success.
func (s *Server) answer(w nethttp.ResponseWriter, v any) error {
	s.write(w, nethttp.StatusOK, typeJSON, v)
	return nil
}

func (s *Server) write(w nethttp.ResponseWriter, status int, contentType string, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // plain structs: cannot fail
		s.log.WithError(err).Error("answer not encoded")
		status = nethttp.StatusInternalServerError
	}
	s.writeBytes(w, status, contentType, b.Bytes())
}

func (s *Server) writeBytes(w nethttp.ResponseWriter, status int, contentType string, b []byte) {
	s.deadline(w)
	h, own := w.Header(), []string{contentType, strconv.Itoa(len(b))}
	h["Content-Type"], h["Content-Length"] = own[:1:1], own[1:]
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, noSniff
	w.WriteHeader(status)
	_, _ = w.Write(b) // an error means that the client has gone
}

// The values of headers that all answers share. Nobody writes to them.
var noStore, noSniff = []string{"no-store"}, []string{"nosniff"}

// notice logs a refusal. The request may be nil.
func (s *Server) notice(who netip.Prefix, shown problem, r *nethttp.Request) {
	if !s.notices.allow(who, shown.Type, s.opts.Clock()) {
		return
	}
	fields := logrus.Fields{"client": auth.Name(who), "status": shown.Status, "problem": shown.Title, "detail": shown.Detail}
	if r != nil {
		fields["method"], fields["path"] = bridge.Shorten(r.Method), bridge.Shorten(r.URL.Path)
	}
	s.log.WithFields(fields).Info("http request refused")
}

// worthALine reports whether a refusal is logged above debug: wrong credentials and bodies
// that are too large, which the gateway's owner would not notice otherwise.
func worthALine(status int) bool {
	return status == nethttp.StatusUnauthorized || status == nethttp.StatusRequestEntityTooLarge
}

// refuse writes a problem to a connection without net/http, and drains it, so that the client
// sees it. The caller closes the connection.
func (s *Server) refuse(at netip.Prefix, conn net.Conn, refusal *bridge.Error, header string) {
	shown := s.problem(refusal)
	s.refused.WithLabelValues(strconv.Itoa(shown.Status)).Inc()
	s.notice(at, shown, nil)
	body, err := json.Marshal(shown)
	if err != nil { // plain strings: cannot fail
		s.log.WithError(err).Error("answer not encoded")
	}
	answer := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s\n",
		shown.Status, nethttp.StatusText(shown.Status), problemType, header, len(body)+1, body)
	_ = conn.SetWriteDeadline(time.Now().Add(closePatience))
	if _, err := conn.Write([]byte(answer)); err == nil { // else the client has gone
		outbound.Drain(conn)
	}
}

// deadline bounds the writing of an answer, if the writer has deadlines.
func (s *Server) deadline(w nethttp.ResponseWriter) {
	_ = nethttp.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
}

// statusWriter remembers the status for the log.
type statusWriter struct {
	nethttp.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Hijack lets a WebSocket or a stream take over the connection.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.status = nethttp.StatusSwitchingProtocols
	return nethttp.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() nethttp.ResponseWriter { return w.ResponseWriter }
