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
	"watchtower/callback"
	"watchtower/intake"
)

// typeForm is the media type that some clients set by default, for JSON too.
const typeForm = "application/x-www-form-urlencoded"

// jsonOverhead is how many bytes a body may have around the largest message. A byte of the
// message takes up to jsonExpansion bytes as JSON (RFC 8259, section 7).
const (
	jsonOverhead  = 64 << 10
	jsonExpansion = 6
)

// tooLargeDrain bounds how many bytes of a too large body are read and thrown away, so
// that the client can read the answer.
const tooLargeDrain = 8 << 20

// mediaType returns the media type of a request's body in lower case; "": none given.
func mediaType(r *nethttp.Request) (string, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return "", fault(unsupportedType, "Content-Encoding", "%q is not supported: send the body as it is", e)
	}
	header := r.Header.Get("Content-Type")
	if header == "" || header == typeJSON {
		return header, nil
	}
	t, _, err := mime.ParseMediaType(header)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return "", fault(unsupportedType, "Content-Type", "%q is not a media type: send application/json", header)
	}
	return t, nil
}

// LargestBody returns the largest request body for messages of up to so many bytes.
func LargestBody(message int) int { return jsonExpansion*message + jsonOverhead }

func (s *Server) largestBody() int { return LargestBody(s.hub.MessageBytes()) }

// body is the state of reading a body. Beyond the first intake.Free bytes, the memory
// counts for its sender, or for all unidentified clients together.
type body struct {
	limit  int
	query  *query         // has the sender; nil: the JSON body has it
	lender *bridge.Sender // its memory counts for this one; nil: not known yet
	sender *bridge.Sender // found and authorized
	bytes  []byte
}

// readBody reads a whole body, up to the limit and within the read timeout.
func (s *Server) readBody(r *nethttp.Request, in *body) ([]byte, error) {
	if r.ContentLength > int64(in.limit) && (r.Header.Get("Expect") != "" || in.limit <= intake.Free) {
		return nil, tooLarge(in.limit) // a client with Expect has not sent the body yet
	}
	if in.lender == nil {
		in.lender = s.carrier(r)
	}
	err := s.fill(r, in)
	var slow net.Error
	var refusal *bridge.Error
	switch {
	case errors.Is(err, io.EOF) && len(in.bytes) <= in.limit:
		return in.bytes, nil
	case errors.As(err, &slow) && slow.Timeout():
		return nil, hangUp{fault(requestTimeout, "", "the body took longer than %s (http.read_timeout)", s.opts.ReadTimeout)}
	case errors.As(err, &refusal):
		return nil, err
	case err != nil && !errors.Is(err, io.EOF):
		return nil, hangUp{fault(invalidBody, "body", "could not be read to its end: check Content-Length and Transfer-Encoding")}
	}
	if in.limit > intake.Free {
		// An error leaves the rest unread, and the connection is closed anyway.
		_, _ = io.CopyN(io.Discard, r.Body, tooLargeDrain)
	}
	return nil, tooLarge(in.limit)
}

// unsaidBytes is the first buffer for a body of unknown length.
const unsaidBytes = 512

// fill reads a body until it ends (io.EOF) or exceeds the limit (nil).
func (s *Server) fill(r *nethttp.Request, in *body) (err error) {
	var none intake.Loan
	first := unsaidBytes
	if r.ContentLength > 0 {
		first = int(min(r.ContentLength, intake.Free))
	}
	if in.bytes, err = intake.Read(r.Body, nil, first, intake.Free, &none); err != nil {
		return err
	}
	if in.limit <= intake.Free {
		var more [1]byte
		if n, err := io.ReadFull(r.Body, more[:]); n == 0 {
			return err
		}
		in.bytes = append(in.bytes, more[0])
		return nil
	}
	stranger := s.lendUnknown(r)
	defer stranger.Close()
	for len(in.bytes) <= in.limit && in.lender == nil {
		if err := s.findSender(r, in); err != nil {
			return err
		}
		if in.lender != nil {
			break
		}
		next := min(4*len(in.bytes), in.limit+1) // fourfold, so that findSender runs a few times only
		if in.bytes, err = intake.Read(r.Body, in.bytes, 0, next, &stranger); err != nil {
			return unfinished(err, stranger.Setting())
		}
	}
	if len(in.bytes) > in.limit {
		return nil
	}
	loan := s.bodyLoan(r, in.lender)
	if held := cap(in.bytes) - intake.Free; held > 0 && !loan.Take(held) {
		return unfinished(intake.ErrFull, loan.Setting())
	}
	stranger.Close()
	in.bytes, err = intake.Read(r.Body, in.bytes, 0, in.limit+1, loan)
	return unfinished(err, loan.Setting())
}

