package mqtt

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// joined is what a session's filters make of one channel.
type joined struct {
	broadcasts, sends int // filters that match them
	attachment        *bridge.Attachment
}

// publication is what a client asks to be published.
type publication struct {
	topic    string
	payload  []byte
	qos      byte
	retain   bool
	again    bool // DUP: it may have come before
	extras   *extras
	lifetime uint32 // message expiry interval in seconds; 0: none
}

// admit makes the message of a client's publish, ready to be delivered, or says
// why it is refused. What is under the gateway's base is bridge's to admit;
// everything else is the clients' own.
func (b *Broker) admit(s *session, p publication) (*message, error) {
	m := &message{topic: p.topic, payload: p.payload, qos: p.qos, retain: p.retain, extras: p.extras, origin: s}
	if p.lifetime > 0 {
		m.expires = b.now().UnixMilli() + int64(p.lifetime)*1000
	}
	onChannel, address, err := b.mayPublish(p.topic, s.sender(), s.access.Load())
	if err != nil {
		return nil, err
	}
	if onChannel {
		content := bridge.Content{Data: p.payload, Hint: p.extras.hint()}
		cm, err := b.hub.Admit(s.sender(), address, content)
		if err != nil {
			return nil, err
		}
		if p.lifetime > 0 {
			cm.Expires = cm.Time.Add(time.Duration(p.lifetime) * time.Second)
		}
		m.channel, m.retain, m.topic = cm, false, "" // the route has the whole topic
		return m, nil
	}
	b.hub.Counters().In(Protocol, 1)
	return m, nil
}

var (
	errTopic  = errors.New("topic: names the broker's own, or nothing")
	errDenied = errors.New("topic: the user's access list does not allow it")
	errOwn    = errors.New("topic: the gateway alone publishes there")
)

// mayPublish finds out what a topic means, and whether somebody may publish to
// it: the gateway's own tree comes first, then what the user may do. Of a topic
// on a channel that is the whole topic, with the sender.
func (b *Broker) mayPublish(topic string, s *bridge.Sender, may *access) (onChannel bool, a bridge.Address, err error) {
	if strings.Count(topic, "/") >= topicLevels {
		return false, a, errLevels
	}
	if topic == "" || !mochi.IsValidFilter(topic, true) {
		return false, a, errTopic
	}
	for _, beginning := range b.opts.OwnTopics {
		if strings.HasPrefix(topic, beginning) {
			return false, a, errOwn
		}
	}
	place, a, refusal := b.tree.ParsePublish(topic)
	if refusal != nil {
		return false, a, refusal
	}
	onChannel = place == bridge.OnChannel
	if a.ReceiverName != "" {
		if a.Receiver, refusal = b.hub.Receiver(a.ReceiverName); refusal != nil {
			return onChannel, a, &bridge.Error{Code: refusal.Code, Field: "topic", Detail: refusal.Detail}
		}
	}
	if may == nil {
		return onChannel, a, nil
	}
	if onChannel {
		topic = string(b.tree.AppendTopic(nil, &bridge.Message{Type: a.Type, Channel: a.Channel, Receiver: a.Receiver, Sender: s.ID()}))
	}
	if !may.mayWrite(topic) {
		return onChannel, a, errDenied
	}
	return onChannel, a, nil
}

// publish admits a client's publish and delivers it.
func (b *Broker) publish(s *session, p publication, owe *[]*session) error {
	m, err := b.admit(s, p)
	if err != nil {
		b.refuse(s, p.topic, err)
		return err
	}
	if err := b.put(m, owe); err != nil {
		b.refuse(s, p.topic, err)
		return err
	}
	return nil
}

// put keeps a message that is to be retained, and delivers it; neither, if it
// cannot be kept.
func (b *Broker) put(m *message, owe *[]*session) error {
	switch {
	case m.retain:
		return b.deliverRetained(m, published, owe)
	case m.channel != nil:
		var room [128]byte
		_ = b.hand(b.router.route(b.tree.AppendTopic(room[:0], m.channel)), m, owe)
		return nil // a protocol that is behind has counted it
	}
	return b.deliver(m, owe) // not on a channel: it cannot fail
}

// refuse counts a publish that was refused, and logs it once a minute at most.
func (b *Broker) refuse(s *session, topic string, why error) {
	b.hub.Counters().Drop(Protocol, dropReason(why), 1)
	if b.noisy.allow(s.key.client, "publish to "+shorten(topic), b.now()) {
		b.log.WithField("client", shorten(s.key.client)).WithField("sender", s.sender().ID()).WithField("topic", shorten(topic)).
			WithError(why).Warn("publish refused")
	}
}

