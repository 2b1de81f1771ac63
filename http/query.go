package http

import (
	"fmt"
	nethttp "net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"watchtower/bridge"
)

// query has the parameters of a request. They are checked after its sender.
type query struct {
	url.Values
	broken error // why it could not be parsed; nil: it could
}

func parseQuery(r *nethttp.Request) query {
	if r.URL.RawQuery == "" {
		return query{}
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	return query{values, err}
}

// only refuses unknown parameters, and names all of them; then it checks as once does.
func (q query) only(known ...string) error {
	if err := unknown(unknownParameter, "query parameter", q.Values, known); err != nil && q.broken == nil {
		return err
	}
	return q.once(known...)
}

// once refuses a query that cannot be parsed, and known parameters that are given twice,
// except the lists. It allows unknown ones: proxies and libraries add parameters to GET.
func (q query) once(known ...string) error {
	if q.broken != nil {
		return fault(unknownParameter, "query", "cannot be read: %v", q.broken)
	}
	for _, name := range known {
		if len(q.Values[name]) > 1 && name != "channels" && name != "receivers" {
			return fault(bridge.InvalidField, name, "is given %d times: give it once", len(q.Values[name]))
		}
	}
	return nil
}

// unknown refuses a map with unknown keys, and names all of them.
func unknown[V any](code bridge.Code, what string, m map[string]V, known []string) error {
	var odd []string
	for name := range m {
		if !slices.Contains(known, name) {
			odd = append(odd, name)
		}
	}
	if len(odd) == 0 {
		return nil
	}
	slices.Sort(odd)
	for i, name := range odd {
		odd[i] = bridge.Shorten(name)
	}
	field := strings.Join(odd, ", ")
	if len(known) == 0 {
		return fault(code, field, "unknown %s: this call takes none", what)
	}
	return fault(code, field, "unknown %s: this call takes %s", what, strings.Join(known, ", "))
}

// flag returns a parameter that has to be true or false.
func (q query) flag(name string, otherwise bool) (bool, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	switch v := q.Get(name); v {
	case "true", "false":
		return v == "true", nil
	default:
		return false, fault(bridge.InvalidField, name, "%q is not true or false", bridge.Shorten(v))
	}
}

// list returns the elements of a parameter that has to be a comma-separated list.
func (q query) list(name string, code bridge.Code) ([]string, error) {
	if !q.Has(name) {
		return nil, fault(code, name, "is missing: add ?%s=5,6", name)
	}
	all := strings.Join(q.Values[name], ",")
	if all == "" {
		return nil, nil
	}
	return strings.Split(all, ","), nil
}

// sender returns the sender's id in the query.
func (q query) sender() (bridge.SenderID, error) {
	if len(q.Values["sender"]) > 1 {
		return 0, fault(bridge.InvalidSender, "sender", "is given %d times: give it once", len(q.Values["sender"]))
	}
	if q.broken != nil && !q.Has("sender") {
		return 0, fault(bridge.InvalidSender, "query", "cannot be read: %v", q.broken)
	}
	return parseSender(q.Get("sender"))
}

// errNoSender says that a request names no sender.
var errNoSender = fault(bridge.InvalidSender, "sender", "is missing: it is the id that POST /register gave")

// parseSender reads a sender's id from JSON, a query or a path.
func parseSender(text string) (bridge.SenderID, error) {
	if text == "" {
		return 0, errNoSender
	}
	n, ok := parseNumber(text)
	if !ok {
		return 0, fault(bridge.InvalidSender, "sender", "%s is not an id from 1 to 4294967295, as POST /register gave it", bridge.Shorten(text))
	}
	return bridge.SenderID(n), nil
}

// parseNumber reads a whole number from 1 to 2^32-1 in decimal digits.
func parseNumber(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n > 0
}

// lister is a body or a query, from which lists are read.
type lister interface {
	list(name string, code bridge.Code) ([]string, error)
}

// readChannels returns the channels of a call, in order and with repeats. A pass, if there
// is one, has to cover them.
func readChannels(from lister, by *pass) ([]bridge.Channel, error) {
	elements, err := from.list("channels", bridge.InvalidChannel)
	switch {
	case err != nil:
		return nil, err
	case len(elements) > maxTargets:
		return nil, fault(bridge.InvalidChannel, "channels", "names %d, one call takes %d: use several", len(elements), maxTargets)
	case len(elements) == 0:
		return nil, fault(bridge.InvalidChannel, "channels", "is empty: name at least one")
	}
	out := make([]bridge.Channel, len(elements))
	for i, text := range elements {
		n, ok := parseNumber(text)
		if !ok {
			return nil, fault(bridge.InvalidChannel, field("channels", i), "%s is not a whole number from 1 to 4294967295", bridge.Shorten(text))
		}
		out[i] = bridge.Channel(n)
	}
	return out, by.coversAll(out)
}

// receivers returns the receivers of a send to so many channels, in order. Each is given as
// an id or a name (in JSON a string).
func (s *Server) receivers(from lister, channels int) ([]bridge.SenderID, error) {
	elements, err := from.list("receivers", bridge.InvalidReceiver)
	if err != nil {
		return nil, err
	}
	if len(elements)*channels > maxTargets {
		return nil, fault(bridge.InvalidReceiver, "receivers", "names %d on %d channels, one call takes %d in all: use several", len(elements), channels, maxTargets)
	}
	if len(elements) == 0 {
		return nil, fault(bridge.InvalidReceiver, "receivers", "is empty: name at least one")
	}
	_, plain := from.(query)
	ids := make([]bridge.SenderID, len(elements))
	for i, text := range elements {
		if !plain && text[0] == '"' {
			text = gjson.Parse(text).String()
		} else if !plain && (text[0] < '0' || text[0] > '9') {
			return nil, fault(bridge.InvalidReceiver, field("receivers", i), "%s is neither a whole number from 1 to 4294967295 nor a name in quotes", bridge.Shorten(text))
		}
		var refusal *bridge.Error
		if ids[i], refusal = s.hub.Receiver(text); refusal != nil {
			return nil, fault(refusal.Code, field("receivers", i), "%s", refusal.Detail)
		}
	}
	return ids, nil
}

// field names an element of a list.
func field(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
