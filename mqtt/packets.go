package mqtt

import (
	"errors"
	"math"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"
)

// aliasMax is how many topic aliases a client may set (MQTT 5, 3.3.2.3.4).
const aliasMax = 64

// aliasBytes bounds the topics that they stand for, all of a client's together.
const aliasBytes = 16 << 10

// handle executes one packet. done says that the client has said goodbye.
func (c *conn) handle(pk *packets.Packet) (done bool, err error) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		return false, c.publish(pk)
	case packets.Puback:
		c.session.acked(pk.PacketID)
	case packets.Pubrec:
		return false, c.pubrec(pk.PacketID, pk.ReasonCode)
	case packets.Pubcomp:
		c.session.completed(pk.PacketID)
		c.acknowledgeNow()
	case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		if c.inbox != nil {
			kept := *pk
			if waits, err := c.enqueue(item{pk: &kept}); waits || err != nil {
				return false, err
			}
		}
		return false, c.inOrder(pk)
	case packets.Pingreq:
		return false, c.ping()
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

// inOrder executes a packet that is never executed before what came before it.
func (c *conn) inOrder(pk *packets.Packet) error {
	switch pk.FixedHeader.Type {
	case packets.Pubrel:
		return c.pubrel(pk)
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
	p := publication{topic: topic, payload: pk.Payload, qos: pk.FixedHeader.Qos, retain: pk.FixedHeader.Retain, again: pk.FixedHeader.Dup}
	if c.version == version5 {
		p.extras, p.lifetime = carried(&pk.Properties), pk.Properties.MessageExpiryInterval
	}
	if c.inbox != nil {
		if waits, err := c.enqueue(item{p: p, id: pk.PacketID}); waits || err != nil {
			return err
		}
	}
	a, err := c.carry(&p, pk.PacketID)
	switch {
	case err != nil:
		return err
	case len(a.owe) > 0:
		c.hold(a)
		return nil
	}
	return c.say(a)
}

// carry publishes what a client asks to be published, and returns how that is to be
// answered.
func (c *conn) carry(p *publication, id uint16) (a answer, err error) {
	switch p.qos {
	case 0:
		_ = c.broker.publish(c.session, *p, nil)
		return a, nil
	case 1:
		a = answer{kind: packets.Puback, id: id}
		a.refusal = c.broker.publish(c.session, *p, &a.owe)
		return a, nil
	}
	a = answer{kind: packets.Pubrec, id: id}
	fresh, err := c.receive(id)
	switch {
	case err != nil, !fresh && p.again:
		return a, err
	case !fresh:
		c.reuses()
	}
	a.refusal = c.broker.publish(c.session, *p, &a.owe)
	c.session.delivered()
	if c.version == version5 && a.refusal != nil && reasonOf(a.refusal).Code >= packets.ErrUnspecifiedError.Code {
		c.session.release(id) // an error ends the handshake (MQTT 5, 4.3.3)
	}
	return a, nil
}

// shownBytes is how much of a topic is shown where the rest does not matter.
const shownBytes = 200

// shorten makes a topic fit into a reason string or a log.
func shorten(topic string) string {
	if len(topic) <= shownBytes {
		return topic
	}
	return strings.ToValidUTF8(topic[:shownBytes], "") + "…"
}

// ack acknowledges a publish. A refusal is said where the version allows it:
// a client of 3.1.1 is acknowledged, and its message is dropped.
func (c *conn) ack(kind byte, id uint16, refusal error) error {
	if refusal == nil || c.version != version5 {
		return c.answer(kind<<4, 2, byte(id>>8), byte(id))
	}
	return c.answerPacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: kind},
		PacketID:    id,
		ReasonCode:  reasonOf(refusal).Code,
		Properties:  packets.Properties{ReasonString: refusal.Error()},
	})
}

// receive notes a publish at QoS 2. fresh is false if it is one that came before.
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

// reuses tells of a client that uses the id of a publish at QoS 2 again that it has not
// released. What is sent again has DUP set (MQTT-3.3.1-1), so this is a new message: of
// one of those that never send PUBREL.
func (c *conn) reuses() {
	if c.broker.once.allow(c.clientID, "reuses", c.broker.now()) {
		c.broker.log.WithField("client", shorten(c.clientID)).WithField("remote", c.remote).
			Info("a client does not release what it publishes at QoS 2 (PUBREL): what comes with the same packet id is taken as a new message, unless it has DUP set")
	}
}

// tooMany is a client that has more publishes under way than it was told it may.
func (c *conn) tooMany() error {
	why := packets.ErrReceiveMaximum
	if c.broker.noisy.allow(c.clientID, why.Reason, c.broker.now()) {
		c.broker.log.WithFields(logrus.Fields{"client": shorten(c.clientID), "remote": c.remote, "receive_maximum": c.broker.opts.receiveMax()}).
			Info("MQTT client disconnected: it has more publishes under way than it was told it may")
	}
	return why
}

// pubrec is the answer to a PUBLISH at QoS 2: PUBREL is to follow, unless it is an
// error, which ends the delivery (MQTT 5, 4.3.3).
func (c *conn) pubrec(id uint16, reason byte) error {
	if reason >= packets.ErrUnspecifiedError.Code {
		c.session.acked(id)
		return nil
	}
	if known := c.session.recorded(id); !known && c.version == version5 {
		return c.answer(packets.Pubrel<<4|2, 3, byte(id>>8), byte(id), packets.ErrPacketIdentifierNotFound.Code)
	}
	return c.answer(packets.Pubrel<<4|2, 2, byte(id>>8), byte(id))
}

func (c *conn) pubrel(pk *packets.Packet) error {
	known := c.session.release(pk.PacketID)
	if !known && c.version == version5 {
		return c.answer(packets.Pubcomp<<4, 3, byte(pk.PacketID>>8), byte(pk.PacketID), packets.ErrPacketIdentifierNotFound.Code)
	}
	return c.answer(packets.Pubcomp<<4, 2, byte(pk.PacketID>>8), byte(pk.PacketID))
}

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
		if _, shared := cutShare(f.Filter); shared && f.NoLocal {
			return packets.ErrProtocolViolationInvalidSharedNoLocal // MQTT-3.8.3-4
		}
		if f.RetainHandling > 2 {
			return packets.ErrProtocolViolation
		}
		if !validFilter(f.Filter) {
			codes[i], reason = packets.ErrTopicFilterInvalid.Code, "not a topic filter: "+shorten(f.Filter)
			continue
		}
		if c.bridge {
			f.RetainAsPublished = true
			_, shared := cutShare(f.Filter)
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
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: pk.PacketID}
	ack.ReasonCodes = append(ack.ReasonCodes, codes...)
	ack.Properties.ReasonString = reason
	if c.version != version5 {
		for i, code := range ack.ReasonCodes {
			if code > 2 {
				ack.ReasonCodes[i] = packets.ErrUnspecifiedError.Code // 3.1.1 knows one failure
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

// goodbye is a DISCONNECT: no will, unless it says that something went wrong or
// asks for it.
func (c *conn) goodbye(pk *packets.Packet) error {
	if c.version == version5 {
		if pk.Properties.SessionExpiryIntervalFlag {
			if err := c.broker.changeExpiry(c.session, pk.Properties.SessionExpiryInterval); err != nil {
				return err
			}
		}
	}
	c.willQuiet = c.version != version5 || pk.ReasonCode == 0 // MQTT-3.1.2-8
	return nil
}
