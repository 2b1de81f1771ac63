package mqtt

import (
	"encoding/json"
	"errors"
	"strings"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

func (c *conn) subscribe(pk *packets.Packet) error {
	if bad := pk.SubscribeValidate(); bad.Code != 0 {
		return bad
	}
	if pk.PacketID == 0 {
		return packets.ErrProtocolViolationNoPacketID
	}
	codes := make([]byte, len(pk.Filters))
	existed := make([]bool, len(pk.Filters))
	var reason string
	subID := 0
	if ids := pk.Properties.SubscriptionIdentifier; len(ids) > 0 {
		if subID = ids[0]; subID == 0 {
			return packets.ErrProtocolViolation // MQTT 5, 3.8.2.1.2
		}
	}
	for i, f := range pk.Filters {
		_, shared := cutShare(f.Filter)
		if shared && f.NoLocal {
			return packets.ErrProtocolViolationInvalidSharedNoLocal // MQTT-3.8.3-4
		}
		if f.RetainHandling > 2 {
			return packets.ErrProtocolViolation
		}
		if !validFilter(f.Filter) {
			codes[i], reason = packets.ErrTopicFilterInvalid.Code, "not a topic filter: "+bridge.Shorten(f.Filter)
			continue
		}
		if c.bridge {
			f.RetainAsPublished = true
			f.NoLocal = !shared
		}
		var err error
		if existed[i], err = c.broker.subscribe(c.session, f, subID); err != nil {
			codes[i], reason = reasonOf(err).Code, err.Error()
			c.broker.refuseSubscription(c, f.Filter, err)
			continue
		}
		codes[i] = f.Qos
	}
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: pk.PacketID, ReasonCodes: codes}
	ack.Properties.ReasonString = reason
	if c.version != version5 {
		for i, code := range codes {
			if code > 2 {
				codes[i] = packets.ErrUnspecifiedError.Code // 3.1.1 has one failure code
			}
		}
	}
	if err := c.answerPacket(ack); err != nil {
		return err
	}
	for i, f := range pk.Filters {
		if codes[i] <= 2 {
			c.broker.greet(c.session, f, subID, existed[i])
		}
	}
	return nil
}

func (c *conn) unsubscribe(pk *packets.Packet) error {
	if bad := pk.UnsubscribeValidate(); bad.Code != 0 {
		return bad
	}
	if pk.PacketID == 0 {
		return packets.ErrProtocolViolationNoPacketID
	}
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: pk.PacketID}
	for _, f := range pk.Filters {
		switch {
		case !validFilter(f.Filter):
			ack.ReasonCodes = append(ack.ReasonCodes, packets.ErrTopicFilterInvalid.Code)
		case c.broker.unsubscribe(c.session, f.Filter):
			ack.ReasonCodes = append(ack.ReasonCodes, packets.CodeSuccess.Code)
		default:
			ack.ReasonCodes = append(ack.ReasonCodes, packets.CodeNoSubscriptionExisted.Code)
		}
	}
	return c.answerPacket(ack)
}

const sharePrefix = "$share/"

// cutShare cuts the share name off a filter.
func cutShare(filter string) (rest string, shared bool) {
	after, ok := strings.CutPrefix(filter, sharePrefix)
	if !ok {
		return filter, false
	}
	_, rest, _ = strings.Cut(after, "/")
	return rest, true
}

// validFilter reports whether a topic filter is valid (MQTT 5, 4.7 and 4.8.2). mochi
// accepts wildcards within a level, and $SHARE as $share.
func validFilter(filter string) bool {
	if len(filter) > 65535 || strings.Count(filter, "/") >= topicLevels+2 || !mochi.IsValidFilter(filter, false) {
		return false
	}
	if mochi.IsSharedFilter(filter) && !strings.HasPrefix(filter, sharePrefix) {
		return false
	}
	rest, shared := cutShare(filter)
	if rest == "" || shared && strings.HasPrefix(filter, sharePrefix+"/") {
		return false
	}
	if strings.Count(rest, "/") >= topicLevels {
		return false
	}
	for level := range strings.SplitSeq(rest, "/") {
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return false
		}
	}
	return true
}

