package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// hearing is what somebody wants to hear.
type hearing struct {
	channels []uint32
	since    string // earlier messages too: after an id, of an age such as 10m, or "all"; empty: none
	deaf     bool   // not what this sender says itself
	raw      bool   // gaps and ends too, as they came

	// Stands is called whenever a stream is open; nil: it is told to the user.
	stands func(speaker)
}

// speaker is a member of channels, who may say something there.
type speaker struct {
	*client
	at target
	as identity
}

// errExpired ends a stream that has lasted as long as it may.
var errExpired = errors.New("the stream has lasted as long as it may")

// errEnough ends follow well: nothing more is wanted.
var errEnough = errors.New("enough was heard")

// follow calls each for every message of channels until ctx ends, or each returns an error.
// If an open stream breaks, follow tries again until the gateway refuses it, and gets the
// messages that it missed.
func (c *client) follow(ctx context.Context, h hearing, each func(speaker, message) error) error {
	gap, stood := c.firstGap, false
	heard := until{first: h.since}
	most, renewed, opened := hearLongest, false, time.Time{}
	for {
		var refusedVisit error
		err := c.as(ctx, func(t target, id identity) error {
			s, err := c.visit(ctx, t, id, h.channels, hears{echo: !h.deaf, since: heard.since(time.Now()), most: most})
			if err != nil {
				refusedVisit = err
				return err
			}
			defer s.close()
			gap, stood = c.firstGap, true
			if heard.began.IsZero() {
				heard.began = time.Now()
			}
			opened = time.Now()
			if h.stands != nil {
				h.stands(speaker{c, t, id})
			} else if !renewed {
				fmt.Fprintf(c.err, "watchtower: following channel %s at %s as %s (%d), Ctrl-C ends\n", idList(h.channels), t.url, c.senderName(), id.ID)
			}
			return c.hear(ctx, s, h, &heard, func(m message) error { return each(speaker{c, t, id}, m) })
		})
		if ctx.Err() != nil || errors.Is(err, errEnough) {
			return nil
		}
		if renewed = errors.Is(err, errExpired); renewed {
			if time.Since(opened) < most/2 { // somebody else registers by this name, and ends its short tokens
				most = 0
			}
			continue
		}
		// Its fresh token may end before it is used, if somebody else registers by this name.
		outrun := c.token == "" && refused(err, 401) && errors.Is(err, refusedVisit)
		if !stood || final(err) && !outrun {
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
	first string    // where the first stream begins; empty: with what is said from then on
	began time.Time // when the first stream opened
	last  string    // id of the last message; empty: none came
}

// since returns the query value by which a join gets the messages that were missed: the
// last id, or the time since the first stream.
func (p until) since(now time.Time) string {
	switch {
	case p.last != "":
		return p.last
	case p.first != "" || p.began.IsZero():
		return p.first
	}
	return fmt.Sprintf("%ds", int(now.Sub(p.began).Seconds())+1)
}

// hear calls each for every message of a stream until that or ctx ends. It never returns nil.
func (c *client) hear(ctx context.Context, s *stream, h hearing, heard *until, each func(message) error) error {
	for {
		line, err := s.next()
		if err := cmp.Or(err, ctx.Err()); err != nil { // a goodbye has an end, too
			return err
		}
		m := parseMessage(line)
		switch {
		case m.Type == "end" && m.Reason == "expired":
			return errExpired
		case h.raw:
		case m.Type == "gap" && h.stands != nil && heard.last == "":
			continue // of earlier messages, for which nobody asked
		case m.Type == "gap":
			fmt.Fprintf(c.err, "watchtower: channel %d: something was said that is not known any more\n", m.Channel)
			continue
		case m.Type == "confirm":
			var h halfConfirmed
			_ = json.Unmarshal(line, &h) // parseMessage has read it
			fmt.Fprintf(c.err, "watchtower: channel %d: %s\n", m.Channel, h)
			continue
		case m.Type == "end":
			return errors.New(m.Detail)
		}
		if err := each(m); err != nil {
			return failure{err}
		}
		if m.ID != "" {
			heard.last = m.ID
		}
	}
}

// failure is an error of who heard a message: the connection is well, and the next would
// fail too.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// outputError is a failed write to standard output: nobody reads it any more.
type outputError struct{ error }

// final reports whether another try would not help.
func final(err error) bool {
	var failed failure
	if errors.As(err, &failed) {
		return true
	}
	var r *refusal
	return errors.As(err, &r) && r.status < 500 && r.status != 408 && r.status != 429
}
