package http

import (
	nethttp "net/http"
	"time"

	"github.com/oklog/ulid/v2"
)

// readSince reads from where on a join wants what was said: since in the query,
// or what an EventSource that reconnects says in its place. It returns nil if
// nothing is wanted.
func readSince(r *nethttp.Request, q query) (*since, error) {
	text, field := q.Get("since"), "since"
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		text, field = last, "Last-Event-ID"
	} else if !q.Has("since") {
		return nil, nil
	}
	return parseSince(field, text)
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
