package gateway

import (
	"context"
	"errors"
	"io"

	"watchtower/bridge"
	"watchtower/http"
	"watchtower/intake"
	"watchtower/mqtt"
	"watchtower/operator"
)

// topics are the broker's retained topics, for operators.
type topics struct{ g *Gateway }

func retainedOf(m *mqtt.RetainedMessage) *operator.Retained {
	if m == nil {
		return nil
	}
	return &operator.Retained{Data: m.Payload, Hint: m.Hint, QoS: m.QoS, Time: m.Time}
}

func (t topics) Levels(prefix, from string, limit int) (page []operator.Level, next string) {
	levels, next := t.g.broker.Levels(prefix, from, limit)
	for _, l := range levels {
		page = append(page, operator.Level{Name: l.Name, Below: l.Below, Retained: retainedOf(l.Retained)})
	}
	return page, next
}

func (t topics) Retained(topic string) *operator.Retained {
	return retainedOf(t.g.broker.RetainedOn(topic))
}

func (t topics) Check(topic string) error      { return mqtt.CheckTopic(topic) }
func (t topics) MayPublish(topic string) error { return t.g.broker.MayPublish(topic) }

func (t topics) Publish(ctx context.Context, s *bridge.Sender, p operator.Publication) error {
	return t.g.broker.PublishAs(ctx, s, mqtt.Publication{
		Topic: p.Topic, Payload: p.Data, ContentType: p.ContentType, Voice: p.Voice, QoS: p.QoS, Retain: p.Retain,
	})
}

func (t topics) Remove(ctx context.Context, topic string, below bool) (n int, err error) {
	if below {
		return t.g.broker.RemoveRetainedBelow(ctx, topic)
	}
	removed, err := t.g.broker.RemoveRetained(ctx, topic)
	if removed {
		n = 1
	}
	return n, err
}

// ReadBody reads a message. Its memory counts for limits.unfinished_bytes until it is
// complete.
func (t topics) ReadBody(r io.Reader, s *bridge.Sender) ([]byte, error) {
	most := t.g.cfg.MQTT.MaxPacketBytes
	loan := t.g.intake.Lend(http.Protocol, s)
	defer loan.Close()
	b, err := intake.Read(r, nil, intake.Free, most+1, &loan)
	switch {
	case errors.Is(err, io.EOF) && len(b) <= most:
		return b, nil
	case errors.Is(err, intake.ErrFull):
		return nil, &bridge.Error{Code: bridge.TooManyRequests, Field: "body", Detail: "too many messages are not complete (" + loan.Setting() + "): try again in a moment"}
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	return nil, &bridge.Error{Code: bridge.MessageTooLarge, Field: "body", Detail: "is larger than mqtt.max_packet_bytes"}
}
