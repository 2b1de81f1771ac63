package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/config"
	"watchtower/eventloop"
	"watchtower/intake"
)

// Protocol is the protocol of a foreign broker's clients.
var Protocol = bridge.NewProtocol("remote")

// Options of a Bus: settings, and the objects that it uses.
type Options struct {
	config.MQTT
	config.Limits

	Own Own
	Key string // the secret key; empty: the gateway is open

	Slot bridge.Slot // of this gateway among those at the broker

	Memory func(key string) Memory
}

// Own is the gateway's own broker, whose documents about the gateway stand at the foreign one
// too.
type Own interface {
	// Watch calls f, in the publisher's goroutine, with each message on a topic.
	Watch(filter string, f func(topic string, payload []byte, from bridge.Client)) (end func())
	// Socket returns a connection's place in the event loops; nil: it has none.
	Socket(net.Conn, eventloop.Handler) *eventloop.Socket
}

// Bus carries the channels to a foreign broker and back.
type Bus struct {
	hub     *bridge.Hub
	tree    *bridge.Tree
	opts    Options
	log     *logrus.Logger
	noisy   *intake.Throttle
	client  *client // what is said
	control *client // all else, so that it is never behind what is said
	link    *bridge.Link
	round   outbound.Round      // of the link's goroutine
	drop    func(bridge.Reason) // counts a message that the broker does not get

	documents  *documents
	neighbours *neighbours
	house      *House // nil: none
	joins      *joins
	turns      *turns

	greetedAt atomic.Int64 // by the clock
	begun     time.Time
	fault     atomic.Pointer[string] // of the connections, as the log has it; nil: none
	run       int64                  // when this gateway started, in Unix ns
	about     string                 // its topics begin with that
	examined  chan struct{}          // closed once the broker was examined
	heard     atomic.Bool            // what the broker enforces is known, and enough
	settled   atomic.Bool            // what the broker had kept of what was said has come
	leaving   atomic.Bool            // the gateway ends: nothing waits for the broker
	barriers  barriers
	watches   []func()

	missed  missed
	cleared atomic.Uint64 // retained channel messages
	left    atomic.Uint64 // messages that the broker has dropped, as it says
}

// New returns a bus, which connects in Serve. An error is one of the settings.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) (*Bus, error) {
	l, err := newLogin(opts.Remote, opts.MaxPacketBytes)
	if err != nil {
		return nil, err
	}
	tree := hub.Tree()
	b := &Bus{hub: hub, tree: tree, opts: opts, log: log, noisy: intake.NewThrottle(time.Minute), examined: make(chan struct{}), begun: time.Now()}
	base := opts.BaseTopic
	b.run, b.about = b.begun.UnixNano(), base+"/gateways/"+tree.Gateway()
	b.turns = newTurns(b)
	b.connections(l)
	b.documents = newDocuments(b.control)
	b.documents.refused, b.documents.rewrite = b.denied, b.writeDenied
	b.joins = newJoins(b)
	b.link = hub.AddLink(Protocol, bridge.LinkQueue, bridge.LinkPatience)
	b.link.TakeEverything(b.sayAtOnce)
	if b.neighbours, err = newNeighbours(b); err != nil {
		return nil, err
	}
	b.client.subscribe(&subscription{filter: base + "/channels/+/broadcast/+", qos: 1, handler: b.hear})
	b.client.subscribe(&subscription{filter: base + "/channels/+/send/+/+", qos: 1, handler: b.hear})
	b.control.subscribe(b.joins.subscription)
	for _, s := range []struct { // in one order: a broker that kept a session knows their numbers
		filter  string
		handler func(*received)
	}{
		{b.about + "/hello", b.greeted},
		{b.about + "/status", b.documents.correct},
		{b.about + "/info", b.documents.correct},
		{base + "/members/+/" + tree.Gateway(), b.documents.correct},
	} {
		b.control.subscribe(&subscription{filter: s.filter, qos: 1, handler: s.handler})
	}
	b.control.subscribe(&subscription{filter: "$SYS/broker/publish/messages/dropped", others: true, kept: true, handler: b.brokerSays})
	b.client.subscribe(&subscription{filter: base + "/gateways/+/status", spare: true, atOnce: true, handler: b.turns.told})
	b.barriers.subscribe()
	hub.Directory().OnRemote(opts.Remote.Trust == "acl", func(id bridge.SenderID, may bool) { b.turns.take(clientsTurn(id), may) })
	for _, own := range []string{tree.Status(), tree.Info(), base + "/members/+/" + tree.Gateway()} {
		b.watches = append(b.watches, opts.Own.Watch(own, func(topic string, payload []byte, _ bridge.Client) {
			b.documents.set(topic, payload, 0)
		}))
	}
	return b, nil
}

