package remote

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/cluster"
)

// neighbours are other gateways at the same broker, with the same secret key. They tell each
// other what happens by the frames of package cluster, sealed: so what is sent to one of their
// devices stands nowhere in the open, nobody else can speak for them, and what the broker loses is
// noticed and fetched again.
//
// A gateway publishes its frames on <its topics>/frames. It asks another one on
// <the other's topics>/ask, and is answered on <its topics>/answer.
type neighbours struct {
	bus  *Bus
	node *cluster.Node
	aead cipher.AEAD

	frames string // the topic of this gateway's

	heard atomic.Int64 // when the last frame of another came, by the clock; 0: none
	said  atomic.Int64 // when the last own one was published; 0: none

	room      chan struct{} // for answers that take time
	answering sync.WaitGroup

	mu      sync.Mutex
	names   map[bridge.Slot]string
	nextID  uint64
	pending map[uint64]chan []byte
}

// aloneAfter is how long after the last frame of another gateway this one says only that it is
// there: what nobody hears needs no broker.
const (
	aloneAfter = 10 * time.Second
	aloneEvery = 900 * time.Millisecond
)

// answersMost bounds the answers that are worked on at a time.
const answersMost = 64

// freshFor is how old a sealed message may be: somebody may have kept one to say it again. The
// gateways' clocks may differ by as much.
const freshFor = time.Minute

// ringBytes bounds the frames that are kept for other gateways that missed some.
const ringBytes = 2 << 20

// own is the hub's backplane over a foreign broker. Clients' own topics stay at their gateway: the
// foreign broker is there for those.
type own struct {
	*cluster.Node
	n *neighbours
}

// Say implements bridge.Backplane. A gateway that is the only one there keeps nothing for others.
func (o own) Say(m *bridge.Message, awaited bool, r *outbound.Round) {
	if o.n.heard.Load() == 0 {
		o.Skip(m)
		return
	}
	o.Node.Say(m, awaited, r)
}

// Idle implements bridge.Backplane. While the broker is away there is nobody to wait for: a gateway that
// ends then ends at once.
func (o own) Idle() bool { return o.n.bus.client.version() == 0 || o.Node.Idle() }

// SayTopic implements bridge.Backplane.
func (own) SayTopic(*bridge.TopicMessage, *outbound.Round) {}

// newNeighbours connects the hub to other gateways at the broker.
func newNeighbours(b *Bus) (*neighbours, error) {
	key, err := hkdf.Key(sha256.New, []byte(b.opts.Key), nil, "watchtower gateways at one broker", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	n := &neighbours{bus: b, names: map[bridge.Slot]string{}, pending: map[uint64]chan []byte{}, room: make(chan struct{}, answersMost), frames: b.about + "/frames", nextID: uint64(b.run)}
	if n.aead, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	n.node = cluster.New(b.hub, n, cluster.Options{Slot: b.opts.Slot, Name: b.tree.Gateway(), Run: uint64(b.run), Ring: ringBytes}, b.log)
	b.hub.Peers().SetBackplane(own{n.node, n})
	b.client.outbox.first = n.fill
	base := b.opts.BaseTopic + "/gateways/"
	b.client.subscribe(&subscription{filter: base + "+/frames", atOnce: true, handler: n.take})
	b.control.subscribe(&subscription{filter: b.about + "/ask", qos: 1, atOnce: true, handler: n.asked})
	b.control.subscribe(&subscription{filter: b.about + "/answer", qos: 1, atOnce: true, handler: n.answered})
	return n, nil
}

// seal closes a text for a topic: nonce, then the time in Unix milliseconds and the text.
func (n *neighbours) seal(topic string, text []byte) []byte {
	b := make([]byte, n.aead.NonceSize(), n.aead.NonceSize()+8+len(text)+n.aead.Overhead())
	_, _ = rand.Read(b) // never fails: it ends the program instead
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(text)), uint64(time.Now().UnixMilli()))
	return n.aead.Seal(b, b, append(plain, text...), []byte(topic))
}

// open opens what was sealed for a topic.
func (n *neighbours) open(m *received) (text []byte, ok bool) {
	size := n.aead.NonceSize()
	if len(m.payload) < size || m.retain {
		return nil, false
	}
	plain, err := n.aead.Open(nil, m.payload[:size], m.payload[size:], []byte(m.topic))
	if err != nil || len(plain) < 8 {
		n.bus.tell(m.topic, "a gateway of another secret key is at the foreign broker, or somebody pretends to be one", nil)
		return nil, false
	}
	age := time.Since(time.UnixMilli(int64(binary.BigEndian.Uint64(plain))))
	if age.Abs() > freshFor {
		n.bus.tell(m.topic, "another gateway's message is from another time: its clock differs, or somebody says it again", nil)
		return nil, false
	}
	return plain[8:], true
}

// knows reports whether a gateway of that name was heard.
func (n *neighbours) knows(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, known := range n.names {
		if known == name {
			return true
		}
	}
	return false
}

// errSeveral says that gateways share a broker that tells nobody which of them has published a message.
var errSeveral = errors.New("another gateway is at the broker, which speaks MQTT 3.1.1 only: messages may come twice. Give them a broker of MQTT 5, or NATS (cluster.url)")

// fault returns why gateways cannot share the broker, or nil.
func (n *neighbours) fault() error {
	if n.bus.client.version() == version3 && !n.alone() {
		return errSeveral
	}
	return nil
}

