package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// follow prints what is said on channels until ctx ends. After a stream that
// stood is lost, it tries again until the gateway refuses it.
func (c *client) follow(ctx context.Context, channels []uint32) error {
	gap, stood := c.firstGap, false
	for {
		err := c.as(ctx, func(t target, id identity) error {
			s, err := c.join(ctx, t, id, channels, true)
			if err != nil {
				return err
			}
			defer s.close()
			gap, stood = c.firstGap, true
			fmt.Fprintf(c.err, "watchtower: following channel %s at %s as %s (%d), Ctrl-C ends\n", idList(channels), t.url, c.senderName(), id.ID)
			return c.copyMessages(s)
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

// copyMessages prints a stream's messages until it ends. It never returns nil.
func (c *client) copyMessages(s *stream) error {
	for {
		line, err := s.next()
		if err != nil {
			return err
		}
		if !c.json {
			line = []byte(messageLine(line, time.Local))
		}
		if _, err := c.out.Write(append(line, '\n')); err != nil {
			return outputError{err}
		}
	}
}

// outputError says that nobody reads what is printed any more.
type outputError struct{ error }

// final reports whether trying again would not help.
func final(err error) bool {
	var out outputError
	if errors.As(err, &out) {
		return true
	}
	var r *refusal
	return errors.As(err, &r) && r.status < 500 && r.status != 408 && r.status != 429
}
