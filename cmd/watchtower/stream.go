package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
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

func (s *stream) close() {
	s.cancel()
	_ = s.body.Close() // the request was cancelled: its error says nothing
}
