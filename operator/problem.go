package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	nethttp "net/http"
	"strconv"
	"time"

	"watchtower/bridge"
)

// The faults of the operator's calls. Their values are stable.
const (
	noSession       bridge.Code = "session"
	noRole          bridge.Code = "role"
	wrongLogin      bridge.Code = "wrong-login"
	tooManyFailures bridge.Code = "too-many-failures"
	tooBusy         bridge.Code = "too-busy"
	notFound        bridge.Code = "not-found"
	notAllowed      bridge.Code = "method-not-allowed"
	bodyTooLarge    bridge.Code = "body-too-large"
	unsupportedType bridge.Code = "unsupported-media-type"
	invalidBody     bridge.Code = "invalid-body"
	invalidField    bridge.Code = "invalid-field"
	unknownField    bridge.Code = "unknown-field"
	invalidQuery    bridge.Code = "invalid-parameter"
	unknownQuery    bridge.Code = "unknown-parameter"
	invalidConfig   bridge.Code = "invalid-configuration"
	backupRunning   bridge.Code = "backup-running"
	notReady        bridge.Code = "not-ready"
	invalidTopic    bridge.Code = "invalid-topic"
	reservedTopic   bridge.Code = "reserved-topic"
	retainedFull    bridge.Code = "retained-full"
	openGateway     bridge.Code = "open-gateway"
	NoDeviceKeys    bridge.Code = "no-device-keys"
	disabled        bridge.Code = "callback-disabled"
	noCallback      bridge.Code = "invalid-callback-url"
	alone           bridge.Code = "alone"
	internalError   bridge.Code = "internal"
)

// kinds gives each fault its status and title.
var kinds = map[bridge.Code]struct {
	status int
	title  string
}{
	noSession:               {nethttp.StatusUnauthorized, "No session"},
	wrongLogin:              {nethttp.StatusUnauthorized, "Wrong key or password"},
	noRole:                  {nethttp.StatusForbidden, "Not allowed for this role"},
	tooManyFailures:         {nethttp.StatusTooManyRequests, "Too many wrong credentials"},
	tooBusy:                 {nethttp.StatusTooManyRequests, "Too many passwords at a time"},
	notFound:                {nethttp.StatusNotFound, "Not found"},
	notAllowed:              {nethttp.StatusMethodNotAllowed, "Method not allowed"},
	bodyTooLarge:            {nethttp.StatusRequestEntityTooLarge, "Body too large"},
	unsupportedType:         {nethttp.StatusUnsupportedMediaType, "Unsupported media type"},
	invalidBody:             {nethttp.StatusBadRequest, "Invalid body"},
	invalidField:            {nethttp.StatusBadRequest, "Invalid field"},
	unknownField:            {nethttp.StatusBadRequest, "Unknown field"},
	invalidQuery:            {nethttp.StatusBadRequest, "Invalid query parameter"},
	unknownQuery:            {nethttp.StatusBadRequest, "Unknown query parameter"},
	invalidConfig:           {nethttp.StatusBadRequest, "Invalid configuration"},
	notReady:                {nethttp.StatusServiceUnavailable, "Gateway is not ready"},
	backupRunning:           {nethttp.StatusConflict, "A backup is being made"},
	invalidTopic:            {nethttp.StatusBadRequest, "Invalid topic"},
	reservedTopic:           {nethttp.StatusForbidden, "Topic is the gateway's own"},
	retainedFull:            {nethttp.StatusConflict, "Too many retained messages"},
	NoDeviceKeys:            {nethttp.StatusConflict, "Names have no keys of their own"},
	openGateway:             {nethttp.StatusConflict, "The gateway has no secret key"},
	disabled:                {nethttp.StatusConflict, "The callback is disabled"},
	noCallback:              {nethttp.StatusConflict, "The callback cannot do that now"},
	alone:                   {nethttp.StatusNotFound, "The gateway is alone"},
	internalError:           {nethttp.StatusInternalServerError, "Internal error"},
	bridge.InvalidChannel:   {nethttp.StatusBadRequest, "Invalid channel"},
	bridge.InvalidSender:    {nethttp.StatusForbidden, "Not the operator's sender"},
	bridge.TooManyRequests:  {nethttp.StatusTooManyRequests, "Too many requests"},
	bridge.NotProved:        {nethttp.StatusForbidden, "Sender is not proved"},
	bridge.InvalidReceiver:  {nethttp.StatusBadRequest, "Invalid receiver"},
	bridge.UnjoinedReceiver: {nethttp.StatusBadRequest, "A receiver has not joined the channel"},
	bridge.MessageTooLarge:  {nethttp.StatusRequestEntityTooLarge, "Message too large"},
	bridge.BusFailed:        {nethttp.StatusInternalServerError, "Not delivered to everybody"},
	bridge.UnknownSender:    {nethttp.StatusNotFound, "Unknown sender"},
	bridge.InvalidName:      {nethttp.StatusBadRequest, "Invalid name"},
	bridge.NameTaken:        {nethttp.StatusConflict, "Name is taken"},
	bridge.NameProtected:    {nethttp.StatusConflict, "Name is protected"},
	bridge.NoToken:          {nethttp.StatusConflict, "Sender has no token"},
	bridge.TooManySenders:   {nethttp.StatusConflict, "Too many senders"},
	bridge.StoreFailed:      {nethttp.StatusInternalServerError, "Not stored"},
}