// refuseSubscription does the same for a subscription.
func (b *Broker) refuseSubscription(c *conn, filter string, why error) {
	var limit overLimit
	if errors.As(why, &limit) {
		b.limited(c, c.clientID, limit)
		return
	}
	b.warn(c.clientID, fmt.Sprintf("subscription to %q refused: %v", shorten(filter), why), c)
}

// takeWill checks a client's will before it connects: it may be on no topic
// that the client could not publish to (never in another's name).
func (c *conn) takeWill(pk *packets.Packet, who identity) packets.Code {
	if !pk.Connect.WillFlag {
		return packets.Code{}
	}
	topic := pk.Connect.WillTopic
	if strings.HasPrefix(topic, "$SYS/") { // every mosquitto that is a bridge has one: it is to connect
		c.broker.warn(c.host(), fmt.Sprintf("will ignored: nobody publishes to %q", shorten(topic)), c)
		return packets.Code{}
	}
	sender := who.hold.Sender()
	onChannel, address, err := c.broker.mayPublish(topic, sender, who.access)
	var refusal *bridge.Error
	switch {
	case errors.Is(err, errTopic), errors.Is(err, errLevels):
		return packets.ErrTopicNameInvalid
	case errors.As(err, &refusal) && refusal.Code == bridge.UnjoinedReceiver: // it may come yet
	case err != nil, onChannel && address.Sender != 0 && address.Sender != sender.ID():
		return packets.ErrNotAuthorized
	}
	will := &publication{topic: topic, payload: pk.Connect.WillPayload, qos: pk.Connect.WillQos, retain: pk.Connect.WillRetain}
	if c.version == version5 {
		p := &pk.Connect.WillProperties
		will.extras, will.lifetime = carried(p), p.MessageExpiryInterval
		c.willDelay = time.Duration(p.WillDelayInterval) * time.Second
	}
	c.will = will
	return packets.Code{}
}

// sendWill publishes a will as if its client had, but waits for nobody: there
// is no client to hold back.
func (b *Broker) sendWill(s *session, will *publication) {
	m, err := b.admit(s, *will)
	if err != nil {
		b.refuse(s, will.topic, err)
		return
	}
	if m.channel != nil {
		m.channel.Wait = false
	}
	if err := b.put(m, nil); err != nil {
		b.refuse(s, will.topic, err)
	}
}

// subscribe puts one filter in force. It joins the channel that the filter
// names, if it names one.
func (b *Broker) subscribe(s *session, f packets.Subscription, subID int) (existed bool, _ error) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	return b.subscribeLocked(s, f, subID)
}

// subscribeLocked is subscribe for those who hold subMu.
func (b *Broker) subscribeLocked(s *session, f packets.Subscription, subID int) (existed bool, _ error) {
	if s.hasEnded() {
		return false, errors.New("the session has ended")
	}
	sub, err := b.meaning(s, f, subID)
	if err != nil {
		return false, err
	}
	old := s.subs[sub.filter]
	if old == nil { // else the same filter means the same
		if err := b.roomFor(s, sub); err != nil {
			return false, err
		}
		if err := b.join(s, sub, 1); err != nil {
			return false, err
		}
		s.subBytes += sub.most()
	}
	s.subs[sub.filter] = sub
	s.recordChanged()
	b.router.add(sub, old)
	return old != nil, nil
}

// meaning finds out what a filter is to its session, if it may have it. The
// caller holds subMu.
func (b *Broker) meaning(s *session, f packets.Subscription, subID int) (*subscription, error) {
	filter, shared := cutShare(f.Filter)
	means, refusal := b.tree.ParseFilter(filter)
	if refusal != nil {
		return nil, refusal
	}
	may := s.access.Load()
	topics := means.Whole(filter)
	if !may.maySubscribe(topics) && filter != b.tree.Me() {
		return nil, errDenied
	}
	sub := &subscription{
		session: s, filter: strings.Clone(f.Filter), shared: shared, qos: f.Qos,
		noLocal: f.NoLocal, asIs: f.RetainAsPublished, subID: subID, means: means,
	}
	sub.topics = means.Whole(sub.filter[len(f.Filter)-len(filter):])
	if shared || means.Receiver != 0 && means.Receiver != s.sender().ID() {
		sub.means.Sends = false
	}
	if may != nil && means.Channel != 0 { // what is never let through is no reason to be there
		sub.means.Broadcasts = means.Broadcasts && may.maySubscribe(b.tree.Say(means.Channel)+"/+")
		sub.means.Sends = sub.means.Sends && may.maySubscribe(b.tree.Tell(means.Channel, s.sender().ID())+"/+")
	}
	return sub, nil
}

