// Package http is the gateway's HTTP side: the calls of the HTTP API, streams
// that follow channels, mailboxes, health and metrics.
//
// It translates requests into the verbs of package bridge and its errors into
// problem documents (RFC 9457). It owns its listener, its streams and mailboxes, and
// the limits by sender and address. Who may do what, and how a message travels, it
// leaves to bridge; what was said before to history; what is posted to callback, of
// which it has the calls alone. Every goroutine belongs to Server.Serve, which returns
// when all have ended.
//
// A request comes in by routes.go. What it asks for is in
//
//	calls.go    register, list, join, leave      stream.go     lines and events; kind.go, how they are written
//	publish.go  broadcast and send               websocket.go  the same on a WebSocket, and what is said there
//	mailbox.go  polling                          callbacks.go  what a sender may know and do about callbacks
//	mqtt.go     MQTT over WebSocket              metrics.go, openapi.go  for machines
//
// and is read by query.go and body.go, refused by problem.go, and bounded by
// client.go and streams.go. A message comes out by fanout.go, which follows package
// history; since.go says from where on somebody wants what was said before.
package http