// alone reports whether no other gateway is there.
func (n *neighbours) alone() bool { return n.before(&n.heard, aloneAfter) }

// before reports whether something was longer ago.
func (n *neighbours) before(at *atomic.Int64, ago time.Duration) bool {
	last := at.Load()
	return last == 0 || n.bus.clock()-time.Duration(last) > ago
}

// Wake implements cluster.Transport.
func (n *neighbours) Wake(r *outbound.Round) { n.bus.client.wake(r) }

// fill appends frames that wait, each as a PUBLISH of a version of MQTT and of largest bytes at most,
// until there are most bytes. What a broker does not take is asked for again.
func (n *neighbours) fill(buf []byte, version byte, largest, most int) []byte {
	for len(buf) < most {
		frame := n.node.Next()
		if frame == nil {
			break
		}
		if n.alone() && !n.before(&n.said, aloneEvery) {
			continue
		}
		p := publish{topic: []byte(n.frames), payload: n.seal(n.frames, frame)}
		b, _ := p.encode(nil, version)
		if largest == 0 || len(b) <= largest {
			buf = append(buf, b...)
			n.said.Store(int64(n.bus.clock()))
		}
	}
	return buf
}

func (n *neighbours) send(c *client, topic string, text []byte, qos byte) error {
	version := c.version()
	if version == 0 {
		return errAway
	}
	it := &item{version: version, drop: func(bridge.Reason) {}} // it is asked for again
	it.b, it.idAt = (&publish{topic: []byte(topic), payload: n.seal(topic, text), qos: qos}).encode(nil, version)
	if !c.send(it, nil) {
		return errFull
	}
	return nil
}

// take takes a frame of another gateway.
func (n *neighbours) take(m *received) {
	if m.topic == n.frames { // an own one, said again by somebody
		return
	}
	frame, ok := n.open(m)
	if !ok || len(frame) < 2 {
		return
	}
	n.heard.Store(int64(n.bus.clock()))
	slot := bridge.Slot(frame[1]) // cluster's frames have it there
	name := strings.TrimSuffix(strings.TrimPrefix(m.topic, n.bus.opts.BaseTopic+"/gateways/"), "/frames")
	n.mu.Lock()
	if n.names[slot] == "" {
		n.bus.turns.heard(slot)
		if n.bus.client.version() == version3 {
			n.bus.log.WithField("gateway", name).Warn(errSeveral.Error())
		}
	}
	n.names[slot] = name
	n.mu.Unlock()
	n.node.Take(frame)
}

// A request to a gateway is an id of 8 bytes, a kind, the length and the name of who asks, and
// what it asks. The answer is the id and the answer.
const (
	asksNode byte = iota
	asksBus
)

const requestHead = 8 + 1 + 1

// Request implements cluster.Transport.
func (n *neighbours) Request(ctx context.Context, to bridge.Slot, request []byte, patience time.Duration) ([]byte, error) {
	return n.request(ctx, to, asksNode, request, patience)
}

// Ask implements cluster.Transport.
func (n *neighbours) Ask(ctx context.Context, to bridge.Slot, question []byte, patience time.Duration) ([]byte, error) {
	return n.request(ctx, to, asksBus, question, patience)
}

func (n *neighbours) request(ctx context.Context, to bridge.Slot, kind byte, request []byte, patience time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer := make(chan []byte, 1)
	n.mu.Lock()
	name := n.names[to]
	n.nextID++
	id := n.nextID
	n.pending[id] = answer
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.pending, id)
		n.mu.Unlock()
	}()
	if name == "" {
		return nil, errors.New("no gateway of that slot was heard")
	}
	text := binary.BigEndian.AppendUint64(nil, id)
	text = append(append(text, kind, byte(len(n.bus.tree.Gateway()))), n.bus.tree.Gateway()...)
	if err := n.send(n.bus.control, n.bus.opts.BaseTopic+"/gateways/"+name+"/ask", append(text, request...), 1); err != nil {
		return nil, err
	}
	select {
	case b := <-answer:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// asked answers another gateway.
func (n *neighbours) asked(m *received) {
	text, ok := n.open(m)
	if !ok || len(text) < requestHead || len(text) < requestHead+int(text[9]) {
		return
	}
	name, request := string(text[requestHead:requestHead+int(text[9])]), text[requestHead+int(text[9]):]
	if !bridge.ValidName(name) {
		return
	}
	answer := func(b []byte) {
		_ = n.send(n.bus.control, n.bus.opts.BaseTopic+"/gateways/"+name+"/answer", append(text[:8:8], b...), 1) // else it asks again
	}
	if text[8] == asksNode {
		answer(n.node.Answer(request))
		return
	}
	select {
	case n.room <- struct{}{}:
		n.answering.Go(func() { // it may take some seconds
			answer(n.node.AnswerBus(request))
			<-n.room
		})
	default: // who asked asks again
	}
}

// answered takes an answer.
func (n *neighbours) answered(m *received) {
	text, ok := n.open(m)
	if !ok || len(text) < 8 {
		return
	}
	n.mu.Lock()
	answer := n.pending[binary.BigEndian.Uint64(text)]
	n.mu.Unlock()
	if answer != nil {
		select {
		case answer <- text[8:]:
		default: // it came twice
		}
	}
}
