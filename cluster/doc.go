// Package cluster makes several gateways share their channels. It has no socket: a Transport
// carries its frames.
//
// Each gateway numbers what happens there, messages and memberships alike, in one stream.
// Everybody hears every stream. By the numbers a gateway notices what it has missed, asks
// the origin for that again, and drops what it has already. Nothing is agreed upon, so nobody
// waits: a message is delivered where it was published before any other gateway has it.
//
//	frame.go   how entries are written: many in a frame
//	entry.go   messages, memberships and claims as entries
//	topic.go   messages on topics of MQTT clients' own as entries
//	group.go   shared subscriptions as entries
//	stream.go  what happened here: numbered, kept for a while, sent
//	lull.go    for how long messages wait for others, if nobody elsewhere waits for them
//	pace.go    which gateways keep up, and how publishers wait for them
//	origin.go  what happened at one other gateway: put in order, delivered here
//	mend.go    what was missed is asked for again
//	node.go    all of that together: heartbeats, and who is gone
package cluster
