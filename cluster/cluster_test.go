package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/cluster"
	"watchtower/config"
	"watchtower/internal/harness"
)

var viaTest = bridge.NewProtocol("test")

// wire carries frames between the nodes of a test, as badly as the test says.
type wire struct {
	mu     sync.Mutex
	nodes  map[bridge.Slot]*gateway
	cut    map[[2]bridge.Slot]bool // pairs that do not hear each other
	lose   int                     // in a hundred frames
	repeat int
	late   int
	random *rand.Rand

	frames atomic.Int64 // so far
}

var errCut = errors.New("cut")

func newWire() *wire {
	return &wire{nodes: map[bridge.Slot]*gateway{}, cut: map[[2]bridge.Slot]bool{}, random: rand.New(rand.NewPCG(1, 2))}
}

// between makes two gateways hear each other, or not.
func (w *wire) between(a, b bridge.Slot, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]bridge.Slot{a, b}], w.cut[[2]bridge.Slot{b, a}] = cut, cut
}

func (w *wire) set(lose, repeat, late int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose, w.repeat, w.late = lose, repeat, late
}

// plug is one gateway's end of the wire.
type plug struct {
	harness.Pump
	*wire
	own bridge.Slot
}

// node returns a node at the wire.
func (w *wire) node(hub *bridge.Hub, at bridge.Slot, opts cluster.Options) *cluster.Node {
	p := &plug{wire: w, own: at}
	opts.Run = uint64(time.Now().UnixNano())
	node := cluster.New(hub, p, opts, harness.Silent())
	p.Next, p.Send = node.Next, p.carry
	return node
}

func (p *plug) carry(b []byte) {
	p.frames.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	b = slices.Clone(b)
	for slot, g := range p.nodes {
		if slot == p.own || p.cut[[2]bridge.Slot{p.own, slot}] || p.random.IntN(100) < p.lose {
			continue
		}
		if p.random.IntN(100) < p.late {
			time.AfterFunc(time.Duration(p.random.IntN(300))*time.Millisecond, func() { g.node.Take(b) })
			continue
		}
		g.node.Take(b)
		if p.random.IntN(100) < p.repeat {
			g.node.Take(b)
		}
	}
}

func (p *plug) Request(_ context.Context, to bridge.Slot, request []byte, patience time.Duration) ([]byte, error) {
	p.mu.Lock()
	g, cut := p.nodes[to], p.cut[[2]bridge.Slot{p.own, to}]
	lost := p.random.IntN(100) < p.lose
	p.mu.Unlock()
	if g == nil || cut || lost {
		time.Sleep(patience)
		return nil, errCut
	}
	return g.node.Answer(request), nil
}

func (p *plug) Ask(ctx context.Context, to bridge.Slot, question []byte, patience time.Duration) ([]byte, error) {
	p.mu.Lock()
	g, cut := p.nodes[to], p.cut[[2]bridge.Slot{p.own, to}]
	p.mu.Unlock()
	if g == nil || cut {
		time.Sleep(patience)
		return nil, errCut
	}
	return g.node.AnswerBus(question), nil
}

// gateway is a hub with a node, and members who note what they hear.
type gateway struct {
	t    *testing.T
	slot bridge.Slot
	hub  *bridge.Hub
	node *cluster.Node
	stop func()

	mu     sync.Mutex
	heard  []string
	topics []bridge.TopicMessage // that other gateways' clients said
}

// start starts the gateway of a slot.
func (w *wire) start(t *testing.T, slot bridge.Slot) *gateway {
	g := &gateway{t: t, slot: slot}
	name := fmt.Sprintf("g%d", slot)
	var bus *harness.Loopback
	g.hub, bus = harness.Hub(t, viaTest, bridge.Options{Tree: bridge.NewTree("w", name), Limits: config.Limits{MessageBytes: 1 << 20}, IDKey: []byte("one space"), Slot: slot})
	g.hub.SetBus(topicBus{bus, g})
	link := g.hub.AddLink(viaTest, bridge.LinkQueue, bridge.LinkPatience)
	g.node = w.node(g.hub, slot, cluster.Options{Slot: slot, Name: name})
	ctx, cancel := context.WithCancel(context.Background())
	linkLife, endLink := context.WithCancel(context.Background())
	var parts, links sync.WaitGroup
	links.Go(func() { link.Run(linkLife, g.fan) })
	w.mu.Lock()
	w.nodes[slot] = g
	w.mu.Unlock()
	parts.Go(func() { assert.NoError(t, g.node.Serve(ctx)) })
	g.stop = func() {
		cancel()
		parts.Wait()
		w.mu.Lock()
		delete(w.nodes, slot)
		w.mu.Unlock()
		endLink()
		links.Wait()
	}
	return g
}