// findSender looks for the sender of a long body, in the query or the beginning of the
// JSON, and authorizes it.
func (s *Server) findSender(r *nethttp.Request, in *body) (err error) {
	if in.query != nil {
		in.sender, err = s.speakerIn(r, in, *in.query)
	} else {
		found := gjson.GetBytes(in.bytes, "sender")
		if !found.Exists() || found.Index == 0 || found.Index+len(found.Raw) >= len(in.bytes) {
			return nil // not there yet, or cut off
		}
		in.sender, err = s.speakerIn(r, in, object{"sender": found.Raw})
	}
	if err != nil {
		return hangUp{err}
	}
	in.lender = in.sender
	return nil
}

// speakerIn authorizes the sender that a body or a query names.
func (s *Server) speakerIn(r *nethttp.Request, in *body, from interface {
	sender() (bridge.SenderID, error)
}) (*bridge.Sender, error) {
	id, err := from.sender()
	if err == nil && in.sender != nil && in.sender.ID() == id {
		return in.sender, nil // already authorized
	}
	return s.authorize(r, id, err)
}

// unfinished makes an answer of intake.ErrFull, and returns other errors as they are.
func unfinished(err error, setting string) error {
	switch {
	case !errors.Is(err, intake.ErrFull):
		return err
	case setting == intake.StrangersSetting:
		return hangUp{fault(busy, "body", "too many bodies of unknown senders are not complete (%s): put \"sender\" first, or carry a token (Authorization: Bearer …)", setting)}
	}
	return hangUp{fault(busy, "body", "too many bodies are not complete (%s): try again in a moment", setting)}
}

func tooLarge(limit int) error {
	if limit <= intake.Free {
		return hangUp{fault(bodyTooLarge, "body", "has more than %d bytes, the limit of this call", limit)}
	}
	return hangUp{fault(bodyTooLarge, "body", "has more than %d bytes (limits.message_bytes bounds the message in it)", limit)}
}

// object is a JSON object: the raw, valid JSON of each field by its name. Each field is
// read when its check comes.
type object map[string]string

// readObject reads a body that has to be a JSON object. An empty body is an empty object.
func (s *Server) readObject(r *nethttp.Request, in *body) (object, error) {
	switch t, err := mediaType(r); {
	case err != nil:
		return nil, err
	case t != "" && t != typeJSON && t != typeForm:
		return nil, fault(unsupportedType, "Content-Type", "%q is not supported here: send application/json", t)
	}
	body, err := s.readBody(r, in)
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

// only refuses an object with unknown fields, and names all of them.
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
		return "", true, fault(bridge.InvalidField, name, "%s is not a string", bridge.Shorten(raw))
	}
	if halfCharacter(raw) {
		return "", true, fault(bridge.InvalidField, name, "%s has half of a surrogate pair, which no text can have", bridge.Shorten(raw))
	}
	return gjson.Parse(raw).String(), true, nil
}

// texts returns a field that has to be a list with at least one string.
func (o object) texts(name string) ([]string, error) {
	var all []*string
	if err := json.Unmarshal([]byte(o[name]), &all); err != nil || len(all) == 0 || slices.Contains(all, nil) {
		return nil, fault(bridge.InvalidField, name, "is not a list of strings with at least one")
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
		return false, fault(bridge.InvalidField, name, "%s is not true or false", bridge.Shorten(raw))
	}
}

// callbackURL returns the required field callback_url. what describes it in errors.
func (o object) callbackURL(what string) (string, error) {
	address, found, err := o.text("callback_url")
	switch {
	case err != nil:
		return "", fault(callback.InvalidURL, "callback_url", "%s is not a string: %s", bridge.Shorten(o["callback_url"]), what)
	case !found:
		return "", fault(callback.InvalidURL, "callback_url", "is missing: %s", what)
	}
	return address, nil
}

// list returns the elements of a field that has to be an array, as raw JSON.
func (o object) list(name string, code bridge.Code) ([]string, error) {
	raw, found := o[name]
	if !found {
		return nil, fault(code, name, "is missing: it is a list of numbers, such as [5, 6]")
	}
	if raw[0] != '[' {
		return nil, fault(code, name, "%s is not a list of numbers, such as [5, 6]", bridge.Shorten(raw))
	}
	out := []string{}
	gjson.Parse(raw).ForEach(func(_, element gjson.Result) bool {
		out = append(out, element.Raw)
		return true
	})
	return out, nil
}

// sender returns the sender's id in the body.
func (o object) sender() (bridge.SenderID, error) {
	return parseSender(o["sender"])
}

// halfCharacter reports whether a raw JSON string has an unpaired surrogate, which is no
// character (RFC 8259, section 8.2).
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

// escaped returns the UTF-16 unit of a text that begins with \u (else 0), and the text after
// the escape.
func escaped(text string) (rune, string) {
	switch {
	case len(text) < 2 || text[0] != '\\':
		return 0, text
	case text[1] != 'u' || len(text) < 6:
		return 0, text[2:]
	}
	n, _ := strconv.ParseUint(text[2:6], 16, 16) // valid JSON: cannot fail
	return rune(n), text[6:]
}

// content returns the message: of a string its bytes, of any other value compact JSON.
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
