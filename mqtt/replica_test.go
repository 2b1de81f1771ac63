package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/cluster"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt"
)

// space is what gateways have in common in a test: a wire and a store, both as bad as the test
// says.
type space struct {
	mu     sync.Mutex
	nodes  map[bridge.Slot]*spaced
	cut    map[[2]bridge.Slot]bool // pairs that do not hear each other
	apart  map[bridge.Slot]bool    // those that do not reach the store
	lose   int                     // in a hundred frames
	rows   []spaceRow              // of the store, in the order of writes
	random *rand.Rand
}

type spaceRow struct {
	b  []byte
	at time.Time
}

func (r spaceRow) message() *bridge.TopicMessage { return cluster.DecodeTopic(r.b, r.at) }

func newSpace(seed uint64) *space {
	return &space{nodes: map[bridge.Slot]*spaced{}, cut: map[[2]bridge.Slot]bool{}, apart: map[bridge.Slot]bool{}, random: rand.New(rand.NewPCG(seed, 1))}
}

type spacePlug struct {
	harness.Pump
	*space
	own bridge.Slot
}

func (p *spacePlug) carry(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b = slices.Clone(b)
	for slot, g := range p.nodes {
		if slot != p.own && !p.cut[[2]bridge.Slot{p.own, slot}] && p.random.IntN(100) >= p.lose {
			time.AfterFunc(time.Duration(p.random.IntN(20))*time.Millisecond, func() { g.node.Take(b) })
		}
	}
}

func (p *spacePlug) Request(_ context.Context, to bridge.Slot, request []byte, patience time.Duration) ([]byte, error) {
	return p.ask(to, patience, func(n *cluster.Node) []byte { return n.Answer(request) })
}

func (p *spacePlug) Ask(_ context.Context, to bridge.Slot, question []byte, patience time.Duration) ([]byte, error) {
	return p.ask(to, patience, func(n *cluster.Node) []byte { return n.AnswerBus(question) })
}

func (p *spacePlug) ask(to bridge.Slot, patience time.Duration, answer func(*cluster.Node) []byte) ([]byte, error) {
	p.mu.Lock()
	g, cut := p.nodes[to], p.cut[[2]bridge.Slot{p.own, to}]
	p.mu.Unlock()
	if g == nil || cut {
		time.Sleep(patience)
		return nil, errors.New("cut")
	}
	return answer(g.node), nil
}

// memory is a disk that outlives its gateway. Once it is frozen, nothing is written.
type memory struct {
	mu     sync.Mutex
	rows   map[string][]byte
	frozen bool
}

func (d *memory) Load(each func(t mqtt.Table, key, value []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(d.rows)) {
		if err := each(mqtt.Table(k[0]), []byte(k[1:]), slices.Clone(d.rows[k])); err != nil {
			return err
		}
	}
	return nil
}

func (d *memory) Commit(rows []mqtt.Row) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rows {
		k := string(rune(r.Table)) + string(r.Key)
		switch {
		case d.frozen:
		case r.Value == nil:
			delete(d.rows, k)
		default:
			d.rows[k] = r.Value
		}
	}
	return nil
}

// spaced is a gateway of a space.
type spaced struct {
	t      *testing.T
	space  *space
	slot   bridge.Slot
	hub    *bridge.Hub
	broker *mqtt.Broker
	node   *cluster.Node
	disk   *memory
	me     *bridge.Sender
	stop   func()

	mu     sync.Mutex
	last   map[string]string // what a subscriber to everything heard last, by topic
	newest map[string]int    // the largest number that it heard
}

// start starts a gateway with a disk; nil: a new one. It is alone if its slot is 0.
func (s *space) start(t *testing.T, slot bridge.Slot, disk *memory, change func(*mqtt.Options)) *spaced {
	if disk == nil {
		disk = &memory{rows: map[string][]byte{}}
	}
	disk.frozen = false
	g := &spaced{t: t, space: s, slot: slot, disk: disk, last: map[string]string{}, newest: map[string]int{}}
	name := fmt.Sprintf("g%d", slot)
	settings := config.Default()
	var err error
	g.hub, err = bridge.New(bridge.Options{Limits: settings.Limits, Senders: settings.Senders, Tree: bridge.NewTree("watchtower", name), Log: harness.Silent(), Slot: slot})
	require.NoError(t, err)
	if slot != 0 {
		end := &spacePlug{space: s, own: slot}
		g.node = cluster.New(g.hub, end, cluster.Options{Slot: slot, Name: name, Run: uint64(time.Now().UnixNano())}, harness.Silent())
		end.Next, end.Send = g.node.Next, end.carry
	}
	opts := mqtt.Options{MQTT: settings.MQTT, Limits: settings.Limits, Store: disk}
	opts.Listen = ""
	opts.WithoutLoops()
	if change != nil {
		change(&opts)
	}
	log := logrus.New()
	log.SetOutput(t.Output())
	g.broker, err = mqtt.New(g.hub, opts, log)
	require.NoError(t, err)
	g.hub.SetBus(g.broker)
	end := g.broker.Watch("#", func(topic string, payload []byte, _ bridge.Client) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.last[topic] = string(payload)
		if n, err := strconv.Atoi(string(payload)); err == nil {
			assert.Less(t, g.newest[topic], n, "%s at g%d goes back", topic, slot)
			g.newest[topic] = n
		}
	})
	reg, err := g.hub.Register(bridge.Registration{})
	require.NoError(t, err)
	g.me, _ = g.hub.Tokens().Sender(reg.Token)
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { assert.NoError(t, g.broker.Serve(ctx)) })
	if slot != 0 {
		s.mu.Lock()
		s.nodes[slot] = g
		s.mu.Unlock()
		parts.Go(func() { assert.NoError(t, g.node.Serve(ctx)) })
		parts.Go(func() { g.follow(ctx) })
	}
	g.stop = func() {
		s.mu.Lock()
		delete(s.nodes, slot)
		s.mu.Unlock()
		cancel()
		parts.Wait()
		end()
	}
	return g
}