func (g *gateway) fan(jobs []bridge.Job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, j := range jobs {
		m := j.Message
		for _, a := range j.To {
			if a.Wants(m) {
				g.heard = append(g.heard, fmt.Sprintf("%s<%s %s", a.Sender().Name(), m.Name, m.Data))
			}
		}
		j.Done(g.hub.Counters(), viaTest, len(j.To), 0)
	}
}

// hears returns what a member heard since it was last asked.
func (g *gateway) hears(who string) (all []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, line := range g.heard {
		if to, what, _ := strings.Cut(line, "<"); to == who {
			all = append(all, what)
		}
	}
	g.heard = nil
	return all
}

// device joins a named device to channels.
func (g *gateway) device(name string, channels ...bridge.Channel) *bridge.Device {
	d := bridge.NewDevice(g.hub, viaTest, true, nil)
	wait, err := d.RegisterName(name, bridge.Unproved, func() {})
	require.NoError(g.t, err)
	if wait != nil {
		require.NoError(g.t, wait())
	}
	require.NoError(g.t, d.Join(channels...))
	return d
}

func (g *gateway) say(d *bridge.Device, c bridge.Channel, text string, to ...bridge.SenderID) error {
	p := bridge.Publication{Channels: []bridge.Channel{c}, Content: bridge.Content{Data: []byte(text)}, Via: viaTest, Wait: true}
	if len(to) > 0 {
		p.Type, p.Receivers = bridge.Send, to
	}
	_, err := g.hub.Publish(d.Sender(), p)
	return err
}

func (g *gateway) members(d *bridge.Device, c bridge.Channel) (names []string) {
	ms, ok := g.hub.Directory().Members(d.Sender(), c)
	require.True(g.t, ok)
	assert.Len(g.t, ms.Members, ms.Count)
	for _, m := range ms.Members {
		assert.Equal(g.t, "test", m.Via)
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

func TestSeveralGatewaysAreOneSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, b := w.start(t, 1), w.start(t, 2)
		lamp := b.device("lamp", 5)
		time.Sleep(2 * time.Second)
		c := w.start(t, 3) // it asks for members of before
		time.Sleep(2 * time.Second)
		door, bell := a.device("door", 5, 6), c.device("bell", 5)
		synctest.Wait()
		for _, g := range []struct {
			*gateway
			d *bridge.Device
		}{{a, door}, {b, lamp}, {c, bell}} {
			assert.Equal(t, []string{"bell", "door", "lamp"}, g.members(g.d, 5))
		}
		require.NoError(t, a.say(door, 5, "open"))
		require.NoError(t, c.say(bell, 5, "to lamp alone", lamp.Sender().ID()))
		synctest.Wait()
		assert.ElementsMatch(t, []string{"door open", "bell to lamp alone"}, b.hears("lamp"))
		assert.Equal(t, []string{"door open"}, c.hears("bell"))
		assert.Empty(t, a.hears("door"))

		id, err := a.hub.Receiver("lamp")
		require.Nil(t, err)
		assert.Equal(t, lamp.Sender().ID(), id)
		assert.ErrorContains(t, a.say(door, 6, "not there", id), "has not joined channel 6")
		lamp.Leave(5)
		synctest.Wait()
		assert.ErrorContains(t, a.say(door, 5, "left", id), "has not joined")
		assert.Equal(t, []string{"bell", "door"}, a.members(door, 5))

		c.stop()
		synctest.Wait()
		assert.Equal(t, []string{"door"}, a.members(door, 5), "it said goodbye")
		a.stop()
		b.stop()
	})
}

func TestAGatewayThatIsGoneHasNoMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, b := w.start(t, 1), w.start(t, 2)
		door, lamp := a.device("door", 5), b.device("lamp", 5)
		time.Sleep(2 * time.Second)
		assert.Equal(t, []string{"door", "lamp"}, a.members(door, 5))
		w.between(1, 2, true)
		time.Sleep(4 * time.Second)
		assert.Equal(t, []string{"door", "lamp"}, a.members(door, 5), "it may be back")
		time.Sleep(3 * time.Second)
		assert.Equal(t, []string{"door"}, a.members(door, 5))
		for i := range 10 {
			require.NoError(t, a.say(door, 5, fmt.Sprint(i)))
		}
		assert.Error(t, a.say(door, 5, "nobody", lamp.Sender().ID()))
		time.Sleep(time.Second)
		w.between(1, 2, false)
		time.Sleep(3 * time.Second)
		assert.Equal(t, []string{"door", "lamp"}, a.members(door, 5))
		assert.Len(t, b.hears("lamp"), 10, "what was said meanwhile")
		assert.EqualValues(t, 10, b.node.Others()[0].Resent)
		a.stop()
		b.stop()
	})
}

