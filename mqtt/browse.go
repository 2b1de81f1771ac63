package mqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"watchtower/bridge"
)

// The faults of operators' topics. Their values are stable, like bridge's.
const (
	InvalidTopic  bridge.Code = "invalid-topic"
	ReservedTopic bridge.Code = "reserved-topic"
	RetainedFull  bridge.Code = "retained-full"
)

func topicFault(code bridge.Code, format string, args ...any) error {
	return &bridge.Error{Code: code, Field: "topic", Detail: fmt.Sprintf(format, args...)}
}

// Level is one level of the retained topics that begin with a prefix.
type Level struct {
	Name     string
	Below    int              // retained topics below it
	Retained *RetainedMessage // of the topic that ends with it; nil: none
}

// RetainedMessage is the retained message of a topic. Nobody may change its payload.
type RetainedMessage struct {
	Payload []byte
	Hint    bridge.Hint
	QoS     byte
	Time    time.Time // when it came; zero: before the last start
}

func (m *message) shown() *RetainedMessage {
	shown := &RetainedMessage{Payload: m.payload, Hint: m.extras.hint(), QoS: m.qos}
	if m.at != 0 {
		shown.Time = time.UnixMilli(m.at)
	}
	return shown
}

// Levels lists at most limit levels directly below a prefix, which is empty or ends with a
// slash, in their order. The first is from, or the next one after it. Next is where the
// following page begins; empty: there is none.
func (b *Broker) Levels(prefix, from string, limit int) (page []Level, next string) {
	list := b.retained.page(prefix, from, limit+1, b.now())
	if len(list) > limit {
		list, next = list[:limit], list[limit].name
	}
	for _, l := range list {
		level := Level{Name: l.name, Below: l.below}
		if l.value != nil {
			level.Retained = l.value.shown()
		}
		page = append(page, level)
	}
	return page, next
}

// RetainedOn returns a topic's retained message; nil: there is none.
func (b *Broker) RetainedOn(topic string) *RetainedMessage {
	b.retained.mu.RLock()
	defer b.retained.mu.RUnlock()
	if m := b.retained.tree.get(topic); m != nil && !m.expired(b.now()) {
		return m.shown()
	}
	return nil
}

// Publication is what an operator publishes on a topic.
type Publication struct {
	Topic       string
	Payload     []byte
	Voice       bridge.Voice
	ContentType string // for MQTT 5 clients; may be empty
	QoS         byte
	Retain      bool
}

// PublishAs publishes in the name of a sender that is no MQTT client, by the rules for
// clients without an access list. It waits for receivers as a client at QoS 1 does, until
// ctx ends.
func (b *Broker) PublishAs(ctx context.Context, s *bridge.Sender, p Publication) error {
	if err := b.MayPublish(p.Topic); err != nil {
		return err
	}
	if err := b.fits(p.Topic, p.Payload); err != nil {
		return err
	}
	m := &message{topic: p.Topic, payload: p.Payload, qos: p.QoS, retain: p.Retain}
	if p.ContentType != "" {
		m.extras = &extras{contentType: p.ContentType}
	}
	err := b.admitOf(s, nil, m, p.Voice)
	if err == nil {
		var owe []*session
		err = b.deliverAdmitted(m, handing{owe: &owe})
		b.await(ctx, owe)
		b.pace()
	}
	var limit overLimit
	if errors.As(err, &limit) {
		return topicFault(RetainedFull, "%s", limit)
	}
	return err
}

// fits returns why a message is too large for a packet; nil: it is not.
func (b *Broker) fits(topic string, payload []byte) error {
	if n := publishBytes + len(topic) + len(payload); n > b.opts.MaxPacketBytes {
		return topicFault(bridge.MessageTooLarge, "and message make a packet of %d bytes, the limit is %d (mqtt.max_packet_bytes)", n, b.opts.MaxPacketBytes)
	}
	return nil
}

// publishBytes is the most bytes of a PUBLISH besides its topic and payload, in MQTT 3.1.1.
const publishBytes = 1 + 4 + 2 + 2

// await waits until the queues of sessions have room again, or ctx ends.
func (b *Broker) await(ctx context.Context, owe []*session) {
	for _, s := range owe {
		s.wait(func() error {
			if b.quiet.Load() {
				return errStopping
			}
			return ctx.Err()
		})
	}
}

