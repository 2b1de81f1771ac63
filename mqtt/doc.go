// Package mqtt is the bus: an MQTT broker in the program (3.1, 3.1.1 and 5).
//
// From mochi-mqtt it takes the codec, the validation of packets and the tree of
// subscriptions. A client's attach, sessions, queues, packet ids, retained
// messages, wills and delivery are its own, because what a session receives has
// to go through one mechanism to keep its order and its bounds:
//
//	attach.go  CONNECT, identity, takeover     packets.go   what a client sends after that
//	conn.go    one connection: read, write     session.go   queue, packet ids, window; no socket
//	router.go  who gets a topic, cached        sessions.go  by key: takeover, expiry, wills
//	message.go encodings, shared by receivers  retained.go  the last value of a topic
//	broker.go  life, listener, Bus             policy.go    what a client may publish and join
//	keeper.go  what is written to the disk     restore.go   what is read from it, in state.go's rows
//	access.go  users' access lists             limits.go    what is refused, and with which setting
//	watch.go   what the gateway itself hears
//
// The rules of senders and channels are bridge's: every publish on a channel is
// admitted there, and every subscription to one joins there. The gateway's own
// publishes enter by Broker.Publish, never by a client id that a stranger could
// choose.
package mqtt
