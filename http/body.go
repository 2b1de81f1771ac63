package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"watchtower/bridge"
)

// The media types that bodies are told apart by.
const (
	typeJSON = "application/json"
	typeForm = "application/x-www-form-urlencoded"
)

// jsonOverhead is how much a body may have around the largest message. A byte
// of the message takes up to 6 as JSON (HTTP API, section 1).
const (
	jsonOverhead  = 64 << 10
	jsonExpansion = 6
)

// tooLargeDrain bounds how much of a body that is too large is read and thrown
// away, so that the client is still there to read the answer.
const tooLargeDrain = 8 << 20

// mediaType returns the type of a request's body in small letters, "" if it
// names none.
func mediaType(r *nethttp.Request) (string, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return "", fault(unsupportedType, "Content-Encoding", "%q is not supported: send the body as it is", e)
	}
	header := r.Header.Get("Content-Type")
	if header == "" {
		return "", nil
	}
	t, _, err := mime.ParseMediaType(header)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return "", fault(unsupportedType, "Content-Type", "%q is not a media type: send application/json", header)
	}
	return t, nil
}

// readBody reads all of a body, up to the limit, within the time for it.
func (s *Server) readBody(r *nethttp.Request) ([]byte, error) {
	limit := int64(jsonExpansion*s.hub.MessageBytes() + jsonOverhead)
	if r.ContentLength > limit && r.Header.Get("Expect") != "" {
		return nil, tooLarge(limit) // it waits for leave to send the body
	}
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0)+bytes.MinRead, jsonOverhead)))
	_, err := b.ReadFrom(io.LimitReader(r.Body, limit+1))
	var slow net.Error
	switch {
	case errors.As(err, &slow) && slow.Timeout():
		return nil, hangUp{fault(requestTimeout, "", "the body took longer than %s", s.opts.ReadTimeout)}
	case err != nil:
		return nil, hangUp{fault(invalidBody, "body", "could not be read to its end: check Content-Length and Transfer-Encoding")}
	case int64(b.Len()) > limit:
		// An error leaves the rest unread, and the connection is closed anyway.
		_, _ = io.CopyN(io.Discard, r.Body, tooLargeDrain)
		return nil, tooLarge(limit)
	}
	return b.Bytes(), nil
}

func tooLarge(limit int64) error {
	return hangUp{fault(bodyTooLarge, "body", "has more than %d bytes (limits.message_bytes bounds the message in it)", limit)}
}

// object is a JSON object whose fields are looked at one by one, in the order
// of the checks: each as it was written, which is valid.
type object map[string]string

// readObject reads a body that has to be a JSON object. An empty one counts as
// an empty object.
func (s *Server) readObject(r *nethttp.Request) (object, error) {
	switch t, err := mediaType(r); {
	case err != nil:
		return nil, err
	case t != "" && t != typeJSON && t != typeForm:
		return nil, fault(unsupportedType, "Content-Type", "%q is not supported here: send application/json", t)
	}
	body, err := s.readBody(r)
	if err != nil {
		return nil, err
	}
	return parseObject(body)
}

func parseObject(body []byte) (object, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return object{}, nil
	}
	if !utf8.Valid(body) {
		return nil, fault(invalidBody, "body", "is not UTF-8: send JSON in UTF-8")
	}
	if !json.Valid(body) {
		var any json.RawMessage
		return nil, fault(invalidBody, "body", "is not JSON: %v", json.Unmarshal(body, &any))
	}
	if body[0] != '{' {
		return nil, fault(invalidBody, "body", "is not a JSON object: send {…}")
	}
	o := object{}
	gjson.ParseBytes(body).ForEach(func(name, value gjson.Result) bool {
		o[name.String()] = value.Raw
		return true
	})
	return o, nil
}

// only reports the fields that a call does not know, all of them.
func (o object) only(known ...string) error {
	return unknown(unknownField, "field", o, known)
}

