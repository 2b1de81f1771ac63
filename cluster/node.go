package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// Transport carries frames between gateways. It may lose, repeat and delay them.
type Transport interface {
	// Wake has the frames sent that wait in the node, to all other gateways: by a round of a
	// goroutine that never waits, or soon if r is nil. It waits for nothing.
	Wake(r *outbound.Round)
	// Request asks one gateway, and returns its answer.
	Request(ctx context.Context, to bridge.Slot, request []byte, patience time.Duration) ([]byte, error)
	// Ask asks one gateway's bus, and returns its answer. An error comes only after patience if
	// nobody has the question.
	Ask(ctx context.Context, to bridge.Slot, question []byte, patience time.Duration) ([]byte, error)
}

// Options of a Node.
type Options struct {
	Slot bridge.Slot // the gateway's, from 1
	Name string      // the gateway's, in topics
	Run  uint64      // of this start: larger than that of the one before
	Ring int         // bytes of frames that are kept for those who missed them; 0: 16 MiB
}

const (
	ringBytes = 16 << 20
	beat      = time.Second // between two heartbeats
	tellEvery = 256 << 10   // bytes of others' entries, after which they are told how far this gateway is
	farewell  = time.Second // for what waits at the end
)

// Node is this gateway among the others. It is the hub's Backplane.
type Node struct {
	hub       *bridge.Hub
	transport Transport
	opts      Options
	log       *logrus.Logger
	stream    *stream
	due       atomic.Bool // others are to be told how far this gateway is

	mu      sync.Mutex
	life    context.Context // of Serve; nil: not yet, or no more
	begun   time.Time       // Serve
	origins map[bridge.Slot]*origin
	serving sync.WaitGroup
	losing  chan struct{}
	reports reports
	rival   rival
	failed  chan error
}

// New returns a node, which is the hub's Backplane from now on.
func New(hub *bridge.Hub, transport Transport, opts Options, log *logrus.Logger) *Node {
	if opts.Ring == 0 {
		opts.Ring = ringBytes
	}
	n := &Node{
		hub: hub, transport: transport, opts: opts, log: log, origins: map[bridge.Slot]*origin{},
		stream: newStream(opts.Slot, opts.Run, opts.Ring), failed: make(chan error, 1), losing: make(chan struct{}, losing),
	}
	n.stream.lull.timer = time.AfterFunc(time.Hour, n.lulled)
	hub.Peers().SetBackplane(n)
	return n
}

// Say is bridge.Backplane's.
func (n *Node) Say(m *bridge.Message, awaited bool, r *outbound.Round) {
	if m.HasReport() {
		n.reports.await(m, n.here())
		awaited = true
	}
	now := m.Time // as good as now, and known
	if !m.Expires.IsZero() {
		now = n.hub.Now()
	}
	due, behind := n.stream.say(m, awaited, now)
	if due {
		n.transport.Wake(r)
	}
	if !behind {
		return
	}
	if r != nil {
		r.Flush() // others rely on it
	}
	n.stream.wait(m.Patience())
}

// lulled has messages sent that have waited for others for long enough.
func (n *Node) lulled() {
	if n.stream.lulled() {
		n.transport.Wake(nil)
	}
}

// Skip is Say of a message while no other gateway was ever heard: it costs next to nothing.
func (n *Node) Skip(m *bridge.Message) { n.stream.skip(m) }

// SayTopic is bridge.Backplane's.
func (n *Node) SayTopic(m *bridge.TopicMessage, r *outbound.Round) {
	n.stream.sayTopic(m, n.hub.Now())
	n.transport.Wake(r)
}

// Await is bridge.Backplane's.
func (n *Node) Await(until time.Time) { n.stream.wait(until) }

// Tell is bridge.Backplane's.
func (n *Node) Tell(m bridge.PeerMember) {
	n.stream.tell(m)
	n.transport.Wake(nil)
}

// TellLeave is bridge.Backplane's.
func (n *Node) TellLeave(m bridge.PeerMember) {
	n.stream.leave(m)
	n.transport.Wake(nil)
}

// TellGroup is bridge.Backplane's.
func (n *Node) TellGroup(g bridge.PeerGroup) {
	n.stream.group(g)
	n.transport.Wake(nil)
}

// Claim is bridge.Backplane's.
func (n *Node) Claim(c bridge.Claim) {
	n.stream.claim(c)
	n.transport.Wake(nil)
}

// losing bounds how many lost claims are given up at a time.
const losing = 64