func fault(code bridge.Code, field, format string, args ...any) *bridge.Error {
	return &bridge.Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// faulty is the error of a reload whose configuration has faults.
type faulty struct {
	refusal *bridge.Error
	faults  []string
}

func (f *faulty) Error() string { return f.refusal.Error() }
func (f *faulty) Unwrap() error { return f.refusal }

// problem is the body of an error's answer (RFC 9457).
type problem struct {
	Type   string   `json:"type"`
	Title  string   `json:"title"`
	Status int      `json:"status"`
	Detail string   `json:"detail"`
	Field  string   `json:"field,omitempty"`
	Faults []string `json:"faults,omitempty"`
}

// fail answers with the problem of an error. Errors that clients are not told are logged.
func (s *Service) fail(w nethttp.ResponseWriter, err error) {
	var shown *bridge.Error
	if !errors.As(err, &shown) || kinds[shown.Code].status == 0 {
		s.log.WithError(err).Error("operator's request failed")
		shown = fault(internalError, "", "the gateway failed in a way that it logged")
	}
	p := problemOf(shown)
	if many := (*faulty)(nil); errors.As(err, &many) {
		p.Faults = many.faults
	}
	if p.Status == nethttp.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if p.Status == nethttp.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1")
	}
	s.write(w, p.Status, "application/problem+json", p)
}

func problemOf(shown *bridge.Error) problem {
	kind := kinds[shown.Code]
	return problem{Type: "urn:watchtower:problem:" + string(shown.Code), Title: kind.title, Status: kind.status, Detail: shown.Error(), Field: shown.Field}
}

// mustJSON encodes a plain struct, which cannot fail.
func mustJSON(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func (s *Service) answer(w nethttp.ResponseWriter, v any) error {
	s.write(w, nethttp.StatusOK, "application/json", v)
	return nil
}

func (s *Service) done(w nethttp.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(nethttp.StatusNoContent)
	return nil
}

func (s *Service) write(w nethttp.ResponseWriter, status int, contentType string, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // plain structs: cannot fail
	// This fails only if the writer has no deadlines.
	_ = nethttp.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error means that the client has gone
}

// mayTry returns an error if the client has to wait after wrong keys and passwords.
func (s *Service) mayTry(w nethttp.ResponseWriter, r *nethttp.Request) error {
	ok, wait := s.opts.Allowed(r)
	if ok {
		return nil
	}
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	return fault(tooManyFailures, "", "too many wrong keys and passwords from %s: wait %d s", s.opts.Client(r), seconds)
}

// bodyBytes is the most bytes of a body. It is small, because strangers can send bodies.
const bodyBytes = 4 << 10

// object is a JSON object whose fields are read one by one.
type object map[string]json.RawMessage

// readObject reads a body, which may have only the known fields. It takes only
// application/json, because a page of another origin cannot send that without a CORS
// preflight request.
func readObject(w nethttp.ResponseWriter, r *nethttp.Request, known ...string) (object, error) {
	return readObjectOf(w, r, bodyBytes, known...)
}

// readObjectOf does the same with a body of at most so many bytes.
func readObjectOf(w nethttp.ResponseWriter, r *nethttp.Request, most int64, known ...string) (object, error) {
	b, err := io.ReadAll(nethttp.MaxBytesReader(w, r.Body, most))
	if errors.As(err, new(*nethttp.MaxBytesError)) {
		return nil, fault(bodyTooLarge, "", "the body has more than %d bytes", most)
	}
	if err != nil {
		return nil, fault(invalidBody, "", "the body did not arrive")
	}
	given := r.Header.Get("Content-Type")
	if media, _, err := mime.ParseMediaType(given); (len(b) > 0 || given != "" || len(known) > 0) && (err != nil || media != "application/json") {
		return nil, fault(unsupportedType, "Content-Type", "must be application/json, is %q", bridge.Shorten(given))
	}
	o := object{}
	if len(b) == 0 && len(known) == 0 {
		return o, nil
	}
	if err := json.Unmarshal(b, &o); err != nil || o == nil {
		return nil, fault(invalidBody, "", "must be a JSON object")
	}
	for name := range o {
		if !contains(known, name) {
			return nil, fault(unknownField, bridge.Shorten(name), "is not known here")
		}
	}
	return o, nil
}

func (o object) has(field string) bool { return o[field] != nil }

// into fills in a struct by its fields' names, and names the field that is wrong.
func (o object) into(v any) error {
	err := json.Unmarshal(mustJSON(o), v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fault(invalidField, wrong.Field, "must be %s, is %s", wrong.Type, wrong.Value)
	}
	return err
}

func (o object) text(field string) (string, error) {
	var v *string
	if err := json.Unmarshal(o[field], &v); err != nil || v == nil {
		return "", fault(invalidField, field, "must be text")
	}
	return *v, nil
}

func (o object) flag(field string) (bool, error) {
	if !o.has(field) {
		return false, nil
	}
	var v *bool
	if err := json.Unmarshal(o[field], &v); err != nil || v == nil {
		return false, fault(invalidField, field, "must be true or false")
	}
	return *v, nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
