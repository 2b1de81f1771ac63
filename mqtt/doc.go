// Package mqtt is the bus: an MQTT broker in the program (3.1, 3.1.1 and 5).
//
// From mochi-mqtt it takes the codec and the validation of packets. A client's attach, sessions, queues, packet ids, retained
// messages, wills and delivery are its own, because what a session receives has
// to go through one mechanism to keep its order and its bounds:
//
//	attach.go  CONNECT, identity, takeover     packets.go   what a client sends after that
//	conn.go    one connection: read, write     session.go   a session and its queue; no socket
//	reader.go  the packets that come           outgoing.go  packet ids, window, acknowledgements
//	router.go  who gets a topic, cached        sessions.go  by key: takeover, expiry, wills
//	message.go encodings, shared by receivers  retained.go  the last value of a topic
//	broker.go  life, listener, Bus             policy.go    what a client may publish and join
//	keeper.go  what is written to the disk     restore.go   what is read from it, in state.go's rows
//	access.go  users' access lists             limits.go    what is refused, and with which setting
//	watch.go   what the gateway itself hears   grace.go     wills after a start
//	levels.go  the tree of topics and filters  budget.go    what all queues hold together
//	users.go   who may come, and what may change  wills.go   what all wills hold together
//	received.go  QoS 2 on the way in           stats.go     the broker's size
//	deliver.go   a message to all on a route   inbox.go     what waits behind a publish that is held
//	pressure.go  when a publisher waits        giveup.go    what a client never acknowledges
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
//	suspended  the gateway ended while it   as when connected       held back (grace.go)
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