// text returns a field that has to be a string.
func (o object) text(name string) (value string, found bool, err error) {
	raw, found := o[name]
	if !found {
		return "", false, nil
	}
	if raw[0] != '"' {
		return "", true, fault(invalidField, name, "%s is not a string", shorten(raw))
	}
	if halfCharacter(raw) {
		return "", true, fault(invalidField, name, "%s has half of a surrogate pair, which no text can have", shorten(raw))
	}
	return gjson.Parse(raw).String(), true, nil
}

// texts returns a field that has to be a list of strings, which may not be empty.
func (o object) texts(name string) ([]string, error) {
	var all []*string
	if err := json.Unmarshal([]byte(o[name]), &all); err != nil || len(all) == 0 || slices.Contains(all, nil) {
		return nil, fault(invalidField, name, "is not a list of strings with at least one")
	}
	out := make([]string, len(all))
	for i, text := range all {
		out[i] = *text
	}
	return out, nil
}

// flag returns a field that has to be true or false.
func (o object) flag(name string, otherwise bool) (bool, error) {
	switch raw := o[name]; raw {
	case "":
		return otherwise, nil
	case "true", "false":
		return raw == "true", nil
	default:
		return false, fault(invalidField, name, "%s is not true or false", shorten(raw))
	}
}

// callbackURL returns the URL that has to be there, and is what is said of it.
func (o object) callbackURL(what string) (string, error) {
	address, found, err := o.text("callback_url")
	switch {
	case err != nil:
		return "", fault(invalidCallbackURL, "callback_url", "%s is not a string: %s", shorten(o["callback_url"]), what)
	case !found:
		return "", fault(invalidCallbackURL, "callback_url", "is missing: %s", what)
	}
	return address, nil
}

// list returns the elements of a field that has to be an array, as they are
// written.
func (o object) list(name string, code bridge.Code) ([]string, error) {
	raw, found := o[name]
	if !found {
		return nil, fault(code, name, "is missing: it is a list of numbers, such as [5, 6]")
	}
	if raw[0] != '[' {
		return nil, fault(code, name, "%s is not a list of numbers, such as [5, 6]", shorten(raw))
	}
	out := []string{}
	gjson.Parse(raw).ForEach(func(_, element gjson.Result) bool {
		out = append(out, element.Raw)
		return true
	})
	return out, nil
}

// sender returns the id that the body speaks for.
func (o object) sender() (bridge.SenderID, error) {
	return parseSender(o["sender"])
}

// halfCharacter reports whether a string, as it is written in JSON, has half of a
// surrogate pair, which is no character (RFC 8259, section 8.2).
func halfCharacter(raw string) bool {
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 {
			return false
		}
		r, rest := escaped(raw[i:])
		if utf16.IsSurrogate(r) {
			low, after := escaped(rest)
			if utf16.DecodeRune(r, low) == utf8.RuneError {
				return true
			}
			rest = after
		}
		raw = rest
	}
}

// escaped returns the UTF-16 unit that a text begins with, if it begins with \u, and
// what is behind that escape.
func escaped(text string) (rune, string) {
	switch {
	case len(text) < 2 || text[0] != '\\':
		return 0, text
	case text[1] != 'u' || len(text) < 6:
		return 0, text[2:]
	}
	n, _ := strconv.ParseUint(text[2:6], 16, 16) // it is valid JSON
	return rune(n), text[6:]
}

// content returns the message: a string as its bytes, any other value as
// compact JSON.
func (o object) content() (bridge.Content, error) {
	raw, found := o["message"]
	if !found {
		return bridge.Content{}, fault(invalidMessage, "message", "is missing: it is any JSON value")
	}
	if raw[0] == '"' {
		text := gjson.Parse(raw).String()
		if halfCharacter(raw) {
			return bridge.Content{}, fault(invalidMessage, "message", "has half of a surrogate pair (\\ud800 to \\udfff), which no text can have")
		}
		return bridge.Content{Data: []byte(text), Hint: bridge.Text}, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(raw)); err != nil {
		return bridge.Content{}, fault(invalidMessage, "message", "is not JSON: %v", err)
	}
	return bridge.Content{Data: b.Bytes(), Hint: bridge.JSON}, nil
}
