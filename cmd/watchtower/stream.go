package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// lineBytes is the most bytes of a stream's line: a message of 64,000 bytes, each of which
// may take six bytes in JSON, and its other fields.
const lineBytes = 1 << 19

// streamTimeout is the longest wait for a stream's first heartbeat. A gateway sends that at
// once.
const streamTimeout = 10 * time.Second

// stream is an open stream, and a membership that lasts as long.
type stream struct {
	lines  *bufio.Scanner
	body   io.Closer
	cancel context.CancelFunc

	goodbye func() // says that it ends; nil: nothing does
	closed  sync.Once
}

// join opens a stream on channels, and returns once the sender is a member. Linger is off:
// the membership ends with this stream, and other streams of the same sender are not
// affected. With since, the missed messages come first.
func (c *client) join(ctx context.Context, t target, id identity, channels []uint32, echo bool, since string) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(streamTimeout, cancel)
	fail := func(err error) (*stream, error) {
		timely := late.Stop()
		cancel()
		if !timely && errors.Is(err, context.Canceled) {
			err = unreachable{fmt.Errorf("%s does not answer: no stream within %s", t.url, streamTimeout)}
		}
		return nil, err
	}
	query := url.Values{
		"channels": {idList(channels)}, "sender": {strconv.FormatUint(uint64(id.ID), 10)},
		"echo": {strconv.FormatBool(echo)}, "linger": {"false"},
	}
	if since != "" {
		query.Set("since", since)
	}
	resp, err := c.send(ctx, t, request{method: "GET", path: "/channels/join", token: id.Token, query: query})
	if err != nil {
		return fail(err)
	}
	body := bufio.NewReader(resp.Body)
	if _, err := body.Peek(1); err != nil { // the first heartbeat
		_ = resp.Body.Close()
		return fail(fmt.Errorf("%s ended the stream at once: %w", t.url, err))
	}
	if !late.Stop() {
		_ = resp.Body.Close()
		return fail(context.Canceled)
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, lineBytes)
	return &stream{lines: lines, body: resp.Body, cancel: cancel}, nil
}

var errStreamEnded = errors.New("the gateway ended the stream")

// next returns the line of the next message; it skips heartbeats. The line is valid until
// the next call.
func (s *stream) next() ([]byte, error) {
	for s.lines.Scan() {
		if line := s.lines.Bytes(); len(line) > 0 {
			return line, nil
		}
	}
	if err := s.lines.Err(); err != nil {
		return nil, err
	}
	return nil, errStreamEnded
}

// drain reads on and forgets what comes. The channel is closed when the stream has ended.
func (s *stream) drain() (over <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := s.next(); err != nil {
				return
			}
		}
	}()
	return ended
}

// close returns once the stream is closed, also if another call does that.
func (s *stream) close() {
	s.closed.Do(func() {
		if s.goodbye != nil {
			s.goodbye()
		}
		s.cancel()
		_ = s.body.Close() // the request was cancelled: its error says nothing
	})
}

// leaveTimeout is the longest time for a goodbye.
const leaveTimeout = time.Second

// hears is what comes on a stream.
type hears struct {
	echo  bool          // what the sender says itself, too
	since string        // earlier messages too (until)
	most  time.Duration // how long the stream lasts at most; 0: any time, and nothing says goodbye
}

// How long streams of visits last at most: a gateway gives tokens for an hour or for a day.
const (
	askLongest  = time.Hour
	hearLongest = 24 * time.Hour
)

// visit opens a stream on channels. Its close is a goodbye, so that nobody misses the sender afterwards. For that a short
// token opens the stream: what leaves by that ends no other stream of the sender. A gateway
// that gives none gets no goodbye. The end of ctx closes the stream; the caller closes it too.
func (c *client) visit(ctx context.Context, t target, id identity, channels []uint32, h hears) (*stream, error) {
	pass := id
	var no *refusal
	short, err := "", error(nil)
	if h.most > 0 {
		short, err = c.shortToken(ctx, t, id, h.most)
	}
	if err != nil && (!errors.As(err, &no) || no.status == 401) {
		return nil, err
	}
	pass.Token = cmp.Or(short, id.Token)
	opening, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the goodbye comes before its end
	opened := context.AfterFunc(ctx, cancel)
	s, err := c.join(opening, t, pass, channels, h.echo, h.since)
	opened()
	if err != nil {
		cancel()
		return nil, err
	}
	if pass != id {
		s.goodbye = func() { c.leaveStream(t, pass, channels) }
	}
	end := s.cancel
	s.cancel = func() { end(); cancel() }
	context.AfterFunc(ctx, s.close)
	return s, nil
}

// shortToken returns a token that may hear, and expires after a time; empty: the answer has none.
func (c *client) shortToken(ctx context.Context, t target, id identity, most time.Duration) (string, error) {
	r, err := jsonRequest("POST", "/tokens", map[string]int{"ttl": int(most.Seconds())})
	if err != nil {
		return "", err
	}
	r.token = id.Token
	answer, err := c.call(ctx, t, r)
	if err != nil {
		return "", err
	}
	var short struct{ Token string }
	_ = json.Unmarshal(answer, &short) // join says what answers there instead of a gateway
	return short.Token, nil
}

// leaveStream leaves channels by a short token. After an error the stream just ends.
func (c *client) leaveStream(t target, pass identity, channels []uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	r, err := jsonRequest("POST", "/channels/leave", struct {
		Sender   uint32   `json:"sender"`
		Channels []uint32 `json:"channels"`
	}{pass.ID, channels})
	if err != nil {
		return
	}
	r.token = pass.Token
	_, _ = c.call(ctx, t, r)
}