// lose gives up what was lost to other gateways.
func (n *Node) lose(lost []func()) {
	for _, give := range lost {
		n.losing <- struct{}{}
		n.serving.Go(func() {
			give()
			<-n.losing
		})
	}
}

// HasRoom is bridge.Backplane's.
func (n *Node) HasRoom() bool { return n.stream.hasRoom() }

// Idle is bridge.Backplane's.
func (n *Node) Idle() bool { return n.stream.idle() }

// Serve sends what happens here, and delivers what others send, until ctx ends. Then it says
// goodbye. It fails if another gateway, which was there first, has the same slot or name.
func (n *Node) Serve(ctx context.Context) (err error) {
	life, end := context.WithCancel(ctx)
	n.mu.Lock()
	n.life, n.begun = life, time.Now()
	n.mu.Unlock()
	t := time.NewTicker(beat)
	defer t.Stop()
	for going := true; going; {
		n.tellState()
		select {
		case <-ctx.Done():
			going = false
		case err = <-n.failed:
			going = false
		case <-t.C:
		}
	}
	n.mu.Lock()
	n.life = nil
	n.mu.Unlock()
	end()
	n.serving.Wait()
	n.stream.lull.timer.Stop()
	n.reports.end()
	if err == nil {
		n.stream.bye()
		n.transport.Wake(nil)
		n.untilSent(time.Now().Add(farewell))
	}
	return err
}

// untilSent waits until all was sent, or until a time.
func (n *Node) untilSent(until time.Time) {
	for !n.stream.idle() && time.Now().Before(until) {
		time.Sleep(time.Millisecond)
	}
}

// Next returns the next frame to send, which counts as sent; nil: none waits. Nobody changes its bytes.
func (n *Node) Next() []byte {
	if n.due.Swap(false) {
		n.stream.state(n.state())
	}
	return n.stream.take()
}

// Greet has the others told at once that this gateway is there, after a time without a connection.
func (n *Node) Greet() { n.tellState() }

// tellState has the others told, soon, how far this gateway is.
func (n *Node) tellState() {
	n.due.Store(true)
	n.transport.Wake(nil)
}

func (n *Node) state() state {
	s := state{name: n.opts.Name, clock: time.Now().UnixMilli()}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.origins {
		if has := o.has.Load(); has != nil {
			s.has = append(s.has, *has)
		}
	}
	return s
}

// Take takes a frame of another gateway, whose bytes nobody changes any more. It waits for
// nothing. Frames of one gateway are taken by one goroutine, in their order.
func (n *Node) Take(b []byte) {
	f, err := readFrame(b)
	if err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.life == nil:
		return
	case f.slot == n.opts.Slot:
		n.rivalLocked(f)
		return
	}
	o := n.origins[f.slot]
	if o == nil {
		o = newOrigin(n, f.slot)
		n.origins[f.slot] = o
		life := n.life
		n.serving.Go(func() { o.serve(life) })
		n.tellState()
	}
	o.take(f)
}

// Answer answers another gateway's request.
func (n *Node) Answer(request []byte) []byte { return n.answer(request) }

// rival is another gateway with this one's slot.
type rival struct {
	run   uint64
	since time.Time
}

// rivalFor is how long a rival is heard until it is believed: frames of an earlier run may come
// late.
const rivalFor = 3 * time.Second

// ErrRival says that another gateway has the same slot or name.
var ErrRival = errors.New("each gateway of a space needs its own")

// rivalLocked ends the node if another one has its slot and was there first.
func (n *Node) rivalLocked(f frame) {
	now := time.Now()
	switch {
	case f.run >= n.opts.Run: // our own, or a rival that ends itself
		return
	case f.run != n.rival.run:
		n.rival = rival{f.run, now}
		return
	case now.Sub(n.rival.since) < rivalFor:
		return
	}
	name := "another gateway"
	f.each(func(_ uint64, k kind, body []byte) {
		if s, ok := readState(body); k == kindState && ok {
			name = s.name
		}
	})
	n.fail(fmt.Errorf("cluster.slot: %d is %s's, which runs: %w", n.opts.Slot, name, ErrRival))
}

// fail ends Serve.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// Others is bridge.Backplane's.
func (n *Node) Others() (all []bridge.Other) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.origins {
		all = append(all, o.other())
	}
	slices.SortFunc(all, func(a, b bridge.Other) int { return int(a.Slot) - int(b.Slot) })
	return all
}

// Own is bridge.Backplane's.
func (n *Node) Own() bridge.Own {
	next, unsent := n.stream.end()
	return bridge.Own{Slot: n.opts.Slot, Made: next - 1, Unsent: unsent}
}