// MayPublish returns why an operator may not publish on a topic; nil: it may.
func (b *Broker) MayPublish(topic string) error {
	if err := CheckTopic(topic); err != nil {
		return err
	}
	return b.reserved(topic)
}

// topicBytes is the longest topic (MQTT 5, 1.5.4).
const topicBytes = 65535

// CheckTopic returns why a text cannot be the topic of a message; nil: it can.
func CheckTopic(topic string) error {
	switch {
	case topic == "":
		return topicFault(InvalidTopic, "is empty")
	case !utf8.ValidString(topic) || strings.ContainsRune(topic, 0):
		return topicFault(InvalidTopic, "is no UTF-8 text without zero bytes")
	case strings.ContainsAny(topic, "+#"):
		return topicFault(InvalidTopic, "%q has a wildcard (+ or #): name one topic", bridge.Shorten(topic))
	case len(topic) > topicBytes:
		return topicFault(InvalidTopic, "has %d bytes, the limit is %d", len(topic), topicBytes)
	case strings.Count(topic, "/") >= topicLevels:
		return topicFault(InvalidTopic, "has more than %d levels", topicLevels)
	}
	return nil
}

// reserved returns why nobody but the gateway publishes on a topic, or below a prefix that
// ends with a slash; nil: clients do.
func (b *Broker) reserved(topic string) error {
	if topic[0] == '$' {
		return topicFault(ReservedTopic, "topics that begin with $ are the broker's own")
	}
	if b.isOwn(topic) {
		return topicFault(ReservedTopic, "the gateway alone publishes on %s", bridge.Shorten(topic))
	}
	if place, _, refusal := b.tree.ParsePublish(topic); place == bridge.Reserved {
		return topicFault(ReservedTopic, "%s", refusal.Detail)
	}
	return nil
}

// RemoveRetained removes a topic's retained message, as a client's empty message does. It
// reports whether there was one.
func (b *Broker) RemoveRetained(ctx context.Context, topic string) (bool, error) {
	if err := b.MayPublish(topic); err != nil {
		return false, err
	}
	var owe []*session
	removed := b.clear(topic, b.now(), &owe)
	b.await(ctx, owe)
	return removed, nil
}

// clearAtOnce is how many messages RemoveRetainedBelow removes for each look at the tree.
const clearAtOnce = 256

// RemoveRetainedBelow does the same with all topics that begin with a prefix, which ends
// with a slash, and returns their number. It leaves the gateway's own messages, and those
// that came after it began.
func (b *Broker) RemoveRetainedBelow(ctx context.Context, prefix string) (removed int, err error) {
	if err := b.MayPublish(prefix); err != nil {
		return 0, err
	}
	began := b.now()
	for ctx.Err() == nil && !b.quiet.Load() {
		some := b.retained.some(prefix, clearAtOnce, func(m *message) bool { return b.clearable(m, began) })
		if len(some) == 0 {
			break
		}
		var owe []*session
		for _, topic := range some {
			if b.clear(topic, began, &owe) {
				removed++
			}
		}
		b.await(ctx, owe)
	}
	return removed, nil
}

func (b *Broker) clearable(m *message, began time.Time) bool {
	return !m.own && m.at <= began.UnixMilli() && !m.expired(began) && b.reserved(m.topic) == nil
}

// clear publishes an empty retained message, if there is a message to remove.
func (b *Broker) clear(topic string, began time.Time, owe *[]*session) bool {
	turn := b.retained.turn(topic)
	turn.Lock()
	defer turn.Unlock()
	b.retained.mu.RLock()
	old := b.retained.tree.get(topic)
	found := old != nil && b.clearable(old, began)
	b.retained.mu.RUnlock()
	if !found {
		return false
	}
	m := &message{topic: topic, qos: 1, retain: true, at: b.now().UnixMilli()}
	b.hub.Counters().In(Protocol, 1)
	_ = b.retained.set(m, published)                                // only a payload can be refused
	_ = b.deliver(m, handing{owe: owe, among: b.saying(published)}) // not on a channel: it cannot fail
	return true
}