// connections makes the bus's two clients of the broker. A broker has a queue for each client, which
// is short, and drops what finds no room there. So what is said on channels has a connection of
// its own, and who joins, documents and questions have another one.
func (b *Bus) connections(l login) {
	b.drop = b.dropped
	name, will := l, l
	name.client = "watchtower-" + b.tree.Gateway()
	b.client = newClient(name, b.clock, b.log)
	will.client = "watchtower." + b.tree.Gateway() // which no gateway has as the other one
	will.will = &packets.ConnectParams{WillFlag: true, WillTopic: b.tree.Status(), WillPayload: []byte("offline"), WillQos: 1, WillRetain: true}
	b.control = newClient(will, b.clock, b.log)
	b.control.whole = true
	b.client.beside, b.control.beside = b.control, b.client
	b.client.kept.memory, b.control.kept.memory = b.opts.Memory("said"), b.opts.Memory("control")
	b.barriers.bus = b
	for _, c := range []*client{b.client, b.control} {
		c.dropped, c.deliveries.lost, c.onFault, c.loops = b.drop, b.lose, b.failed, b.opts.Own.Socket
	}
	b.client.onConnect, b.control.onConnect = b.turns.connected, func() {}
	b.client.before, b.client.onUp, b.client.onDown = b.examine, b.up, b.down
	b.control.before, b.control.onUp, b.control.onDown = b.afterwards, b.controlUp, b.controlDown
}

// farewell is how long the gateway's last words may take.
const farewell = time.Second

// Serve carries messages until ctx ends. It fails if the broker cannot be used as it is.
func (b *Bus) Serve(ctx context.Context) error {
	sending, endSending := context.WithCancel(ctx)
	defer endSending()
	life, endLife := context.WithCancel(context.WithoutCancel(ctx))
	defer endLife()
	defer context.AfterFunc(ctx, func() { b.leaving.Store(true) })()
	var own, last sync.WaitGroup
	own.Go(func() { b.link.Run(sending, b.fan) })
	own.Go(func() { b.documents.serve(sending) })
	own.Go(func() { b.joins.serve(sending) })
	own.Go(func() { b.turns.serve(sending) })
	var rival error
	own.Go(func() {
		if rival = b.neighbours.node.Serve(sending); rival != nil {
			endLife()
		}
	})
	last.Go(func() { // what waits at the end is sent before the connections end
		own.Wait()
		b.client.finish(farewell)
		b.control.finish(farewell)
		endLife()
	})
	var clients [2]error
	for i, c := range []*client{b.client, b.control} {
		last.Go(func() {
			if clients[i] = c.serve(life); clients[i] != nil {
				endSending()
				endLife()
			}
		})
	}
	<-life.Done()
	endSending()
	last.Wait()
	b.neighbours.answering.Wait()
	err := errors.Join(clients[0], clients[1], rival)
	for _, end := range b.watches {
		end()
	}
	b.joins.leaveAll()
	b.client.outbox.clear()
	b.control.outbox.clear()
	if b.house != nil {
		b.hub.Holds().Release(b.house.hold)
	}
	return err
}

