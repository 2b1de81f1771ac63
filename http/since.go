package http

import (
	"cmp"
	nethttp "net/http"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// readSince reads from where on a join wants what was said: since in the query,
// or what an EventSource that reconnects says in its place. It returns nil if
// nothing is wanted.
func readSince(r *nethttp.Request, q query) (*since, error) {
	if last := cmp.Or(r.Header.Get("Last-Event-ID"), q.Get(lastEventID)); last != "" {
		return sinceEvent(last), nil
	}
	if !q.Has("since") {
		return nil, nil
	}
	return parseSince("since", q.Get("since"))
}

// lastEventID is where stand-ins for EventSource say the last id that cannot set a
// header.
const lastEventID = "lastEventId"

// sinceEvent is where an event's id stands. Some libraries quote it. One that is none of
// ours is no fault of who comes back with it, and would shut a library out for good:
// nobody knows what was missed, and that is said.
func sinceEvent(last string) *since {
	last = strings.Trim(last, "\" ")
	if id, err := ulid.ParseStrict(last); err == nil && id != (ulid.ULID{}) {
		return &since{id: id}
	}
	at, _ := parsePosition(last)
	return &since{at: &at}
}

func parseSince(field, text string) (*since, error) {
	if text == "all" {
		return &since{all: true}, nil
	}
	if id, err := ulid.ParseStrict(text); err == nil && id != (ulid.ULID{}) {
		return &since{id: id}, nil
	}
	if at, ok := parsePosition(text); ok {
		return &since{at: &at}, nil
	}
	if age, err := time.ParseDuration(text); err == nil && age > 0 {
		return &since{age: age}, nil
	}
	return nil, fault(invalidField, field, "%q is neither a message's id, nor a time such as 10m, nor all", shorten(text))
}
