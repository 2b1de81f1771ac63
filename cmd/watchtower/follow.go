package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// follow prints the messages of channels until ctx ends. If an open stream breaks, follow
// tries again until the gateway refuses it, and prints the messages that it missed.
func (c *client) follow(ctx context.Context, channels []uint32) error {
	gap, stood := c.firstGap, false
	var heard until
	for {
		err := c.as(ctx, func(t target, id identity) error {
			s, err := c.join(ctx, t, id, channels, true, heard.since(time.Now()))
			if err != nil {
				return err
			}
			defer s.close()
			gap, stood = c.firstGap, true
			if heard.began.IsZero() {
				heard.began = time.Now()
			}
			fmt.Fprintf(c.err, "watchtower: following channel %s at %s as %s (%d), Ctrl-C ends\n", idList(channels), t.url, c.senderName(), id.ID)
			return c.copyMessages(s, &heard)
		})
		if ctx.Err() != nil {
			return nil
		}
		if !stood || final(err) {
			return err
		}
		fmt.Fprintf(c.err, "watchtower: connection lost: %s; trying again in %s\n", describe(err), gap)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(gap):
		}
		gap = min(2*gap, c.longestGap)
	}
}

// until says up to which message a client has heard.
type until struct {
	began time.Time // when the first stream opened
	last  string    // id of the last message; empty: none came
}

// since returns the query value by which a join gets the messages that were missed: the
// last id, or the time since the first stream.
func (p until) since(now time.Time) string {
	switch {
	case p.last != "":
		return p.last
	case p.began.IsZero():
		return ""
	}
	return fmt.Sprintf("%ds", int(now.Sub(p.began).Seconds())+1)
}

// copyMessages prints a stream's messages until it ends. It never returns nil.
func (c *client) copyMessages(s *stream, heard *until) error {
	for {
		line, err := s.next()
		if err != nil {
			return err
		}
		var what struct {
			ID, Type, Detail string
			Channel          uint32
		}
		if json.Unmarshal(line, &what) == nil && what.ID != "" {
			heard.last = what.ID
		}
		if !c.json {
			switch what.Type {
			case "gap":
				fmt.Fprintf(c.err, "watchtower: channel %d: something was said that is not known any more\n", what.Channel)
				continue
			case "end":
				return errors.New(what.Detail)
			}
			line = []byte(messageLine(line, time.Local))
		}
		if _, err := c.out.Write(append(line, '\n')); err != nil {
			return outputError{err}
		}
	}
}

// outputError is a failed write to standard output: nobody reads it any more.
type outputError struct{ error }

// final reports whether another try would not help.
func final(err error) bool {
	var out outputError
	if errors.As(err, &out) {
		return true
	}
	var r *refusal
	return errors.As(err, &r) && r.status < 500 && r.status != 408 && r.status != 429
}
