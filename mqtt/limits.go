package mqtt

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/intake"
)

// overLimit is a request that goes over a limit of the configuration. It is
// counted as limit, and logged with the setting's name.
type overLimit struct{ what, setting string }

func (e overLimit) Error() string { return fmt.Sprintf("%s (%s)", e.what, e.setting) }

var (
	errSessions          = overLimit{"too many MQTT sessions", "limits.mqtt_sessions"}
	errSubscriptions     = overLimit{"too many subscriptions", "limits.mqtt_subscriptions"}
	errSubscriptionBytes = overLimit{"subscriptions take too much memory", "limits.mqtt_subscription_bytes"}
	errRetained          = overLimit{"too many retained messages", "limits.mqtt_retained"}
	errRetainedBytes     = overLimit{"retained messages take too much memory", "limits.mqtt_retained_bytes"}
	errWills             = overLimit{"the wills of all clients together take too much memory", "limits.mqtt_queue_bytes"}
	errQueues            = overLimit{"the queues of all clients together are full", "limits.mqtt_queue_bytes"}
	errNoConnect         = overLimit{"no CONNECT in time", "mqtt.connect_timeout"}
)

// errAliases is a client whose topic aliases stand for too much text.
var errAliases = packets.Code{Code: packets.ErrQuotaExceeded.Code, Reason: "the topics of all topic aliases take more than 16 KiB"}

// topicLevels bounds the levels of a topic or a filter, and so what a tree of
// them costs.
const topicLevels = 200

var errLevels = fmt.Errorf("topic: has more than %d levels", topicLevels)

// reasonOf is the MQTT 5 reason code of a refused publish or subscription.
func reasonOf(refusal error) packets.Code {
	var limit overLimit
	var fault *bridge.Error
	switch {
	case errors.As(refusal, &limit):
		return packets.ErrQuotaExceeded
	case errors.As(refusal, &fault) && fault.Code == bridge.UnjoinedReceiver:
		return packets.CodeNoMatchingSubscribers // clients take 0x87 for the end, and connect anew
	case errors.Is(refusal, errLevels):
		return packets.ErrTopicNameInvalid
	}
	return packets.ErrNotAuthorized
}

// dropReason is what a refused publish is counted as.
func dropReason(refusal error) bridge.Reason {
	var limit overLimit
	if errors.As(refusal, &limit) {
		return bridge.Limit
	}
	return bridge.Refused
}

// limited counts a refusal, and logs it with its setting once a minute at most.
func (b *Broker) limited(c *conn, who string, why overLimit) {
	b.hub.Counters().Drop(Protocol, bridge.Limit, 1)
	b.warn(who, why.Error(), c)
}

// warn logs an event, once a minute at most of each client of who causes it.
func (b *Broker) warn(who, event string, c *conn) {
	if b.noisy.allow(who, event+" "+shorten(c.clientID), b.now()) {
		b.log.WithField("client", shorten(c.clientID)).WithField("remote", c.remote).Warn(event)
	}
}

// rivalry is within what time a client id that is taken over again is noticed.
const rivalry = time.Minute

// tookOver counts a takeover. One of a connection that took over itself, a moment
// ago, tells of two programs with one client id.
func (b *Broker) tookOver(old, by *conn) {
	b.hub.Counters().TookOver()
	now := b.now()
	by.tookOver = now
	if now.Sub(old.tookOver) < rivalry && b.noisy.allow(old.clientID, "rivals", now) {
		b.log.WithFields(logrus.Fields{"client": shorten(old.clientID), "remote": old.remote, "by": by.remote}).
			Warn("a client id is taken over again and again: two programs seem to have it")
	}
}

// What a connection is charged before its CONNECT was accepted, in bytes: for its
// buffers, and for those of TLS.
const (
	strangerBytes = 4 << 10
	tlsBytes      = 12 << 10
)

// track takes a connection in, unless there are too many.
func (b *Broker) track(c *conn) bool {
	v := intake.Visit{At: intake.From(c.nc.RemoteAddr()), Bytes: strangerBytes, Closer: c.nc}
	if secure, ok := c.nc.(*tls.Conn); ok {
		v.Bytes += tlsBytes
		v.Closer = secure.NetConn() // at once, without a goodbye
	}
	if !b.door.Enter(&c.guest, v) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.quiet.Load() {
		c.guest.Leave()
		return false
	}
	b.conns[c] = struct{}{}
	b.reads.Add(1)
	b.serving.Add(1)
	return true
}

func (b *Broker) untrack(c *conn) {
	c.guest.Leave()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

// know says that the client has proved who it is, to whatever carries it as well.
func (c *conn) know() {
	c.guest.Know()
	if carrier, ok := c.nc.(interface{ Know() }); ok {
		carrier.Know()
	}
}

// fullEvery is how often a session whose queue is full is logged at most.
const fullEvery = time.Minute

// overflowed logs which bound of a session's queue a message went over.
func (b *Broker) overflowed(s *session, v verdict) {
	now := b.now().Unix()
	last := s.overflow.Load()
	if v != full && v != heavy && v != crowded || last != 0 && now-last < int64(fullEvery/time.Second) || !s.overflow.CompareAndSwap(last, now) {
		return
	}
	setting := "mqtt.session_queue"
	switch v {
	case heavy:
		setting = "mqtt.session_queue_bytes"
	case crowded:
		b.crowded(s)
		return
	}
	b.log.WithField("client", s.key.client).Warn("messages dropped: the client's queue is full (" + setting + ")")
}

// crowded logs that all queues together are full, once a minute whoever it
// meets: it is nobody's fault alone.
func (b *Broker) crowded(s *session) {
	if b.noisy.allow("", "limits.mqtt_queue_bytes", b.now()) {
		b.log.WithFields(logrus.Fields{"client": shorten(s.key.client), "held": b.budget.used.Load(), "sessions": b.budget.sessions.Load()}).
			Warn("messages dropped: the queues of all MQTT clients together are full (limits.mqtt_queue_bytes)")
	}
}