// kill ends a gateway without a goodbye or a last write.
func (g *spaced) kill() {
	g.disk.mu.Lock()
	g.disk.frozen = true
	g.disk.mu.Unlock()
	g.stop()
}

// follow does with the store what cluster/nats does with the servers.
func (g *spaced) follow(ctx context.Context) {
	s := g.space
	reaches := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.apart[g.slot]
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	heard, begun := 0, false
	var seen []time.Time
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !reaches() {
			continue
		}
		if !begun {
			begun = true
			g.broker.BeginRetained("home")
			s.mu.Lock()
			rows := slices.Clone(s.rows)
			s.mu.Unlock()
			for _, row := range rows { // the newest of a topic is enough, but all are right too
				g.broker.LearnRetained(row.message())
			}
			heard = len(rows)
			seen = make([]time.Time, heard)
		}
		g.broker.RetainedInStep()
		for _, m := range g.broker.UnwrittenRetained(1000) {
			row := spaceRow{cluster.EncodeTopic(m, time.Now()), time.Now()}
			s.mu.Lock()
			s.rows = append(s.rows, row)
			s.mu.Unlock()
		}
		s.mu.Lock()
		for len(seen) < len(s.rows) {
			seen = append(seen, time.Now())
		}
		rows := s.rows
		s.mu.Unlock()
		for ; heard < len(seen) && time.Since(seen[heard]) >= 2*time.Second; heard++ {
			g.broker.LearnRetained(rows[heard].message())
		}
	}
}

// retains publishes a retained message; an empty one removes it.
func (g *spaced) retains(topic, payload string) {
	assert.NoError(g.t, g.broker.PublishAs(g.t.Context(), g.me, mqtt.Publication{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true}))
}

func (g *spaced) retained() map[string]string {
	all := map[string]string{}
	page, _ := g.broker.Levels("own/", "", 1000)
	for _, l := range page {
		if l.Retained != nil {
			all["own/"+l.Name] = string(l.Retained.Payload)
		}
	}
	return all
}

// heard is what a subscriber to everything heard last, by topic.
func (g *spaced) heard() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.last)
}

// inStep checks that what a subscriber heard last of each topic is what is retained.
func (g *spaced) inStep() {
	g.t.Helper()
	have := g.retained()
	for topic, payload := range g.heard() {
		assert.Equal(g.t, have[topic], payload, "%s at g%d: what a subscriber hears last is what is retained", topic, g.slot)
	}
}

// Whatever happens between gateways, to the store and to gateways, in the end all have the same,
// and so has one that comes then.
func TestRetainedMessagesConverge(t *testing.T) {
	const topics = 30
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpace(seed)
				random := rand.New(rand.NewPCG(seed, 2))
				all := map[bridge.Slot]*spaced{}
				for slot := bridge.Slot(1); slot <= 3; slot++ {
					all[slot] = s.start(t, slot, nil, nil)
				}
				time.Sleep(3 * time.Second)
				said := 0
				for range 400 {
					slot := bridge.Slot(1 + random.IntN(3))
					g, other := all[slot], 1+slot%3
					switch random.IntN(20) {
					case 0:
						s.mu.Lock()
						s.cut[[2]bridge.Slot{slot, other}] = !s.cut[[2]bridge.Slot{slot, other}]
						s.cut[[2]bridge.Slot{other, slot}] = s.cut[[2]bridge.Slot{slot, other}]
						s.mu.Unlock()
					case 1:
						s.mu.Lock()
						s.apart[slot] = !s.apart[slot]
						s.mu.Unlock()
					case 2:
						s.mu.Lock()
						s.lose = random.IntN(50)
						s.mu.Unlock()
					case 3:
						g.kill()
						all[slot] = s.start(t, slot, g.disk, nil)
					default:
						said++
						payload := fmt.Sprint(said)
						if random.IntN(4) == 0 {
							payload = ""
						}
						g.retains(fmt.Sprint("own/", random.IntN(topics)), payload)
					}
					time.Sleep(time.Duration(1+random.IntN(400)) * time.Millisecond)
				}
				s.mu.Lock()
				clear(s.cut)
				clear(s.apart)
				s.lose = 0
				s.mu.Unlock()
				time.Sleep(time.Minute)
				want := all[1].retained()
				late := s.start(t, 4, nil, nil)
				time.Sleep(10 * time.Second)
				for _, g := range []*spaced{all[1], all[2], all[3], late} {
					assert.Equal(t, want, g.retained(), "at g%d", g.slot)
					g.inStep()
				}
				for topic := range topics { // now the last one wins
					topic := fmt.Sprint("own/", topic)
					for i, slot := range []bridge.Slot{1, 2, 3, 1} {
						all[slot].retains(topic, fmt.Sprint("new ", i))
						time.Sleep(50 * time.Millisecond)
					}
					want[topic] = "new 3"
				}
				time.Sleep(time.Minute)
				for _, g := range []*spaced{all[1], all[2], all[3], late} {
					assert.Equal(t, want, g.retained(), "at g%d", g.slot)
					g.inStep()
					g.stop()
				}
			})
		})
	}
}
