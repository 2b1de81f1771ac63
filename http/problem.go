package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	nethttp "net/http"
	"strconv"
	"time"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/intake"
)

// The faults of HTTP itself. Their values are stable, like bridge's.
const (
	notFound           bridge.Code = "not-found"
	methodNotAllowed   bridge.Code = "method-not-allowed"
	requestTimeout     bridge.Code = "request-timeout"
	bodyTooLarge       bridge.Code = "body-too-large"
	unsupportedType    bridge.Code = "unsupported-media-type"
	tooManyFailures    bridge.Code = "too-many-failures"
	tooManyStreams     bridge.Code = "too-many-streams"
	busy               bridge.Code = "busy"
	stopping           bridge.Code = "stopping"
	notReady           bridge.Code = "not-ready"
	internalError      bridge.Code = "internal"
	invalidBody        bridge.Code = "invalid-body"
	invalidMessage     bridge.Code = "invalid-message"
	unknownField       bridge.Code = "unknown-field"
	unknownParameter   bridge.Code = "unknown-parameter"
	looping            bridge.Code = "loop"
	foreignOrigin      bridge.Code = "foreign-origin"
	foreignHost        bridge.Code = "foreign-host"
	beyondScope        bridge.Code = "scope"
	upgradeLost        bridge.Code = "upgrade-lost"
	invalidRequest     bridge.Code = "invalid-request"
	speaksTLS          bridge.Code = "speaks-tls"
	expectationFailed  bridge.Code = "expectation-failed"
	headerTooLarge     bridge.Code = "header-too-large"
	unsupportedCoding  bridge.Code = "unsupported-transfer-coding"
	unsupportedVersion bridge.Code = "unsupported-version"
)

// kinds gives each fault its status and title. The title is the same in every
// occurrence (RFC 9457, section 3.1.3).
var kinds = map[bridge.Code]struct {
	status int
	title  string
}{
	bridge.InvalidSecretKey: {nethttp.StatusUnauthorized, "Invalid or missing secret key"},
	bridge.InvalidSender:    {nethttp.StatusUnauthorized, "Invalid or missing sender"},
	bridge.InvalidToken:     {nethttp.StatusUnauthorized, "Invalid or missing token"},
	bridge.NoToken:          {nethttp.StatusConflict, "Sender has no token"},
	bridge.NameProtected:    {nethttp.StatusUnauthorized, "Name is protected"},
	bridge.InvalidName:      {nethttp.StatusBadRequest, "Invalid name"},
	bridge.InvalidChannel:   {nethttp.StatusBadRequest, "Invalid channel"},
	bridge.UnjoinedChannel:  {nethttp.StatusBadRequest, "Unjoined channel"},
	bridge.TooManyChannels:  {nethttp.StatusBadRequest, "Too many channels"},
	bridge.TooManySenders:   {nethttp.StatusServiceUnavailable, "Too many senders"},
	bridge.InvalidReceiver:  {nethttp.StatusBadRequest, "Invalid receiver"},
	bridge.UnjoinedReceiver: {nethttp.StatusBadRequest, "A receiver has not joined the channel"},
	bridge.MessageTooLarge:  {nethttp.StatusRequestEntityTooLarge, "Message too large"},
	bridge.BusFailed:        {nethttp.StatusInternalServerError, "Not delivered to everybody"},
	bridge.StoreFailed:      {nethttp.StatusInternalServerError, "Not stored"},
	notFound:                {nethttp.StatusNotFound, "Not found"},
	methodNotAllowed:        {nethttp.StatusMethodNotAllowed, "Method not allowed"},
	requestTimeout:          {nethttp.StatusRequestTimeout, "Request too slow"},
	bodyTooLarge:            {nethttp.StatusRequestEntityTooLarge, "Body too large"},
	unsupportedType:         {nethttp.StatusUnsupportedMediaType, "Unsupported media type"},
	tooManyFailures:         {nethttp.StatusTooManyRequests, "Too many wrong credentials"},
	bridge.TooManyRequests:  {nethttp.StatusTooManyRequests, "Too many requests"},
	tooManyStreams:          {nethttp.StatusTooManyRequests, "Too many streams"},
	callback.TooMany:        {nethttp.StatusBadRequest, "Too many callbacks"},
	busy:                    {nethttp.StatusServiceUnavailable, "Too much at once"},
	stopping:                {nethttp.StatusServiceUnavailable, "Gateway is stopping"},
	notReady:                {nethttp.StatusServiceUnavailable, "Gateway is not ready"},
	internalError:           {nethttp.StatusInternalServerError, "Internal error"},
	invalidBody:             {nethttp.StatusBadRequest, "Invalid body"},
	invalidMessage:          {nethttp.StatusBadRequest, "Invalid or missing message"},
	bridge.InvalidField:     {nethttp.StatusBadRequest, "Invalid field"},
	unknownField:            {nethttp.StatusBadRequest, "Unknown field"},
	unknownParameter:        {nethttp.StatusBadRequest, "Unknown query parameter"},
	callback.InvalidURL:     {nethttp.StatusBadRequest, "invalid callback URL"},
	looping:                 {nethttp.StatusBadRequest, "Callbacks in a loop"},
	foreignOrigin:           {nethttp.StatusForbidden, "Foreign origin"},
	beyondScope:             {nethttp.StatusForbidden, "Beyond the token's scope"},
	bridge.PassExpired:      {nethttp.StatusUnauthorized, "Token expired"},
	foreignHost:             {nethttp.StatusMisdirectedRequest, "Foreign host"},
	upgradeLost:             {nethttp.StatusUpgradeRequired, "Upgrade lost"},
	invalidRequest:          {nethttp.StatusBadRequest, "Invalid request"},
	speaksTLS:               {nethttp.StatusBadRequest, "This port speaks TLS"},
	expectationFailed:       {nethttp.StatusExpectationFailed, "Expectation failed"},
	headerTooLarge:          {nethttp.StatusRequestHeaderFieldsTooLarge, "Header too large"},
	unsupportedCoding:       {nethttp.StatusNotImplemented, "Unsupported transfer coding"},
	unsupportedVersion:      {nethttp.StatusHTTPVersionNotSupported, "Unsupported version of HTTP"},
}

