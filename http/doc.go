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
// Its files, from top to bottom; each uses those below it:
//
//	serve.go        life: listeners, the end
//	routes.go       which call answers what, and what stands before the calls
//	metrics.go      GET /metrics
//	openapi.go      GET /openapi.yaml
//	cors.go         pages of other origins
//	pages.go        what a page of a stranger may not ask for
//	operator.go     the operator's calls, which are package operator's
//	mqtt.go         MQTT over WebSocket
//	callbacks.go    what a sender may know and do about callbacks
//	passes.go       short tokens are made; who a token is of
//	calls.go        register, list, leave, members
//	fanout.go       a message to the streams and mailboxes that it is for
//	mailbox.go      polling
//	follow.go       a stream joins, begins and ends
//	websocket.go    the same on a WebSocket, and what is said there
//	publish.go      broadcast and send
//	speaker.go      who a request speaks for, and what a join says
//	body.go         bodies, and JSON objects in them
//	authorize.go    whose a token is, and whether he may ask
//	query.go        queries; ids, channels and receivers
//	streams.go      all streams that are open
//	stream.go       what waits for one, and is written
//	pass.go         the short token that a request carries
//	misread.go      TLS; what is no request of HTTP
//	visitor.go      a connection, and what its strangers may hold
//	answer.go       answers, problems, and the log of those
//	peer.go         the connection below a WebSocket
//	server.go       the server's parts
//	kind.go         how messages are written on a stream
//	frames.go       the frames of a WebSocket
//	client.go       whose address a request counts for
//	connections.go  the connections that net/http has
//	gate.go         whether publishing requests are let in
//	notices.go      which refusals had a line in the log lately
//	problem.go      faults, their statuses and titles
//	options.go      options and bounds
package http