// subscribe adds one filter. It joins the channel that the filter names, if any.
func (b *Broker) subscribe(s *session, f packets.Subscription, subID int) (existed bool, _ error) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	return b.subscribeLocked(s, f, subID)
}

// subscribeLocked is subscribe; the caller holds subMu.
func (b *Broker) subscribeLocked(s *session, f packets.Subscription, subID int) (existed bool, _ error) {
	if s.hasEnded() {
		return false, errors.New("the session has ended")
	}
	sub, err := b.meaning(s, f, subID)
	if err != nil {
		return false, err
	}
	old := s.subs[sub.filter]
	if old == nil { // else its channel and size are the same
		most, all := sub.most(), b.opts.MQTTSubscriptionBytes
		switch {
		case len(s.subs) >= b.opts.MQTTSubscriptions:
			return false, errSubscriptions
		case s.subBytes+most > all/4, b.router.size()+most > all:
			return false, errSubscriptionBytes
		}
		if err := b.join(s, sub, 1); err != nil {
			return false, err
		}
		s.subBytes += most
	}
	s.subs[sub.filter] = sub
	s.recordChanged()
	b.router.add(sub, old)
	b.tellGroup(sub)
	return old != nil, nil
}

// meaning parses a session's filter, and checks that the session may subscribe to it. The
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
	if may != nil && means.Channel != 0 { // no membership for messages that it may not read
		sub.means.Broadcasts = means.Broadcasts && may.maySubscribe(b.tree.Say(means.Channel)+"/+")
		sub.means.Sends = sub.means.Sends && may.maySubscribe(b.tree.Tell(means.Channel, s.sender().ID())+"/+")
	}
	return sub, nil
}

// forget removes a subscription from the session. The caller holds subMu.
func (s *session) forget(sub *subscription) {
	delete(s.subs, sub.filter)
	s.subBytes -= sub.most()
}

// unsubscribe removes a filter. With the last filter of a channel, it leaves the channel.
func (b *Broker) unsubscribe(s *session, filter string) (existed bool) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	return b.unsubscribeLocked(s, filter)
}

// unsubscribeLocked is unsubscribe; the caller holds subMu.
func (b *Broker) unsubscribeLocked(s *session, filter string) (existed bool) {
	sub := s.subs[filter]
	if sub == nil {
		return false
	}
	s.forget(sub)
	s.recordChanged()
	b.router.remove(sub)
	b.tellGroup(sub)
	_ = b.join(s, sub, -1) // leaving cannot be refused
	return true
}

// join adds a filter to its channel's counts (by is 1 or -1), and updates the session's
// attachment there. The caller holds subMu.
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

// sentAway ends a session's subscriptions to a channel when its sender has left the
// channel by another protocol.
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
			b.tellGroup(sub)
		}
	}
}

// greet sends a new subscription its retained messages, and on the topic "me" the
// client's own sender.
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
		s.offer(&delivery{m: &message{topic: filter, payload: payload}, subIDs: ids, qos: f.Qos}, handing{}).count(s)
	}
	if f.RetainHandling == 2 || f.RetainHandling == 1 && existed {
		return
	}
	b.retained.match(filter, b.now(), func(m *message, of int) {
		if !s.access.Load().mayRead(m.topic) {
			return
		}
		v := s.greet(&delivery{m: m, subIDs: ids, qos: min(f.Qos, m.qos), marks: markRetain}, of)
		v.count(s)
		b.overflowed(s, v)
	})
}

// resubscribe gives a session the subscriptions of its record.
func (b *Broker) resubscribe(s *session, subs []subscriptionRecord) {
	for _, sub := range subs {
		f := packets.Subscription{Filter: sub.Filter, Qos: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.AsIs}
		if _, err := b.subscribe(s, f, sub.ID); err != nil {
			b.log.WithError(err).WithField("client", s.key.client).WithField("filter", sub.Filter).Warn("subscription lost")
		}
	}
}
