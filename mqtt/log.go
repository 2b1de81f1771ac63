package mqtt

import (
	"errors"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// limited counts a refusal, and logs it with its setting once a minute at most.
func (b *Broker) limited(c *conn, who string, why overLimit) {
	b.hub.Counters().Drop(Protocol, bridge.Limit, 1)
	b.warn(who, why.Error(), c)
}

// warn logs an event, once a minute at most for each client and cause (who).
func (b *Broker) warn(who, event string, c *conn) {
	if b.noisy.Allow(who, event+" "+bridge.Shorten(c.clientID), b.now()) {
		c.logged().Warn(event)
	}
}

// refuse counts a publish that was refused. It logs it, and tells the observer, once a minute
// at most for each client and topic. Only MQTT 5 has an answer for the client, and none at
// QoS 0, nor for a will.
func (b *Broker) refuse(s *session, topic string, qos byte, why error) {
	if errors.As(why, new(*bridge.Unconfirmed)) {
		return // it waits for others
	}
	b.hub.Counters().Drop(Protocol, dropReason(why), 1)
	if !b.noisy.Allow(s.key.client, "publish to "+bridge.Shorten(topic), b.now()) {
		return
	}
	b.log.WithField("client", bridge.Shorten(s.key.client)).WithField("sender", s.sender().ID()).WithField("topic", bridge.Shorten(topic)).
		WithError(why).Warn("publish refused")
	if f := b.refusal.Load(); f != nil {
		c := s.connection()
		(*f)(bridge.Refusal{Topic: topic, Why: why, From: b.clientOf(s), Told: qos > 0 && c != nil && c.version == version5})
	}
}

// refuseSubscription logs a refused subscription, and a client's further ones of a minute at
// debug level: with an access list, Home Assistant asks for a dozen at each connect.
func (b *Broker) refuseSubscription(c *conn, filter string, why error) {
	var limit overLimit
	if errors.As(why, &limit) {
		b.limited(c, c.clientID, limit)
		return
	}
	event := c.logged().WithError(why).WithField("filter", bridge.Shorten(filter))
	if b.noisy.Allow(c.clientID, "subscriptions", b.now()) {
		event.Warn("subscription refused; further ones of this client are logged at debug level")
	} else {
		event.Debug("subscription refused")
	}
}

// drop counts a packet that ended the connection.
func (c *conn) drop(err error) {
	switch {
	case errors.Is(err, errTooLarge):
		c.broker.limited(c, "packet "+c.host(), errTooLarge)
	case isMalformed(err):
		c.broker.hub.Counters().Drop(Protocol, bridge.Malformed, 1)
		c.broker.warn(c.host(), "MQTT connection closed: "+err.Error(), c)
	}
}

// fullEvery is the time between two log lines about a session's full queue, at least.
const fullEvery = time.Minute

// overflowed logs which bound of a session's queue a message exceeded.
func (b *Broker) overflowed(s *session, v verdict) {
	now := b.now().Unix()
	last := s.overflow.Load()
	if v != full && v != heavy && v != crowded || last != 0 && now-last < int64(fullEvery/time.Second) || !s.overflow.CompareAndSwap(last, now) {
		return
	}
	event := b.log.WithField("client", bridge.Shorten(s.key.client))
	switch {
	case v == full:
		event.Warn("messages dropped: the client's queue is full (mqtt.session_queue)")
	case v == heavy:
		event.Warn("messages dropped: the client's queue is full (mqtt.session_queue_bytes)")
	case b.noisy.Allow("", "limits.mqtt_queue_bytes", b.now()): // no single client caused it
		event.WithFields(logrus.Fields{"held": b.budget.used.Load(), "sessions": b.budget.sessions.Load()}).
			Warn("messages dropped: the queues of all MQTT clients together are full (limits.mqtt_queue_bytes)")
	}
}

// reportUnanswered logs what giveUp gave up. Only the writer calls it.
func (c *conn) reportUnanswered() {
	if event := "messages given up: the client acknowledges later ones, and never these; its buffer may be too small"; c.broker.noisy.Allow(c.clientID, event, c.broker.now()) {
		c.logged().WithField("bytes", c.unanswered).Warn(event)
	}
	c.unanswered = 0
}