// Quiesce stops taking what the broker's clients say. It keeps that for the next start, if it
// came at QoS 1.
func (b *Bus) Quiesce(context.Context) {
	b.client.quiet.Store(true)
	b.control.quiet.Store(true)
}

// Healthy returns why the channels are not at the foreign broker now, or nil.
func (b *Bus) Healthy() error {
	for _, c := range []*client{b.client, b.control} {
		if err := c.healthy(); err != nil {
			return fmt.Errorf("the foreign broker (mqtt.remote.url): %w", err)
		}
	}
	err := b.neighbours.fault()
	if topic := b.documents.deniedTopic(); err == nil && topic != "" {
		err = &forbidden{b.control.login.user, "write", topic, 0}
	}
	if err != nil {
		return fmt.Errorf("the foreign broker (mqtt.remote.url): %w", err)
	}
	return nil
}

// Removed counts the retained messages of channels that were removed at the broker.
func (b *Bus) Removed() uint64 { return b.cleared.Load() }

// Dropped counts the messages of all its clients that the broker has dropped, as it says: what
// they lose there the gateway cannot see.
func (b *Bus) Dropped() uint64 { return b.left.Load() }

func (b *Bus) brokerSays(m *received) {
	if n, err := strconv.ParseUint(string(m.payload), 10, 64); err == nil {
		b.left.Store(n)
	}
}

// up is called after the subscriptions of each connection for what is said. It returns once all
// that the broker had kept for them has come.
func (b *Bus) up(ctx context.Context, present bool) error {
	b.log.WithField("broker", b.client.login.address).WithField("mqtt", versionName(b.client.version())).WithField("session_kept", present).Info("connected to the foreign broker")
	b.turns.subscribed()
	if err := b.barriers.pass(ctx, b.client); err != nil {
		return err
	}
	b.settled.Store(true)
	b.fault.Store(nil)
	if lost := b.missed.take(); lost != nil {
		b.log.WithFields(lost).Warn("the foreign broker is back: it did not get these messages, which waited for too long or found no room")
	}
	return nil
}

// controlUp is the same for the other connection. Who had joined while the gateway was away may
// have found no room behind what the broker had kept. So they are asked for once more after that.
func (b *Bus) controlUp(ctx context.Context, present bool) error {
	b.documents.again()
	if present {
		if err := b.barriers.pass(ctx, b.control); err != nil {
			return err
		}
		if err := b.control.again(b.joins.subscription); err != nil {
			return err
		}
	}
	if err := b.barriers.pass(ctx, b.control); err != nil {
		return err
	}
	b.joins.sweep()
	return nil
}

func versionName(v byte) string {
	if v == version5 {
		return "5"
	}
	return "3.1.1"
}

// clock is how long this gateway runs. Nobody sets it.
func (b *Bus) clock() time.Duration { return time.Since(b.begun) }

// failed tells why there is no connection: once, if it is so for both.
func (b *Bus) failed(err error) {
	text := err.Error()
	if last := b.fault.Swap(&text); last == nil || *last != text {
		b.log.WithError(err).WithField("broker", b.client.login.address).Warn("no connection to the foreign broker: the gateway serves its own clients, and tries on")
	}
}

// down is called at the end of each connection.
func (b *Bus) down(error) {
	b.settled.Store(false)
	b.turns.left.Store(b.neighbours.said.Load())
}

// controlDown is the same for the other one. Whoever had joined at the broker counts as gone if it
// is not back soon.
func (b *Bus) controlDown(error) {
	if b.house != nil {
		b.house.online.Store(false)
	}
	b.joins.away()
}

// lose counts a message of the broker for which there was no room.
func (b *Bus) lose(m *received) {
	b.hub.Counters().Drop(Protocol, bridge.LinkFull, 1)
}
