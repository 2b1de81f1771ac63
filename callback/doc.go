// Package callback delivers messages and delivery reports by POST. It checks the addresses,
// signs, retries, and keeps waiting deliveries on disk. It is a protocol of its own for the
// hub and the counters. It gets messages from package history, also those that a callback
// missed before it joined.
//
// An endpoint is the state of one URL of one sender. The files, from top to bottom; each
// uses those below it:
//
//	serve.go      start and end; takes messages from the history
//	shards.go     which callbacks this gateway posts to, of those of a space
//	space.go      callbacks as the gateways of a space share them
//	join.go       callbacks join and leave, and catch up
//	room.go       room for a delivery: it waits, displaces others, or is dropped
//	calls.go      list, rotate and replay: what a sender can do with its callbacks
//	manage.go     list all, switch off and on: what operators can do
//	delivery.go   the life of a delivery
//	keeper.go     writes state to disk and restores it
//	endpoints.go  endpoints are made and forgotten
//	service.go    the service's parts, and its counters
//	unshared.go   what the space does not have yet, on the disk
//	together.go   what callbacks of a space share besides
//	turns.go      which endpoint may make an attempt
//	share.go      memory and attempts by sender
//	rank.go       a heap whose members know their places
//	poster.go     one POST
//	signature.go  its signature (Standard Webhooks 1.0.0)
//	document.go   a callback as gateways share it, and how far it is
//	endpoint.go   an endpoint with its queue; a delivery, an attempt
//	policy.go     which addresses are open
//	options.go    options and bounds
//
// Package http has the HTTP calls for this.
package callback

import (
	"fmt"

	"watchtower/bridge"
)

// HopsHeader carries how many callbacks a message has been through. It stops loops between
// gateways that post to each other.
const HopsHeader = "Watchtower-Hops"

// The faults of callbacks. Their values are stable, like bridge's.
const (
	InvalidURL bridge.Code = "invalid-callback-url"
	TooMany    bridge.Code = "too-many-callbacks"
)

func fault(code bridge.Code, field, format string, args ...any) *bridge.Error {
	return &bridge.Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...)}
}
