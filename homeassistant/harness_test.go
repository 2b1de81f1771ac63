package homeassistant_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/homeassistant"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// published is one message on the bus.
type published struct {
	after   time.Duration // since the start of the test
	topic   string
	payload string
	kind    string // own, retained, kept, to and a client's name
}

// bus keeps what is published, and is the hub's bus too.
type bus struct {
	hub   *bridge.Hub
	began time.Time

	mu       sync.Mutex
	all      []published
	retained map[string][]byte
	sent     []string // what senders were sent
	asked    func(string, []byte, bridge.Client)
	until    map[string]time.Time // when a retained message expires
	born     func(string, []byte, bridge.Client)
	removal  func(string, func()) error
	refusal  func(bridge.Refusal)
	clients  []*client
	life     *life
}

// life is that of a gateway that is killed: after so many steps it neither publishes nor writes.
type life struct {
	mu          sync.Mutex
	steps, most int
	mortal      bool
}

// end has the life end after so many steps from now on; with less than none, never.
func (l *life) end(after int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps, l.most, l.mortal = 0, after, after >= 0
}

// taken returns how many steps were to be taken.
func (l *life) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.steps
}

// step counts a step, and reports whether it is still made.
func (l *life) step() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps++
	return !l.mortal || l.steps <= l.most
}

// client is a house on the bus, until it is away.
type client struct {
	bus    *bus
	sender *bridge.Sender
	away   atomic.Bool

	registry *registry // nil: nobody looks at what it hears
}

func (c *client) Sender() *bridge.Sender { return c.sender }
func (c *client) Connected() bool        { return !c.away.Load() }
func (c *client) Publish(topic string, payload []byte) {
	_ = c.bus.note("to "+c.sender.Name(), topic, payload)
}

func (c *client) Repeat(topic string) {
	if payload := c.bus.Retained(topic); len(payload) > 0 {
		c.Publish(topic, payload)
	}
}

func (b *bus) Publish(m *bridge.Message) error {
	if m.Type == bridge.Send {
		b.mu.Lock()
		b.sent = append(b.sent, fmt.Sprintf("%s: %s", m.Name, m.Data))
		b.mu.Unlock()
	}
	return b.hub.Deliver(m, nil)
}

// takeSent returns what senders were sent since it was last called.
func (b *bus) takeSent() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.sent = nil }()
	return b.sent
}

func (b *bus) note(kind, topic string, payload []byte) error {
	if !b.life.step() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.clients {
		if c.registry != nil && c.Connected() && (kind == "to "+c.sender.Name() || !strings.HasPrefix(kind, "to ")) {
			c.registry.receive(topic, payload)
		}
	}
	b.all = append(b.all, published{time.Since(b.began), topic, string(payload), kind})
	if kind == "retained" || kind == "kept" {
		b.retained[topic] = payload
		delete(b.until, topic)
	}
	return nil
}

func (b *bus) PublishOwn(topic string, payload []byte) error { return b.note("own", topic, payload) }
func (b *bus) PublishKept(topic string, payload []byte, lifetime time.Duration) error {
	defer func() {
		if lifetime > 0 {
			b.until[topic] = time.Now().Add(lifetime)
		}
	}()
	return b.note("kept", topic, payload)
}
func (b *bus) Protocol() bridge.Protocol { return viaMQTT }

func (b *bus) PublishRetained(topic string, payload []byte) error {
	return b.note("retained", topic, payload)
}

func (b *bus) Retained(topic string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until, ok := b.until[topic]; ok && time.Now().After(until) {
		return nil
	}
	return b.retained[topic]
}

func (b *bus) Watch(filter string, f func(string, []byte, bridge.Client)) func() {
	if filter == "homeassistant/status" {
		b.born = f
	} else {
		b.asked = f
	}
	return func() {}
}

func (b *bus) Subscribers(string) (all []bridge.Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.clients {
		if c.Connected() {
			all = append(all, c)
		}
	}
	return all
}

func (b *bus) OnRefusal(f func(bridge.Refusal)) { b.refusal = f }

func (b *bus) OnRemoval(f func(string, func()) error) { b.removal = f }

// remove removes a retained message as a client does.
func (b *bus) remove(topic string) error {
	return b.removal(topic, func() { _ = b.note("retained", topic, nil) })
}

// take returns what was published on topics that match since it was last called.
func (b *bus) take(match func(topic string) bool) (some []published) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.all {
		if match(p.topic) {
			some = append(some, p)
		}
	}
	b.all = nil
	return some
}

// memory is a document that outlives a service.
type memory struct {
	document []byte
	fails    error // of Save
	life     *life
}

func (m *memory) Load() ([]byte, error) { return m.document, nil }

func (m *memory) Save(data []byte) error {
	if m.fails == nil && m.life.step() {
		m.document = data
	}
	return m.fails
}

// home is a service on a bus that only listens.
type home struct {
	t   *testing.T
	hub *bridge.Hub
	bus *bus

	options homeassistant.Options
	memory  *memory
	stop    func()
}

func newHome(t *testing.T, name string) *home {
	log := harness.Silent()
	hub, err := bridge.New(bridge.Options{
		Tree: bridge.NewTree("watchtower", name), Log: log, Limits: config.Default().Limits, Senders: config.Default().Senders,
	})
	require.NoError(t, err)
	life := &life{}
	h := &home{t: t, hub: hub, memory: &memory{life: life}, options: homeassistant.Options{HomeAssistant: config.Default().HomeAssistant, Limits: config.Default().Limits}}
	h.bus = &bus{hub: hub, life: life, began: time.Now(), retained: map[string][]byte{}, until: map[string]time.Time{}}
	hub.SetBus(h.bus)
	h.options.Channels = map[bridge.Channel]string{5: "Watering"}
	h.options.HomeAssistantDevices, h.options.Version = 2, "1.2.3"
	return h
}

func (h *home) start() {
	log := harness.Silent()
	s, err := homeassistant.New(h.hub, h.bus, h.memory, h.options, log)
	require.NoError(h.t, err)
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	go func() { _ = s.Serve(ctx); close(done) }()
	h.stop = func() {
		cancel()
		<-done
		for _, c := range h.bus.clients {
			c.away.Store(true)
		}
	}
	synctest.Wait()
}

// house connects a Home Assistant with a client id.
func (h *home) house(name string) *client {
	hold, err := h.hub.Holds().Register(bridge.Naming{Name: name}, func() {})
	require.NoError(h.t, err)
	c := &client{bus: h.bus, sender: hold.Sender()}
	h.bus.mu.Lock()
	defer h.bus.mu.Unlock()
	h.bus.clients = append(h.bus.clients, c)
	return c
}

// birth sends the birth message of a house that has just connected.
func (h *home) birth() *client {
	c := h.house("homeassistant")
	h.birthOf(c)
	return c
}

func (h *home) birthOf(c *client) { h.bus.born("homeassistant/status", []byte("online"), c) }

// sender registers one and joins it to channel 5.
func (h *home) sender(name string) (id bridge.SenderID, say func(string)) {
	hold, err := h.hub.Holds().Register(bridge.Naming{Name: name, Lasting: true}, func() {})
	require.NoError(h.t, err)
	s := hold.Sender()
	require.NoError(h.t, h.hub.Attach(s, 5, &bridge.Attachment{Via: viaUDP, Broadcasts: true, Sends: true}))
	return s.ID(), func(text string) {
		_, err := h.hub.Publish(s, bridge.Publication{Channels: []bridge.Channel{5}, Content: bridge.Content{Data: []byte(text)}, Via: viaUDP})
		require.NoError(h.t, err)
	}
}
