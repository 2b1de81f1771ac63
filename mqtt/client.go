package mqtt

import (
	"strings"

	"watchtower/bridge"
)

// client is who published a watched message: a session's connection (bridge.Client).
type client struct {
	broker  *Broker
	session *session
	conn    *conn // nil: it was not connected, as when its will is sent
}

// clientOf returns the client of a session; nil for the gateway's own messages.
func (b *Broker) clientOf(s *session) bridge.Client {
	if s == nil {
		return nil
	}
	return &client{broker: b, session: s, conn: s.connection()}
}

func (c *client) Sender() *bridge.Sender { return c.session.sender() }

func (c *client) Connected() bool { return c.conn != nil && c.session.connection() == c.conn }

func (c *client) Publish(topic string, payload []byte) {
	turn := c.broker.retained.turn(topic)
	turn.Lock()
	defer turn.Unlock()
	c.broker.deliverTo(topic, payload, func(s *session) bool { return s == c.session })
}

func (c *client) Repeat(topic string) {
	turn := c.broker.retained.turn(topic)
	turn.Lock()
	defer turn.Unlock()
	if payload := c.broker.Retained(topic); len(payload) > 0 {
		c.broker.deliverTo(topic, payload, func(s *session) bool { return s == c.session })
	}
}

// Subscribers returns the clients that are connected and get the messages on a topic.
func (b *Broker) Subscribers(topic string) (all []bridge.Client) {
	for _, t := range b.router.route([]byte(topic)).targets {
		if c := (&client{b, t.session, t.session.connection()}); c.conn != nil {
			all = append(all, c)
		}
	}
	return all
}

// deliverTo delivers a message of the gateway's own to those of its subscribers that are
// wanted, and retains nothing. The caller has the topic's turn.
func (b *Broker) deliverTo(topic string, payload []byte, wanted func(*session) bool) {
	m := &message{topic: topic, payload: payload, qos: anyQoS}
	for _, t := range b.router.route([]byte(topic)).targets {
		if !wanted(t.session) {
			continue
		}
		d := t.delivery(m)
		v := t.session.offer(&d, handing{})
		v.count(t.session)
		b.overflowed(t.session, v)
	}
}

// OnRemoval has f called when a client removes the retained message of one of OwnTopics, by
// an empty retained message: in the client's goroutine, and before it is acknowledged. F
// calls remove to have that done, or returns why the message is refused. Before OnRemoval
// such messages are refused like all others on these topics.
func (b *Broker) OnRemoval(f func(topic string, remove func()) error) { b.removal.Store(&f) }

// removesOwn reports whether a client's message removes a retained message of the gateway's.
func (b *Broker) removesOwn(m *message) bool {
	return m.retain && len(m.payload) == 0 && b.removal.Load() != nil && b.isOwn(m.topic)
}

// OnRefusal has f called with each refused publish that the log tells of, in its client's
// goroutine.
func (b *Broker) OnRefusal(f func(bridge.Refusal)) { b.refusal.Store(&f) }

func (b *Broker) isOwn(topic string) bool {
	for _, beginning := range b.opts.OwnTopics {
		if strings.HasPrefix(topic, beginning) {
			return true
		}
	}
	return false
}

// removeOwn asks the owner of the topic. The message is removed for all others than the
// client, which has forgotten what it was about.
func (b *Broker) removeOwn(s *session, topic string) error {
	if !s.access.Load().mayWrite(topic) {
		return errDenied
	}
	return (*b.removal.Load())(topic, func() {
		turn := b.retained.turn(topic)
		turn.Lock()
		defer turn.Unlock()
		if b.Retained(topic) == nil {
			return
		}
		m := &message{topic: topic, qos: anyQoS, retain: true, own: true, at: b.now().UnixMilli()}
		from := b.sourceOf(topic, own)
		_ = b.retained.set(m, from) // only a client's message can be refused
		if all := b.saying(from); all != nil {
			b.tell(m, all, nil)
		}
		b.deliverTo(topic, nil, func(other *session) bool { return other != s })
	})
}
