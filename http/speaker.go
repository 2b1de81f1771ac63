package http

import (
	"cmp"
	nethttp "net/http"
	"slices"

	"watchtower/bridge"
	"watchtower/history"
)

// channelList is the answer of calls that list channels.
type channelList struct {
	Channels []bridge.Channel `json:"channels"`
}

// asker returns the sender of a request without a body, and its query, in which the known
// parameters are given at most once.
func (s *Server) asker(r *nethttp.Request, known ...string) (*bridge.Sender, query, error) {
	q := parseQuery(r)
	id, err := q.sender()
	sender, err := s.authorize(r, id, err)
	if err != nil {
		return nil, q, err
	}
	return sender, q, q.once(known...)
}

// speaker returns the sender of a request with a JSON body, and the body, which has only
// known fields.
func (s *Server) speaker(r *nethttp.Request, known ...string) (*bridge.Sender, object, error) {
	in := &body{limit: s.largestBody()}
	body, err := s.readObject(r, in)
	if err != nil {
		return nil, nil, err
	}
	sender, err := s.speakerIn(r, in, body)
	if err != nil {
		return nil, nil, err
	}
	if err := parseQuery(r).only(); err != nil {
		return nil, nil, err
	}
	return sender, body, body.only(known...)
}

// join is a request to join channels.
type join struct {
	sender   *bridge.Sender
	channels []bridge.Channel
	noEcho   bool
	since    *history.Since // nil: only new messages
}

// joiner reads a join from a body, which may have the fields besides too.
func (s *Server) joiner(r *nethttp.Request, besides ...string) (j join, body object, err error) {
	if j.sender, body, err = s.speaker(r, append([]string{"sender", "channels", "echo", "since"}, besides...)...); err != nil {
		return j, nil, err
	}
	if err := j.read(body, passOf(r)); err != nil {
		return j, nil, err
	}
	text, found, err := body.text("since")
	if err == nil && found {
		j.since, err = parseSince(text)
	}
	return j, body, err
}

// read reads the channels and echo.
func (j *join) read(from interface {
	lister
	flag(name string, otherwise bool) (bool, error)
}, by *pass) error {
	channels, err := readChannels(from, by)
	if err != nil {
		return err
	}
	echo, err := from.flag("echo", true)
	j.channels, j.noEcho = sorted(channels), !echo
	return err
}

// sorted returns channels ascending, each once.
func sorted(channels []bridge.Channel) []bridge.Channel {
	slices.Sort(channels)
	return slices.Compact(channels)
}

// readSince reads since which message or time a join wants earlier messages: since in the
// query, or the last event id of an EventSource that reconnects. Nil: it wants none.
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

// lastEventID is the query parameter for the last event id of EventSource replacements that
// cannot set a header.
const lastEventID = "lastEventId"

func parseSince(text string) (*history.Since, error) {
	since, ok := history.ParseSince(text)
	if !ok {
		return nil, fault(bridge.InvalidField, "since", "%q is neither a message's id, nor a time such as 10m, nor all", bridge.Shorten(text))
	}
	return &since, nil
}
