// Package http is the gateway's HTTP side: the calls of the HTTP API, streams
// that follow channels, mailboxes, health and metrics.
//
// It translates requests into calls of package bridge, and errors into problem documents
// (RFC 9457). It owns its listeners, streams and mailboxes, and the limits by sender and
// address. Package bridge has the permissions and the delivery of messages, history the
// earlier messages, and callback the posting. Server.Serve returns when all goroutines of
// the package have ended.
//
// The files, from top to bottom; each uses those below it:
//
//	serve.go        life: listeners, the end
//	routes.go       paths and their calls, and the handlers before them
//	metrics.go      GET /metrics
//	directory.go    GET /pages/…
//	openapi.go      GET /openapi.yaml and /asyncapi.yaml, and files for everybody
//	cors.go         pages of other origins
//	pages.go        refuses requests of foreign pages
//	operator.go     hands the operator's calls to package operator
//	mqtt.go         MQTT over WebSocket
//	callbacks.go    the calls about callbacks
//	passes.go       makes short tokens; GET /me
//	calls.go        register, list, leave, members
//	fanout.go       a message to its streams and mailboxes
//	mailbox.go      polling
//	follow.go       a stream joins, begins and ends
//	websocket.go    the same on a WebSocket, and publishing there
//	publish.go      broadcast and send
//	speaker.go      the sender of a request; the fields of a join
//	body.go         bodies, and JSON objects in them
//	authorize.go    the sender of a token, and the limit of its requests
//	query.go        queries; ids, channels and receivers
//	streams.go      all open streams
//	stream.go       a stream's queue and writing
//	pass.go         the short token that a request carries
//	misread.go      TLS; data that is not an HTTP request
//	visitor.go      a connection, and its memory before the client is identified
//	answer.go       answers, problems, and their log
//	peer.go         the connection below a WebSocket
//	server.go       the server's parts
//	kind.go         how messages are written on a stream
//	frames.go       the frames of a WebSocket
//	client.go       the client's address, through proxies
//	ingress.go      whom Home Assistant has signed in
//	connections.go  the connections that net/http has
//	gate.go         whether publishing requests are let in
//	notices.go      limits how often a refusal is logged
//	problem.go      faults, their statuses and titles
//	options.go      options and bounds
package http
