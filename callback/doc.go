// Package callback delivers messages and delivery reports by POST: to which addresses,
// signed how, how often tried, and what of it waits on disk. It is a protocol of its own
// for the hub and the counters. It follows package history, by which those who join get
// what they have missed.
//
// What there is to know of one URL of one sender is an endpoint. The files, from top to
// bottom; each uses those below it:
//
//	serve.go      life: the start, the end; messages come in by the history
//	join.go       who joins and leaves, and what he has missed
//	room.go       a delivery waits, or makes others go, or is dropped
//	calls.go      what a sender may know and do about its callbacks
//	delivery.go   the life of a delivery
//	keeper.go     what outlives the process
//	endpoints.go  endpoints are made and forgotten
//	service.go    the service's parts, and what it counts
//	turns.go      which endpoint may make an attempt
//	share.go      whose memory it is
//	rank.go       a heap whose members know their places
//	poster.go     one POST
//	signature.go  its signature (Standard Webhooks 1.0.0)
//	endpoint.go   what waits for a URL; a delivery, an attempt
//	policy.go     which addresses are open
//	options.go    options and bounds
//
// The calls by which a sender says all that are package http's.
package callback

import (
	"fmt"

	"watchtower/bridge"
)

// HopsHeader carries how many callbacks a message has been through, so that gateways
// that post to each other stop.
const HopsHeader = "Watchtower-Hops"

// The faults of callbacks. Their values are stable, like bridge's.
const (
	InvalidURL bridge.Code = "invalid-callback-url"
	TooMany    bridge.Code = "too-many-callbacks"
)

func fault(code bridge.Code, field, format string, args ...any) *bridge.Error {
	return &bridge.Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...)}
}
