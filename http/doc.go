// Package http is the gateway's HTTP side: the calls of the HTTP API, streams
// that follow channels, callbacks that are posted to, health and metrics.
//
// It translates requests into the verbs of package bridge and its errors into
// problem documents (RFC 9457). It owns its listener, its streams, the queues
// of its callbacks, the policy for their addresses, and the limit on wrong
// credentials. Who may do what, and how a message travels, it leaves to bridge.
//
// Every goroutine belongs to Server.Serve, which returns when all have ended.
package http
