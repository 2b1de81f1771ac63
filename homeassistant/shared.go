package homeassistant

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// LeaseName is the name of the lease of what Home Assistant is told.
const LeaseName = "ha"

// Shared keeps Home Assistant informed in a space of gateways: a Service for as long as this
// gateway has the lease. Home Assistant sees one device for the space, whose name the tree has.
// The gateway to which a Home Assistant is connected wants the lease.
type Shared struct {
	hub    *bridge.Hub
	tree   *bridge.Tree
	bus    Bus
	local  Memory // of a time when the gateway was alone
	leases bridge.Leases
	log    *logrus.Logger
	tap    *bridge.Link // nil: no channel is announced here, so this gateway does not take the lease

	now atomic.Pointer[tenure]

	hearing sync.Mutex
	recent  []*bridge.Message // that came while another gateway had the lease, or none

	mu     sync.Mutex
	opts   Options
	houses map[bridge.SenderID]bridge.Client // those that were born here
}

// tenure is the time of a lease.
type tenure struct {
	*Service
	lease bridge.Lease
}

// NewShared returns what keeps Home Assistant informed, by a bus whose own messages reach the
// clients of all gateways. It is called before the first message.
func NewShared(hub *bridge.Hub, tree *bridge.Tree, bus Bus, local Memory, leases bridge.Leases, opts Options, log *logrus.Logger) *Shared {
	opts.Pace = opts.orUsual()
	h := &Shared{hub: hub, tree: tree, bus: bus, local: local, leases: leases, opts: opts, log: log, houses: map[bridge.SenderID]bridge.Client{}}
	if len(opts.Channels) > 0 {
		h.tap = hub.AddTap(0, cmp.Or(opts.Queue, mirrorQueue), mirrorBytes, func(m *bridge.Message) bool {
			_, asked := opts.Channels[m.Channel]
			return asked
		})
	}
	return h
}

// housesEvery is the time between two looks at whether a Home Assistant is still connected.
const housesEvery = time.Second

// Serve works until ctx ends, and returns when all that it started has ended.
func (h *Shared) Serve(ctx context.Context) error {
	var own sync.WaitGroup
	defer own.Wait()
	defer h.bus.Watch(h.opts.BirthTopic, h.onBirth)()
	h.rest()
	if h.tap == nil { // it would withdraw what others announce
		h.bus.OnRemoval(func(_ string, remove func()) error { remove(); return nil })
		<-ctx.Done()
		return nil
	}
	own.Go(func() { h.tap.Run(ctx, h.hear) })
	own.Go(func() { h.follow(ctx) })
	h.leases.Run(ctx, LeaseName, false, func(life context.Context, lease bridge.Lease) {
		if err := h.serve(life, lease); err != nil {
			h.log.WithError(err).Warn("Home Assistant: what it knows cannot be read now: trying again")
			pause(life, time.Second)
		}
		h.rest()
	})
	<-ctx.Done()
	return nil
}

// rest is the state of a gateway that does not have the lease.
func (h *Shared) rest() {
	h.now.Store(nil)
	h.bus.OnRemoval(func(string, func()) error { return h.notHere() })
	h.bus.OnRefusal(func(bridge.Refusal) {})
}

var errNobody = errors.New("no gateway tells Home Assistant just now, so none can remove this device: try again in a moment")

// notHere says which gateway can remove a device.
func (h *Shared) notHere() error {
	for _, l := range h.leases.Holders() {
		if l.Name != LeaseName {
			continue
		}
		name := fmt.Sprint("slot ", l.Slot)
		for _, o := range h.hub.Peers().Others() {
			if o.Slot == l.Slot {
				name = o.Name
			}
		}
		return fmt.Errorf("the gateway %s announces this device: remove it there", name)
	}
	return errNobody
}

// serve keeps Home Assistant informed while the lease is held.
func (h *Shared) serve(life context.Context, lease bridge.Lease) error {
	h.mu.Lock()
	opts := h.opts
	h.mu.Unlock()
	bus := &leasedBus{Bus: h.bus, lease: lease}
	s, err := build(h.hub, h.tree, bus, leasedMemory{life, lease, h.local, h.log}, opts, h.log)
	if err != nil {
		return err
	}
	s.tap, s.shared = h.tap, true
	h.makeUp(s, bus, lease)
	h.mu.Lock()
	for _, c := range h.houses {
		s.onBirth(opts.BirthTopic, []byte(saysOnline), c)
	}
	h.mu.Unlock()
	return s.Serve(life)
}

// What is kept of what came while this gateway did not have the lease: nobody has it for some 10 s
// if its holder died.
const (
	recentFor  = 20 * time.Second
	recentMost = 256
)

// makeUp makes a service the one of this time. First it hears what was said lately: maybe nobody
// had the lease then. So states are right; events, which count once, are not told late or twice.
func (h *Shared) makeUp(s *Service, bus *leasedBus, lease bridge.Lease) {
	h.hearing.Lock()
	defer h.hearing.Unlock()
	bus.silent.Store(true)
	for _, m := range h.recent {
		if h.hub.Now().Sub(m.Time) < recentFor {
			s.take(m)
		}
	}
	bus.silent.Store(false)
	h.recent = nil
	h.now.Store(&tenure{s, lease})
}

