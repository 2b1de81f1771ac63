package http

import (
	"cmp"
	nethttp "net/http"

	"watchtower/bridge"
	"watchtower/history"
)

// readSince reads from where on a join wants what was said: since in the query,
// or what an EventSource that reconnects says in its place. It returns nil if
// nothing is wanted.
func readSince(r *nethttp.Request, q query) (*history.Since, error) {
	if last := cmp.Or(r.Header.Get("Last-Event-ID"), q.Get(lastEventID)); last != "" {
		since := history.SinceEvent(last)
		return &since, nil
	}
	if !q.Has("since") {
		return nil, nil
	}
	return parseSince(q.Get("since"))
}

// lastEventID is where stand-ins for EventSource say the last id that cannot set a
// header.
const lastEventID = "lastEventId"

func parseSince(text string) (*history.Since, error) {
	since, ok := history.ParseSince(text)
	if !ok {
		return nil, fault(bridge.InvalidField, "since", "%q is neither a message's id, nor a time such as 10m, nor all", bridge.Shorten(text))
	}
	return &since, nil
}
