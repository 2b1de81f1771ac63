package mqtt

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// aliasBytes bounds the topics of all topic aliases of one client together.
const aliasBytes = 16 << 10

// handle executes one packet. done says that it was DISCONNECT.
func (c *conn) handle(pk *packets.Packet) (done bool, err error) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		return false, c.publish(pk)
	case packets.Puback:
		c.session.acked(pk.PacketID, nil)
	case packets.Pubrec:
		return false, c.pubrec(pk.PacketID, pk.ReasonCode)
	case packets.Pubcomp:
		c.session.completed(pk.PacketID, nil)
		c.acknowledgeNow()
	case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		if c.inbox != nil {
			later := *pk
			if waits, err := c.queueBehind(item{pk: &later}); waits || err != nil {
				return false, err
			}
		}
		return false, c.inOrder(pk)
	case packets.Pingreq:
		return false, c.ping(nil)
	case packets.Disconnect:
		c.caughtUp()
		return true, c.goodbye(pk)
	case packets.Connect:
		return false, packets.ErrProtocolViolationSecondConnect // MQTT-3.1.0-2
	default:
		return false, packets.ErrProtocolViolation
	}
	return false, nil
}

// inOrder executes a packet that must wait for the packets before it.
func (c *conn) inOrder(pk *packets.Packet) error {
	switch pk.FixedHeader.Type {
	case packets.Pubrel:
		return c.goOn(packets.Pubcomp<<4, pk.PacketID, c.session.release(pk.PacketID))
	case packets.Subscribe:
		return c.subscribe(pk)
	}
	return c.unsubscribe(pk)
}

func (c *conn) publish(pk *packets.Packet) error {
	if bad := pk.PublishValidate(aliasMax); bad.Code != 0 {
		return bad
	}
	if strings.ContainsAny(pk.Properties.ResponseTopic, "+#") {
		return packets.ErrProtocolViolation // MQTT-3.3.2-14
	}
	topic := pk.TopicName
	if pk.Properties.TopicAliasFlag {
		if topic == "" {
			topic = c.aliases[pk.Properties.TopicAlias]
		} else {
			if c.aliases == nil {
				c.aliases = map[uint16]string{}
			}
			c.aliasBytes += len(topic) - len(c.aliases[pk.Properties.TopicAlias])
			if c.aliasBytes > aliasBytes {
				return errAliases
			}
			c.aliases[pk.Properties.TopicAlias] = strings.Clone(topic) // not with the packet's bytes
		}
		if topic == "" {
			return packets.ErrProtocolViolationNoTopic
		}
	}
	c.spoke = true
	m := &message{topic: topic, payload: pk.Payload, qos: pk.FixedHeader.Qos, retain: pk.FixedHeader.Retain}
	if c.version == version5 {
		m.extras, m.lifetime = carried(&pk.Properties), pk.Properties.MessageExpiryInterval
	}
	if c.inbox != nil {
		if waits, err := c.queueBehind(item{m: m, id: pk.PacketID, dup: pk.FixedHeader.Dup}); waits || err != nil {
			return err
		}
	}
	a, err := c.carry(m, pk.PacketID, pk.FixedHeader.Dup)
	switch {
	case err != nil:
		return err
	case len(a.owe) > 0:
		c.hold(a)
		return nil
	}
	return c.say(a)
}

// carry publishes a client's message, and returns the answer.
func (c *conn) carry(m *message, id uint16, dup bool) (a answer, err error) {
	switch m.qos {
	case 0:
		_ = c.broker.publish(c.session, m, handing{voice: c.voice})
		return a, nil
	case 1:
		a = answer{kind: packets.Puback, id: id}
		a.refusal = c.broker.publish(c.session, m, handing{owe: &a.owe, voice: c.voice})
		return a, nil
	}
	a = answer{kind: packets.Pubrec, id: id}
	fresh, err := c.receive(id)
	switch {
	case err != nil, !fresh && dup:
		return a, err
	case !fresh:
		c.reuses()
	}
	a.refusal = c.broker.publish(c.session, m, handing{owe: &a.owe, voice: c.voice})
	c.session.delivered()
	if c.version == version5 && a.refusal != nil && reasonOf(a.refusal).Code >= packets.ErrUnspecifiedError.Code {
		c.session.release(id) // an error ends the handshake (MQTT 5, 4.3.3)
	}
	return a, nil
}

// queueBehind puts a packet into the inbox, once there is room. false: no packets wait, and
// the caller executes it.
func (c *conn) queueBehind(it item) (waits bool, _ error) {
	in, all, n := c.inbox, c.broker.budget, it.bytes()
	if in == nil {
		return false, nil
	}
	for {
		in.mu.Lock()
		switch {
		case !in.running:
			in.mu.Unlock()
			return false, c.over()
		case c.version == version5 && in.under+it.under() > c.broker.opts.receiveMax():
			in.mu.Unlock()
			return false, c.tooMany()
		case len(in.items) == 0 || in.bytes+n <= c.broker.opts.SessionQueueBytes && all.used.Load() < all.limit-all.reserve():
			in.items = append(in.items, it)
			in.bytes += n
			in.under += it.under()
			all.used.Add(int64(n))
			in.mu.Unlock()
			return true, nil
		}
		in.mu.Unlock()
		select {
		case <-in.less:
		case <-time.After(pressedCheck): // other sessions share the budget
		}
	}
}

