package remote

import (
	"strconv"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// The content types of the hints (docs/topics.md).
const (
	contentJSON = "application/json"
	contentText = "text/plain; charset=utf-8"
)

// says reports whether a message of the hub is published at the broker: a broadcast that was
// taken by this gateway, or a send to one of the broker's clients. What came from there is there
// already, but for what Home Assistant says: that was on topics without a sender.
func (b *Bus) says(m *bridge.Message, members int) bool {
	switch {
	case m.Via == Protocol && (b.house == nil || m.Sender != b.house.Sender().ID()), m.Type == bridge.Notice:
		return false
	case m.Type == bridge.Send:
		return members > 0
	}
	return m.Gateway == 0
}

// sayAtOnce takes a message without members at the broker, in its publisher's goroutine.
func (b *Bus) sayAtOnce(m *bridge.Message, r *outbound.Round) bool {
	return !b.says(m, 0) || b.say(m, r)
}

// fan takes messages from the link.
func (b *Bus) fan(jobs []bridge.Job) {
	until := time.Now().Add(sayMost)
	if b.leaving.Load() {
		until = time.Now()
	}
	for _, j := range jobs {
		n, lost := 0, 0
		for _, a := range j.To {
			if a.Wants(j.Message) {
				n++
			}
		}
		if b.says(j.Message, n) && !b.say(j.Message, &b.round) && !b.sayWaiting(j.Message, until) {
			b.dropped(bridge.QueueFull)
			lost = n
		}
		j.Done(b.hub.Counters(), Protocol, n, lost)
	}
	b.round.Flush()
}

// sayMost bounds how long the messages of a batch wait for a broker that is behind. Publishers wait then,
// if they may.
const sayMost = time.Second

// sayWaiting is say, which waits for room while the broker is there.
func (b *Bus) sayWaiting(m *bridge.Message, until time.Time) bool {
	b.round.Flush() // others rely on it
	for {
		room := b.client.outbox.waitRoom()
		if b.say(m, nil) {
			return true
		}
		left := time.Until(until)
		if left <= 0 || b.client.version() == 0 {
			return false
		}
		t := time.NewTimer(left)
		select {
		case <-room:
			t.Stop()
		case <-t.C:
		}
	}
}

// say puts a message into the outbox, as a PUBLISH, for a round to write. It reports false if there
// is no room.
func (b *Bus) say(m *bridge.Message, r *outbound.Round) bool {
	var topic [192]byte
	var props [512]byte
	p := publish{topic: b.tree.AppendTopic(topic[:0], m), payload: m.Data, qos: byte(b.opts.Remote.QoS)}
	version := b.client.said()
	if version == version5 {
		p.props = b.properties(props[:0], m)
	}
	it := items.Get().(*item)
	it.version, it.drop = version, b.drop
	it.b, it.idAt = p.encode(it.b, version)
	if !m.Expires.IsZero() {
		it.ends = max(b.clock()+m.Expires.Sub(b.hub.Now()), 1)
	}
	return b.client.send(it, r)
}

// dropped counts a message that the broker does not get.
func (b *Bus) dropped(why bridge.Reason) {
	b.hub.Counters().Drop(Protocol, why, 1)
	if why != bridge.Refused && !b.settled.Load() {
		b.missed.add(why)
	}
}

// missed counts what the broker did not get while it was away, by reason.
type missed struct {
	mu sync.Mutex
	n  logrus.Fields
}

func (m *missed) add(why bridge.Reason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == nil {
		m.n = logrus.Fields{}
	}
	n, _ := m.n[why.String()].(int)
	m.n[why.String()] = n + 1
}

// take returns the counts, and begins anew.
func (m *missed) take() logrus.Fields {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.n
	m.n = nil
	return n
}

// properties appends what MQTT 5 deliveries carry (docs/topics.md), and by which gateway a
// message was taken.
func (b *Bus) properties(p []byte, m *bridge.Message) []byte {
	var text [32]byte
	if !m.Expires.IsZero() {
		p = appendExpiry(p, uint32(max((m.Expires.Sub(b.hub.Now())+time.Second-1)/time.Second, 1)))
	}
	switch m.Hint {
	case bridge.JSON:
		p = appendTextProperty(p, propContentType, contentJSON)
	case bridge.Text:
		p = appendTextProperty(p, propContentType, contentText)
	}
	if m.Name != "" {
		p = appendUserProperty(p, "sender-name", m.Name)
	}
	p = appendUserProperty(p, "channel", strconv.AppendUint(text[:0], uint64(m.Channel), 10))
	p = appendUserProperty(p, "type", m.Type.String())
	_ = m.ID.MarshalTextTo(text[:ulid.EncodedSize]) // there is room
	p = appendUserProperty(p, "id", text[:ulid.EncodedSize])
	p = appendUserProperty(p, "gateway", b.tree.Gateway())
	return appendUserProperty(p, "sender", strconv.AppendUint(text[:0], uint64(m.Sender), 10))
}
