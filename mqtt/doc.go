// Package mqtt is the bus: an MQTT broker in the program (3.1, 3.1.1 and 5).
//
// From mochi-mqtt it takes the codec and the validation of packets. The rest is its
// own, because what a session receives has to go through one mechanism to keep its
// order and its bounds. Its files, from top to bottom; each uses those below it:
//
//	serve.go           life: listeners, connections, the end
//	restore.go         what is read from the disk at the start
//	attach.go          CONNECT: who may come, and with what
//	users.go           the configuration's users change
//	reader.go          the packets that come, one after the other
//	packets.go         what a client's packets do, in their order
//	subscribe.go       what SUBSCRIBE and UNSUBSCRIBE do
//	sessions.go        a session begins, is taken over, ends
//	save.go            what is written of sessions and retained messages
//	wills.go           what becomes of a will; none for a moment after a start
//	identify.go        who a client is
//	policy.go          what a client may publish
//	deliver.go         a message to all on its route; the gateway's own
//	presence.go        a session's connection comes and goes
//	outgoing.go        what a client is sent, its packet ids and acknowledgements
//	giveup.go          what a client never acknowledges
//	log.go             what is refused or dropped, counted and logged
//	queue.go           what waits for a session, and what room it has
//	pressure.go        when a publisher waits
//	received.go        QoS 2 on the way in
//	broker.go          the broker's parts, its options and size
//	keeper.go          the rows that are not on disk yet
//	state.go           what the rows are
//	conn.go            one connection: its answers and its end
//	inbox.go           what waits behind a publish that is held
//	router.go          who gets a topic, cached
//	retained.go        the last value of a topic
//	session.go         a session as data, its subscriptions; all sessions by key
//	encoding.go        a message's bytes, shared by its receivers
//	budget.go          what all queues and all wills hold together
//	message.go         a message, and its delivery to a session
//	extras.go          the properties that a message carries on
//	codec.go           mochi's codec, and what it lets pass
//	properties.go      checks of properties that mochi lacks
//	limits.go          errors, and the codes and settings that they stand for
//	access.go          users' access lists
//	levels.go          the tree of topics and filters
//	throttle.go        an event once in a while
//	quickack_linux.go  acknowledgements of TCP without delay
//	quickack_other.go  nothing, elsewhere
//
// The rules of senders and channels are bridge's: every publish on a channel is
// admitted there, and every subscription to one joins there. The gateway's own
// publishes enter by Broker.Publish, never by a client id that a stranger could
// choose.
//
// # The life of a session
//
// A session belongs to a key: the sender, the user and the client id. One
// connection has it at a time.
//
//	state      begins                       on disk                 the will
//	connected  CONNECT                      subscriptions, queue,   waits with the connection
//	                                        will; without an
//	                                        expiry the will alone
//	away       its connection ended, and    the same, and until     sent at once, or after its
//	           it has an expiry             when                    delay; none after a goodbye
//	suspended  the gateway ended while it   as when connected       held back (wills.go)
//	           was connected
//	ended      its expiry is over, or its   nothing                 sent if it still waits
//	           connection ended and it has
//	           none, or its sender is gone
//
// A takeover: whoever comes for a session waits its turn (sessions.turn), ends the
// connection that has it, and waits until that one has stopped reading, is off the
// session, and its will is sent (conn.halt). Then the session is resumed, which
// gives up a will that waits; or, at a clean start, it is ended, which sends one that
// is not held back. Only then CONNACK is queued: nothing of the old connection comes
// after it. A device that takes a name over, and the deletion of a sender, end a
// connection by the same halt.
package mqtt
