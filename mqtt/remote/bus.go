package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/config"
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
}

// Own is the gateway's own broker, whose documents about the gateway stand at the foreign one
// too.
type Own interface {
	// Watch calls f, in the publisher's goroutine, with each message on a topic.
	Watch(filter string, f func(topic string, payload []byte, from bridge.Client)) (end func())
}

// Bus carries the channels to a foreign broker and back.
type Bus struct {
	hub    *bridge.Hub
	tree   *bridge.Tree
	opts   Options
	log    *logrus.Logger
	noisy  *intake.Throttle
	client *client
	link   *bridge.Link

	documents  *documents
	neighbours *neighbours
	house      *House // nil: none
	joins      *joins

	greetedAt atomic.Int64 // Unix ns
	run       int64        // when this gateway started, in Unix ns
	about     string       // its topics begin with that
	examined  atomic.Bool  // the broker was examined once
	heard     atomic.Bool  // what the broker enforces is known, and enough
	settled   atomic.Bool  // what the broker had kept has come
	leaving   atomic.Bool  // the gateway ends: nothing waits for the broker
	barrier   string       // the topic of the gateway's word to itself
	echo      string       // one whose messages must not come back
	echoed    atomic.Bool  // one did
	word      atomic.Pointer[string]
	agreed    atomic.Bool // a connection was settled: the broker can be used
	barriers  sync.Map    // words that are waited for: a channel for each
	watches   []func()

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
	l.client = "watchtower-" + tree.Gateway()
	l.will = &packets.ConnectParams{WillFlag: true, WillTopic: tree.Status(), WillPayload: []byte("offline"), WillQos: 1, WillRetain: true}
	b := &Bus{hub: hub, tree: tree, opts: opts, log: log, noisy: intake.NewThrottle(time.Minute), client: newClient(l, hub.Now, log)}
	b.documents = newDocuments(b.client)
	b.joins = newJoins(b)
	b.client.dropped = b.dropped
	b.client.before, b.client.onUp, b.client.onDown = b.examine, b.up, b.down
	b.client.deliveries.lost = b.lose
	b.link = hub.AddLink(Protocol, bridge.LinkQueue, bridge.LinkPatience)
	b.link.TakeEverything(b.sayAtOnce)
	base := opts.BaseTopic
	about := base + "/gateways/" + tree.Gateway()
	b.run, b.about = time.Now().UnixNano(), about
	b.barrier, b.echo = about+"/barrier", about+"/echo"
	if b.neighbours, err = newNeighbours(b); err != nil {
		return nil, err
	}
	for _, s := range []struct { // in one order: a broker that kept a session knows their numbers
		filter  string
		handler func(*received)
	}{
		{base + "/channels/+/broadcast/+", b.hear},
		{base + "/channels/+/send/+/+", b.hear},
		{base + "/joins/+", b.joins.heard},
		{about + "/hello", b.greeted},
		{about + "/status", b.documents.correct},
		{about + "/info", b.documents.correct},
		{base + "/members/+/" + tree.Gateway(), b.documents.correct},
	} {
		b.client.subscribe(&subscription{filter: s.filter, qos: 1, handler: s.handler})
	}
	b.client.subscribe(&subscription{filter: "$SYS/broker/publish/messages/dropped", others: true, kept: true, handler: b.brokerSays})
	b.client.subscribe(&subscription{filter: b.echo, qos: 1, handler: func(m *received) {
		if word := b.word.Load(); word != nil && string(m.payload) == *word { // and no other's
			b.echoed.Store(true)
		}
	}})
	b.client.subscribe(&subscription{filter: b.barrier, qos: 1, echo: true, handler: b.passed})
	for _, own := range []string{tree.Status(), tree.Info(), base + "/members/+/" + tree.Gateway()} {
		b.watches = append(b.watches, opts.Own.Watch(own, func(topic string, payload []byte, _ bridge.Client) {
			b.documents.set(topic, payload, 0)
		}))
	}
	return b, nil
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
	var rival error
	own.Go(func() {
		if rival = b.neighbours.node.Serve(sending); rival != nil {
			endLife()
		}
	})
	last.Go(func() { // what waits at the end is sent before the connection ends
		own.Wait()
		b.client.finish(farewell)
		endLife()
	})
	err := b.client.serve(life)
	endSending()
	last.Wait()
	b.neighbours.answering.Wait()
	err = errors.Join(err, rival)
	for _, end := range b.watches {
		end()
	}
	b.joins.leaveAll()
	b.client.outbox.clear()
	if b.house != nil {
		b.hub.Holds().Release(b.house.hold)
	}
	return err
}

// Quiesce stops taking what the broker's clients say. It keeps that for the next start, if it
// came at QoS 1.
func (b *Bus) Quiesce(context.Context) { b.client.quiet.Store(true) }

// Healthy returns why the channels are not at the foreign broker now, or nil.
func (b *Bus) Healthy() error {
	if err := b.client.healthy(); err != nil {
		return fmt.Errorf("the foreign broker (mqtt.remote.url): %w", err)
	}
	if b.client.version() == 0 || !b.settled.Load() {
		return errors.New("the foreign broker (mqtt.remote.url) is not connected yet")
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

// up is called after each connection's subscriptions. It returns once all that the broker had
// kept for them has come.
func (b *Bus) up(ctx context.Context, present bool) error {
	b.log.WithField("broker", b.client.login.address).WithField("mqtt", versionName(b.client.version())).WithField("session_kept", present).Info("connected to the foreign broker")
	b.documents.again()
	return b.settle(ctx)
}

// settle has the broker say a word to the gateway, behind all that it had kept. A word that the
// gateway did not ask for must not come.
func (b *Bus) settle(ctx context.Context) error {
	word, came := rand.Text(), make(chan struct{})
	b.barriers.Store(word, came)
	defer b.barriers.Delete(word)
	b.word.Store(&word)
	b.echoed.Store(false)
	if b.client.version() != version5 { // mosquitto sends a bridge no word of its own at all
		wait(ctx, time.Second)
		b.settled.Store(true)
		b.joins.sweep()
		return nil
	}
	for _, topic := range []string{b.echo, b.barrier} {
		b.client.publish(&publish{topic: []byte(topic), payload: []byte(word), qos: 1}, b.client.said())
	}
	t := time.NewTimer(dialTimeout)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-came:
	case <-t.C:
		b.log.WithField("topic", b.barrier).Warn("the foreign broker does not give the gateway its own message back: see its access rules")
	}
	if b.echoed.Load() && !b.agreed.Load() {
		return ErrNoLocal
	}
	b.agreed.Store(true)
	b.settled.Store(true)
	b.joins.sweep()
	return nil
}

func versionName(v byte) string {
	if v == version5 {
		return "5"
	}
	return "3.1.1"
}

// down is called at the end of each connection. Whoever had joined there counts as gone if the
// broker is not back soon.
func (b *Bus) down(error) {
	b.settled.Store(false)
	if b.house != nil {
		b.house.online.Store(false)
	}
	b.joins.away()
}

// lose counts a message of the broker for which there was no room.
func (b *Bus) lose(m *received) {
	b.hub.Counters().Drop(Protocol, bridge.LinkFull, 1)
}

// passed hears the gateway's word to itself.
func (b *Bus) passed(m *received) {
	if c, waited := b.barriers.LoadAndDelete(string(m.payload)); waited {
		close(c.(chan struct{}))
	}
}
