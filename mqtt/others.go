package mqtt

import (
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// share tells the other gateways of a message that was published here, before anybody gets it, and
// picks those that hand it to clients of shared subscriptions. It waits for nothing: it is called
// during the topic's turn if the message is retained.
func (b *Broker) share(rt *route, m *message, s *sharing, r *outbound.Round) *sharing {
	if s != nil && s.elsewhere || m.channel == nil && s == nil {
		return s
	}
	if picks := pick(rt); len(picks) > 0 {
		if s == nil {
			s = &sharing{}
		}
		s.picks = picks
	}
	switch {
	case m.channel == nil:
		b.tell(m, s, r)
	case s != nil:
		m.channel.Groups = s.picks
	}
	return s
}

func (b *Broker) tell(m *message, s *sharing, r *outbound.Round) {
	t := m.elsewhere()
	m.by(s.from).put(t)
	t.Groups = s.picks
	if m.retain {
		t.Stamp = b.retained.stamp(m.topic)
	}
	b.hub.Peers().SayTopic(t, r)
	m.serial = t.Serial
}

// saying says whose message other gateways are told; nil: they are not.
func (b *Broker) saying(from source) *sharing {
	if !b.shares || from != published && from != forAll {
		return nil
	}
	return &sharing{from: from}
}

// isStored reports whether the message was retained before, and did not happen just now.
func (s *sharing) isStored() bool { return s != nil && s.stored }

// serves reports whether this gateway hands a message to a client of a shared subscription.
func (s *sharing) serves(g *group, own bridge.Slot) bool {
	for _, p := range s.picks {
		if p.Filter == g.filter {
			return s.elsewhere && p.At == own
		}
	}
	return !s.elsewhere
}

func (p publisher) put(t *bridge.TopicMessage) { t.Own, t.Mapped = p == aGateway, p == aMap }

func publisherOf(t *bridge.TopicMessage) publisher {
	switch {
	case t.Own:
		return aGateway
	case t.Mapped:
		return aMap
	}
	return aClient
}

// pace waits while other gateways cannot keep up.
func (b *Broker) pace() {
	if b.shares {
		b.hub.Peers().Await()
	}
}

// elsewhere returns the message as other gateways are told it.
func (m *message) elsewhere() *bridge.TopicMessage {
	t := &bridge.TopicMessage{Topic: m.topic, Payload: m.payload, QoS: m.qos, Retain: m.retain, More: m.extras.elsewhere()}
	if m.expires != 0 {
		t.Expires = time.UnixMilli(m.expires)
	}
	return t
}

// fromElsewhere makes a message of another gateway's.
func fromElsewhere(t *bridge.TopicMessage) *message {
	m := &message{topic: t.Topic, payload: t.Payload, qos: t.QoS, retain: t.Retain, own: publisherOf(t) != aClient, extras: extrasFrom(t.More), serial: t.Serial}
	if !t.Expires.IsZero() {
		m.expires = t.Expires.UnixMilli()
	}
	return m
}

func (x *extras) elsewhere() *bridge.TopicProperties {
	if x == nil {
		return nil
	}
	p := &bridge.TopicProperties{
		FormatGiven: x.formatGiven, Format: x.format, ContentType: x.contentType, ResponseTopic: x.responseTo, Correlation: x.correlation,
	}
	for _, u := range x.user {
		p.User = append(p.User, [2]string{u.Key, u.Val})
	}
	return p
}

func extrasFrom(p *bridge.TopicProperties) *extras {
	if p == nil {
		return nil
	}
	x := &extras{formatGiven: p.FormatGiven, format: p.Format, contentType: p.ContentType, responseTo: p.ResponseTopic, correlation: p.Correlation}
	for _, u := range p.User {
		x.user = append(x.user, packets.UserProperty{Key: u[0], Val: u[1]})
	}
	return x
}