// hold holds an answer, and starts to queue the packets after it.
func (c *conn) hold(a answer) {
	if c.inbox == nil {
		c.inbox = &inbox{less: make(chan struct{}, 1)}
	}
	in := c.inbox
	in.mu.Lock()
	in.running, in.under = true, 1
	in.mu.Unlock()
	in.catcher.Go(func() { c.catchUp(in, a) })
}

// catchUp sends the held answer once it may, and executes the packets in the inbox.
func (c *conn) catchUp(in *inbox, held answer) {
	for {
		for _, s := range held.owe {
			s.wait(c.over)
		}
		err := c.say(held)
		if err != nil || c.over() != nil {
			in.stop(c.broker.budget)
			return
		}
		it, more := in.next(c.broker.budget)
		if !more {
			return
		}
		if held, err = c.attempt(&it); err != nil {
			in.stop(c.broker.budget)
			c.drop(err)
			c.disconnect(code(err))
			c.interrupt()
			return
		}
	}
}

func (c *conn) attempt(it *item) (a answer, err error) {
	defer c.fault(&err)
	switch {
	case it.a.kind != 0:
		return it.a, nil
	case it.pk != nil:
		return a, c.inOrder(it.pk)
	}
	return c.carry(it.m, it.id, it.dup)
}

// caughtUp waits until the inbox is empty or stopped.
func (c *conn) caughtUp() {
	if c.inbox != nil {
		c.inbox.catcher.Wait()
	}
}

// say acknowledges a publish. Only MQTT 5 can carry a refusal: an MQTT 3.1.1 client gets
// a plain acknowledgement of its dropped message.
func (c *conn) say(a answer) error {
	switch {
	case a.kind == 0:
		return nil
	case a.refusal == nil || c.version != version5:
		return c.answer(a.kind<<4, 2, byte(a.id>>8), byte(a.id))
	}
	return c.answerPacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: a.kind},
		PacketID:    a.id,
		ReasonCode:  reasonOf(a.refusal).Code,
		Properties:  packets.Properties{ReasonString: a.refusal.Error()},
	})
}

// receive notes the id of a publish at QoS 2. fresh is false if the id is in use.
func (c *conn) receive(id uint16) (fresh bool, _ error) {
	most := math.MaxUint16
	if c.version == version5 {
		most = c.broker.opts.receiveMax()
	}
	fresh, err := c.session.receive(id, most)
	switch {
	case errors.Is(err, errQueues):
		c.broker.limited(c, c.clientID, errQueues)
		return false, packets.ErrQuotaExceeded
	case err != nil:
		return false, c.tooMany()
	}
	return fresh, nil
}

// reuses logs that a client uses an unreleased QoS 2 id again. A repeated publish has DUP
// set (MQTT-3.3.1-1), so this one is a new message of a client that never sends PUBREL.
func (c *conn) reuses() {
	if c.broker.once.Allow(c.clientID, "reuses", c.broker.now()) {
		c.logged().Info("a client does not release what it publishes at QoS 2 (PUBREL): what comes with the same packet id is taken as a new message, unless it has DUP set")
	}
}

// tooMany logs a client that exceeds its Receive Maximum, and returns the error.
func (c *conn) tooMany() error {
	why := packets.ErrReceiveMaximum
	if c.broker.noisy.Allow(c.clientID, why.Reason, c.broker.now()) {
		c.logged().WithField("receive_maximum", c.broker.opts.receiveMax()).Info("MQTT client disconnected: it has more publishes under way than it was told it may")
	}
	return why
}

// pubrec handles a PUBREC: it answers PUBREL. An error ends the delivery (MQTT 5, 4.3.3).
func (c *conn) pubrec(id uint16, reason byte) error {
	if reason >= packets.ErrUnspecifiedError.Code {
		c.session.acked(id, nil)
		return nil
	}
	return c.goOn(packets.Pubrel<<4|2, id, c.session.recorded(id))
}

// goOn answers a PUBREC or PUBREL of the QoS 2 handshake.
func (c *conn) goOn(first byte, id uint16, known bool) error {
	if !known && c.version == version5 {
		return c.answer(first, 3, byte(id>>8), byte(id), packets.ErrPacketIdentifierNotFound.Code)
	}
	return c.answer(first, 2, byte(id>>8), byte(id))
}

// goodbye handles a DISCONNECT. Unless it carries a reason code, there is no will. It may
// change how long the session outlives the connection.
func (c *conn) goodbye(pk *packets.Packet) error {
	if pk.Properties.SessionExpiryIntervalFlag {
		s, seconds := c.session, pk.Properties.SessionExpiryInterval
		c.broker.sessions.mu.Lock()
		defer c.broker.sessions.mu.Unlock()
		if s.expiry == 0 && seconds > 0 {
			return packets.ErrProtocolViolationZeroNonZeroExpiry
		}
		s.expiry = min(time.Duration(seconds)*time.Second, c.broker.opts.SessionExpiry)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.durable = s.expiry > 0
		s.changed(true)
	}
	c.willQuiet = c.version != version5 || pk.ReasonCode == 0 // MQTT-3.1.2-8
	return nil
}