// Nothing is lost, doubled or put out of order, however bad the wire is.
func TestNothingIsLostOnABadWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		var all []*gateway
		var devices []*bridge.Device
		for slot := bridge.Slot(1); slot <= 3; slot++ {
			all = append(all, w.start(t, slot))
		}
		for i, g := range all {
			devices = append(devices, g.device(fmt.Sprintf("d%d", i), 5))
		}
		time.Sleep(3 * time.Second)
		w.set(20, 20, 20)
		const n = 2000
		var speaking sync.WaitGroup
		for i, g := range all {
			speaking.Go(func() {
				for k := range n {
					assert.NoError(t, g.say(devices[i], 5, fmt.Sprint(k)))
					time.Sleep(time.Millisecond)
				}
			})
		}
		speaking.Wait()
		w.set(0, 0, 0)
		time.Sleep(5 * time.Second)
		for i, g := range all {
			next := map[string]int{}
			for _, line := range g.hears(fmt.Sprintf("d%d", i)) {
				who, what, _ := strings.Cut(line, " ")
				require.Equal(t, fmt.Sprint(next[who]), what, "of %s at %d", who, i)
				next[who]++
			}
			require.Len(t, next, 2)
			for who, got := range next {
				assert.Equal(t, n, got, "of %s at %d", who, i)
			}
			for _, p := range g.node.Others() {
				assert.Zero(t, p.Lost)
				assert.Positive(t, p.Resent, "the wire was good")
				assert.Positive(t, p.Repeated)
			}
		}
		for _, g := range all {
			g.stop()
		}
	})
}

// What is not kept any more is counted, and the members are right afterwards.
func TestWhatIsNotKeptIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, b := w.start(t, 1), w.start(t, 2)
		door := a.device("door", 5)
		lamp := b.device("lamp", 5)
		time.Sleep(2 * time.Second)
		w.between(1, 2, true)
		const n, size = 40, 1 << 20
		for i := range n { // more than 16 MiB
			require.NoError(t, a.say(door, 5, strings.Repeat("x", size-10)+fmt.Sprintf("%010d", i)))
		}
		gone := a.device("late", 5)
		gone.Leave(5)
		a.device("later", 5)
		synctest.Wait()
		w.between(1, 2, false)
		time.Sleep(5 * time.Second)
		p := b.node.Others()[0]
		got := b.hears("lamp")
		assert.EqualValues(t, n, int(p.Lost)+len(got))
		assert.Positive(t, p.Lost)
		assert.Greater(t, len(got), 12)
		assert.True(t, strings.HasSuffix(got[len(got)-1], fmt.Sprintf("%010d", n-1)))
		assert.Equal(t, []string{"door", "lamp", "later"}, b.members(lamp, 5))
		a.stop()
		b.stop()
	})
}

func TestTwoGatewaysWithOneSlotOrName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a := w.start(t, 1)
		time.Sleep(time.Second)
		hub, _ := harness.Hub(t, viaTest, bridge.Options{Tree: bridge.NewTree("w", "late")})
		ghost := w.node(hub, 9, cluster.Options{Slot: 1, Name: "late"})
		w.mu.Lock()
		w.nodes[9] = &gateway{node: ghost}
		w.mu.Unlock()
		begun := time.Now()
		err := ghost.Serve(context.Background())
		require.ErrorIs(t, err, cluster.ErrRival)
		assert.ErrorContains(t, err, "cluster.slot: 1 is g1's")
		assert.Less(t, time.Since(begun), 10*time.Second)

		hub, _ = harness.Hub(t, viaTest, bridge.Options{Tree: bridge.NewTree("w", "g1")})
		double := w.node(hub, 9, cluster.Options{Slot: 9, Name: "g1"})
		w.mu.Lock()
		w.nodes[9] = &gateway{node: double}
		w.mu.Unlock()
		assert.ErrorContains(t, double.Serve(context.Background()), "slot 1 has the name g1, too")
		w.mu.Lock()
		delete(w.nodes, 9)
		w.mu.Unlock()
		a.stop()
	})
}