// roomFor reports whether one more subscription is within the limits. The
// caller holds subMu.
func (b *Broker) roomFor(s *session, sub *subscription) error {
	most, all := sub.most(), b.opts.MQTTSubscriptionBytes
	switch {
	case len(s.subs) >= b.opts.MQTTSubscriptions:
		return errSubscriptions
	case s.subBytes+most > all/4, b.router.size()+most > all:
		return errSubscriptionBytes
	}
	return nil
}

// forget takes a subscription off a session's table. The caller holds subMu.
func (s *session) forget(sub *subscription) {
	delete(s.subs, sub.filter)
	s.subBytes -= sub.most()
}

// unsubscribe takes a filter out of force, and leaves the channel with the last
// filter that named it.
func (b *Broker) unsubscribe(s *session, filter string) (existed bool) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	return b.unsubscribeLocked(s, filter)
}

// unsubscribeLocked is unsubscribe for those who hold subMu.
func (b *Broker) unsubscribeLocked(s *session, filter string) (existed bool) {
	sub := s.subs[filter]
	if sub == nil {
		return false
	}
	s.forget(sub)
	s.recordChanged()
	b.router.remove(sub)
	_ = b.join(s, sub, -1) // leaving cannot be refused
	return true
}

// join counts a filter in or out of its channel, and makes the session's
// attachment there what its filters now say. The caller holds subMu.
func (b *Broker) join(s *session, sub *subscription, by int) error {
	c := sub.means.Channel
	if c == 0 || !sub.means.Broadcasts && !sub.means.Sends {
		return nil
	}
	j := s.channels[c]
	if j == nil {
		j = &joined{}
	}
	if sub.means.Broadcasts {
		j.broadcasts += by
	}
	if sub.means.Sends {
		j.sends += by
	}
	old := j.attachment
	if old != nil && old.Broadcasts == (j.broadcasts > 0) && old.Sends == (j.sends > 0) {
		return nil
	}
	if j.broadcasts == 0 && j.sends == 0 {
		delete(s.channels, c)
		b.hub.Detach(old)
		return nil
	}
	a := &bridge.Attachment{Via: Protocol, Broadcasts: j.broadcasts > 0, Sends: j.sends > 0}
	a.Ended = func() { b.sentAway(s, c, a) }
	if err := b.hub.Attach(s.sender(), c, a); err != nil {
		return err
	}
	if old != nil {
		b.hub.Detach(old)
	}
	j.attachment = a
	s.channels[c] = j
	return nil
}

// sentAway ends a session's subscriptions to a channel that its sender has left
// by another protocol.
func (b *Broker) sentAway(s *session, c bridge.Channel, a *bridge.Attachment) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	if j := s.channels[c]; j == nil || j.attachment != a {
		return
	}
	delete(s.channels, c)
	s.recordChanged()
	for _, sub := range s.subs {
		if sub.means.Channel == c {
			s.forget(sub)
			b.router.remove(sub)
		}
	}
}

// greet sends what a new subscription gets at once: retained messages, and on
// the topic "me" who the client is.
func (b *Broker) greet(s *session, f packets.Subscription, subID int, existed bool) {
	filter, shared := cutShare(f.Filter)
	if shared {
		return // MQTT 5, 4.8.2: no retained messages
	}
	var ids *[]int
	if subID > 0 {
		ids = &[]int{subID}
	}
	if filter == b.tree.Me() {
		payload, _ := json.Marshal(struct {
			ID   bridge.SenderID `json:"id"`
			Name string          `json:"name,omitempty"`
		}{s.sender().ID(), s.sender().Name()}) // plain struct: cannot fail
		s.offer(&delivery{m: &message{topic: filter, payload: payload}, subIDs: ids, qos: f.Qos}, false).count(s.counters)
	}
	if f.RetainHandling == 2 || f.RetainHandling == 1 && existed {
		return
	}
	b.retained.match(filter, b.now(), func(m *message, of int) {
		if !s.access.Load().mayRead(m.topic) {
			return
		}
		v := s.greet(&delivery{m: m, subIDs: ids, qos: min(f.Qos, m.qos), marks: markRetain}, of)
		v.count(s.counters)
		b.overflowed(s, v)
	})
}
