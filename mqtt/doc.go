// Package mqtt is the bus: an MQTT broker in the program (3.1, 3.1.1 and 5).
//
// The codec and the validation of packets are mochi-mqtt's. The rest is written here,
// because one mechanism must carry all deliveries of a session to keep their order and
// their bounds. The files, from top to bottom; each uses those below it:
//
//	serve.go           life: listeners, connections, the end
//	restore.go         what is read from the disk at the start
//	attach.go          CONNECT: checks it, and attaches the client to its session
//	farewell.go        gives all sessions to other gateways at the end; answers other gateways
//	arrival.go         brings a session here from another gateway
//	handover.go        gives a session to another gateway
//	adopt.go           takes sessions of gateways that are gone
//	revive.go          makes a session of its record
//	users.go           changes of the configured users
//	park.go            a connection waits in an event loop, and goes on
//	reader.go          reads packets, one after the other
//	plain.go           packets that are executed as they were read
//	place.go           the topic to which a client publishes: what it means, who gets it
//	packets.go         what a client's packets do, in their order
//	gateways.go        what other gateways publish and retain
//	subscribe.go       what SUBSCRIBE and UNSUBSCRIBE do
//	sessions.go        a session begins, is taken over, ends
//	save.go            writes sessions and retained messages
//	wills.go           checks and sends wills; holds them back after a start
//	overhear.go        the clients' own topics, as maps of channels hear and use them
//	browse.go          what operators see of retained messages, publish and remove
//	identify.go        who a client is
//	policy.go          what a client may publish
//	deliver.go         delivers a message to its route; the gateway's own messages
//	client.go          a client that the gateway watches, answers alone, lets remove its own
//	presence.go        a session's connection comes and goes
//	outgoing.go        what a client is sent, its packet ids and acknowledgements
//	giveup.go          gives up messages that a client never acknowledges
//	log.go             counts and logs refusals and drops
//	others.go          tells other gateways what clients publish here
//	groups.go          shared subscriptions with clients at several gateways
//	queue.go           a session's queue and its room
//	pressure.go        when a publisher waits
//	received.go        QoS 2 on the way in
//	broker.go          the broker's parts, its options and size
//	underway.go        what is being handed out, and who waits for that
//	keeper.go          the rows that are not on disk yet
//	records.go         what the space keeps of sessions
//	state.go           the formats of the rows
//	conn.go            one connection: its answers and its end
//	inbox.go           packets that wait behind a held answer
//	routes.go          the routes of topics, and of what is said on a channel, cached
//	router.go          finds the receivers of a topic among the subscriptions
//	receivers.go       the receivers of a topic: sessions, groups, the gateway itself
//	merge.go           retained messages of other gateways
//	stamps.go          the rows of retained messages' stamps
//	listing.go         retained topics level by level, in pages
//	retained.go        the retained message of each topic
//	replica.go         which of two gateways' retained messages is newer
//	claim.go           tells other gateways which sessions are here
//	session.go         a session as data, its subscriptions; all sessions by key
//	encoding.go        a message's bytes, shared by its receivers
//	budget.go          the bytes of all queues and all wills together
//	message.go         a message, and its delivery to a session
//	extras.go          the MQTT 5 properties that go on to the receivers
//	codec.go           mochi's codec, and checks that it lacks
//	properties.go      checks of properties that mochi lacks
//	limits.go          errors, with their codes and settings
//	rights.go          what a configured user may do by another protocol
//	access.go          users' access lists
//	levels.go          the tree of topics and filters
//	quickack_linux.go  TCP acknowledgements without delay
//	quickack_other.go  the same for other systems: nothing
//
// Package bridge has the rules of senders and channels: it admits every publish on a
// channel, and every subscription to a channel joins there. The gateway's own messages
// enter by Broker.Publish, not by a client id that a client could choose.
//
// # The life of a session
//
// A session belongs to a key: the sender, the user and the client id. It has one
// connection at a time.
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
// A takeover: the new connection waits its turn (sessions.turn) and ends the old one. It
// waits until the old one has stopped reading, is off the session, and its will is sent
// (conn.halt). Then the session is resumed, which discards a delayed will; or, at a clean
// start, ended, which sends a will that is not held back. CONNACK is queued last, so
// nothing of the old connection comes after it. A device that takes a name over and the
// deletion of a sender end a connection by the same halt. So does a takeover at another gateway,
// which asks for that and then fetches the session.
package mqtt