// hear gives messages to the service of this time.
func (h *Shared) hear(jobs []bridge.Job) {
	h.hearing.Lock()
	defer h.hearing.Unlock()
	if s := h.now.Load(); s != nil && s.lease.Held() {
		s.hear(jobs)
		return
	}
	for _, j := range jobs { // whoever has the lease mirrors them
		h.recent = append(h.recent, j.Message)
		j.Done(h.hub.Counters(), h.tap.Protocol(), 0, 0)
	}
	if len(h.recent) > 2*recentMost {
		h.recent = slices.Clone(h.recent[len(h.recent)-recentMost:])
	}
}

// onBirth notes that a Home Assistant is connected here, which is why this gateway wants the lease.
func (h *Shared) onBirth(_ string, payload []byte, from bridge.Client) {
	if from == nil || string(payload) != saysOnline {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.houses) < housesMost {
		h.houses[from.Sender().ID()] = from
	}
	h.leases.Prefer(LeaseName, true)
}

// follow gives the wish for the lease up when no Home Assistant is connected here any more.
func (h *Shared) follow(ctx context.Context) {
	for pause(ctx, housesEvery) {
		h.mu.Lock()
		before := len(h.houses)
		maps.DeleteFunc(h.houses, func(_ bridge.SenderID, c bridge.Client) bool { return !c.Connected() })
		if before > 0 && len(h.houses) == 0 {
			h.leases.Prefer(LeaseName, false)
		}
		h.mu.Unlock()
	}
}

// Rename is Service's.
func (h *Shared) Rename(names map[bridge.Channel]string) {
	h.mu.Lock()
	h.opts.Channels = names
	h.mu.Unlock()
	if s := h.now.Load(); s != nil {
		s.Rename(names)
	}
}

// Snapshot is Service's. A gateway that does not have the lease has announced nothing.
func (h *Shared) Snapshot() Snapshot {
	if s := h.now.Load(); s != nil {
		return s.Snapshot()
	}
	return Snapshot{}
}

// Quiesce is Service's.
func (h *Shared) Quiesce(ctx context.Context) {
	if s := h.now.Load(); s != nil {
		s.Quiesce(ctx)
	}
}

// leasedBus publishes while a lease is held.
type leasedBus struct {
	Bus
	lease  bridge.Lease
	silent atomic.Bool // what is not retained is not published
}

var errNoLease = errors.New("another gateway may tell Home Assistant now")

func (b *leasedBus) PublishOwn(topic string, payload []byte) error {
	if !b.lease.Held() {
		return errNoLease
	}
	if b.silent.Load() {
		return nil
	}
	return b.Bus.PublishOwn(topic, payload)
}

func (b *leasedBus) PublishRetained(topic string, payload []byte) error {
	if !b.lease.Held() {
		return errNoLease
	}
	return b.Bus.PublishRetained(topic, payload)
}

func (b *leasedBus) PublishKept(topic string, payload []byte, lifetime time.Duration) error {
	if !b.lease.Held() {
		return errNoLease
	}
	return b.Bus.PublishKept(topic, payload, lifetime)
}

// leasedMemory keeps what Home Assistant may know where the next holder of the lease finds it,
// compressed.
type leasedMemory struct {
	life  context.Context // of the lease
	lease bridge.Lease
	local Memory
	log   *logrus.Logger
}

// Load returns what the last holder left, with what this gateway has announced when it was alone: so
// that is withdrawn.
func (m leasedMemory) Load() ([]byte, error) {
	packed, err := m.lease.Load(m.life)
	if err != nil {
		return nil, err
	}
	var left []byte
	if len(packed) > 0 {
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		if left, err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	alone, err := m.local.Load()
	if err != nil || len(alone) == 0 {
		return left, err
	}
	if len(left) == 0 {
		return alone, nil
	}
	var both, own known
	if json.Unmarshal(left, &both) != nil || json.Unmarshal(alone, &own) != nil {
		return left, nil
	}
	for topic, d := range own.Topics {
		if _, there := both.Topics[topic]; !there && both.Topics != nil {
			both.Topics[topic] = d
		}
	}
	for name, house := range own.Houses {
		if _, there := both.Houses[name]; !there && both.Houses != nil {
			both.Houses[name] = house
		}
	}
	both.Retained = append(both.Retained, own.Retained...)
	return encode(both), nil
}

// Save leaves a document to the next holder.
func (m leasedMemory) Save(document []byte) error {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(document)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(m.life), saveFor)
	defer cancel()
	if err := m.lease.Save(last, packed.Bytes()); err != nil {
		return err
	}
	if alone, err := m.local.Load(); err == nil && len(alone) > 0 {
		return m.local.Save(nil)
	}
	return nil
}

const saveFor = 2 * time.Second