// problemType is the media type of every error.
const problemType = "application/problem+json"

// fault is an error that may be shown to the client.
func fault(code bridge.Code, field, format string, args ...any) *bridge.Error {
	return &bridge.Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// denied is a wrong secret key, a wrong token or an unknown sender: it counts
// against the client's address.
type denied struct{ refusal *bridge.Error }

func (d denied) Error() string { return d.refusal.Error() }
func (d denied) Unwrap() error { return d.refusal }

// reason is what a failure is counted as.
func (d denied) reason() auth.Reason {
	switch d.refusal.Code {
	case bridge.InvalidSecretKey:
		return auth.WrongKey
	case bridge.InvalidSender:
		return auth.WrongSender
	}
	return auth.WrongToken
}

// waits is an answer to a client that is to come again later.
type waits struct {
	refusal *bridge.Error
	seconds int
}

func (w waits) Error() string { return w.refusal.Error() }
func (w waits) Unwrap() error { return w.refusal }

// hangUp is an error after which the rest of the request cannot be read.
type hangUp struct{ refusal *bridge.Error }

func (h hangUp) Error() string { return h.refusal.Error() }
func (h hangUp) Unwrap() error { return h.refusal }

// unread is an error that is answered before the rest of the body has come.
type unread struct{ error }

func (u unread) Unwrap() error { return u.error }

// problem is an error as clients see it (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"`
}

// problem returns what clients are told of an error, and logs what they are not.
func (s *Server) problem(err error) problem {
	var shown *bridge.Error
	if !errors.As(err, &shown) {
		s.log.WithError(err).Error("request failed")
		shown = fault(internalError, "", "the gateway failed in a way that it logged")
	}
	kind := kinds[shown.Code]
	return problem{"urn:watchtower:problem:" + string(shown.Code), kind.title, kind.status, shown.Error(), shown.Field}
}

// fail answers a request with the problem that err is.
func (s *Server) fail(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	hangsUp := errors.As(err, new(hangUp)) || errors.As(err, new(unread))
	var guess denied
	if errors.As(err, &guess) {
		if wait := s.auth.Wrong(s.caller(r), guess.reason()); wait > 0 {
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
	s.metrics.refused.WithLabelValues(strconv.Itoa(shown.Status)).Inc()
	if worthALine(shown.Status) {
		s.notice(intake.Of(s.client(r)), shown, r)
	}
	s.write(w, shown.Status, problemType, shown)
}

// tooMany makes the problem of a client with too many failures, which says when it
// may come again.
func (s *Server) tooMany(r *nethttp.Request, wait time.Duration) error {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	return waits{fault(tooManyFailures, "", "too many wrong secret keys, passwords, tokens or senders from %s (limits.failures): wait %d s; a sender's own calls go on with its token (Authorization: Bearer …)", s.client(r), seconds), seconds}
}

// answer writes a success.
func (s *Server) answer(w nethttp.ResponseWriter, v any) error {
	s.write(w, nethttp.StatusOK, "application/json", v)
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
	s.deadline(w)
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// An error means that the client has gone: there is nobody to tell.
	_, _ = w.Write(b.Bytes())
}
