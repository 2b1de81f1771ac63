package main

import (
	"context"
	"net/http"
	"time"
)

// callersMost bounds the senders whose names are known, and callersAge for how long: a sender may
// get another name.
const (
	callersMost = 1024
	callersAge  = time.Minute
	callersWait = 3 * time.Second // for an answer; messages wait meanwhile
	callersNext = 5 * time.Second // after no answer: so long nobody asks again
)

// callers knows senders' names by their ids: session frames carry ids alone. It asks as an
// operator of the gateway. A nil one, of somebody who is no operator, knows nobody.
type callers struct {
	operator
	known map[uint32]caller
}

type caller struct {
	name  string
	asked time.Time
}

// callers signs in; nil: whoever runs this has no admin key for the gateway. If the gateway is
// slow, the first name is asked for without a session, and signs in again.
func (c *client) callers(ctx context.Context) *callers {
	ctx, cancel := context.WithTimeout(ctx, callersWait)
	defer cancel()
	o, err := c.signIn(ctx)
	if err != nil && (ctx.Err() == nil || o.client == nil) {
		return nil
	}
	return &callers{o, make(map[uint32]caller)}
}

// name returns a sender's name; "": it has none, or it cannot be known now.
func (all *callers) name(ctx context.Context, id uint32) string {
	if all == nil {
		return ""
	}
	last, known := all.known[id]
	if known && time.Since(last.asked) < callersAge {
		return last.name
	}
	ctx, cancel := context.WithTimeout(ctx, callersWait)
	defer cancel()
	s := listedSender{ID: id}
	err := all.ask(ctx, request{method: "GET", path: s.path()}, nil, &s)
	if refused(err, http.StatusUnauthorized) { // the session has ended
		if o, failed := all.signIn(ctx); failed == nil {
			all.operator = o
			err = all.ask(ctx, request{method: "GET", path: s.path()}, nil, &s)
		}
	}
	if err == nil {
		last.name = s.Name
	}
	if len(all.known) == callersMost {
		clear(all.known)
	}
	asked := time.Now()
	if err != nil {
		asked = asked.Add(callersNext - callersAge) // the next message shall not wait
	}
	all.known[id] = caller{last.name, asked}
	return last.name
}

func (all *callers) end(ctx context.Context) {
	if all != nil {
		all.signOut(ctx)
	}
}
