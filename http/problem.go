package http

import (
	"fmt"
	nethttp "net/http"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/callback"
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
	bridge.NotShared:        {nethttp.StatusServiceUnavailable, "Not shared"},
	notFound:                {nethttp.StatusNotFound, "Not found"},
	methodNotAllowed:        {nethttp.StatusMethodNotAllowed, "Method not allowed"},
	requestTimeout:          {nethttp.StatusRequestTimeout, "Request too slow"},
	bodyTooLarge:            {nethttp.StatusRequestEntityTooLarge, "Body too large"},
	unsupportedType:         {nethttp.StatusUnsupportedMediaType, "Unsupported media type"},
	tooManyFailures:         {nethttp.StatusTooManyRequests, "Too many wrong credentials"},
	bridge.TooManyRequests:  {nethttp.StatusTooManyRequests, "Too many requests"},
	bridge.NotProved:        {nethttp.StatusForbidden, "Sender is not proved"},
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
	callback.InvalidURL:     {nethttp.StatusBadRequest, "invalid callback URL"}, // lower case since the first version
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

// The media types of answers, and of errors.
const (
	typeJSON    = "application/json"
	problemType = "application/problem+json"
)

// fault is an error that may be shown to the client.
func fault(code bridge.Code, field, format string, args ...any) *bridge.Error {
	return &bridge.Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// denied is a wrong secret key, a wrong token or an unknown sender. It counts as a failure
// of the client's address.
type denied struct{ refusal *bridge.Error }

func (d denied) Error() string { return d.refusal.Error() }
func (d denied) Unwrap() error { return d.refusal }

// named is a denied client, as it calls itself.
type named struct {
	denied
	name string
}

func (n named) Unwrap() error { return n.denied }

// reason is the reason with which a failure is counted.
func (d denied) reason() auth.Reason {
	switch d.refusal.Code {
	case bridge.InvalidSecretKey:
		return auth.WrongKey
	case bridge.InvalidSender:
		return auth.WrongSender
	}
	return auth.WrongToken
}

// waits is an error with the seconds for Retry-After.
type waits struct {
	error
	seconds int
}

func (w waits) Unwrap() error { return w.error }

// hangUp is an error after which the connection is closed, as the request is not read to
// its end.
type hangUp struct{ error }

func (h hangUp) Unwrap() error { return h.error }

// problem is an error as clients see it (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"`
}

func errStopping() error {
	return fault(stopping, "", "the gateway is stopping: try again in a moment")
}
