package mqtt_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

// A client that the gateway watched can be answered alone, for as long as it is connected.
func TestAClientIsAnsweredAlone(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	born := make(chan bridge.Client, 1)
	defer h.broker.Watch("birth", func(_ string, _ []byte, c bridge.Client) { born <- c })()
	one, other := h.join(connect{id: "one", version: 5}), h.join(connect{id: "other", version: 5})
	one.subscribe(1, "news/#")
	other.subscribe(1, "news/#")
	require.Zero(t, one.publish(1, "birth", "online"))
	from := <-born
	require.True(t, from.Connected())
	assert.Equal(t, "one", from.Sender().Name())
	assert.Len(t, h.broker.Subscribers("news/a"), 2)
	assert.Empty(t, h.broker.Subscribers("elsewhere"))

	require.NoError(t, h.broker.PublishRetained("news/kept", []byte("kept")))
	assert.Equal(t, "kept", string(one.message().Payload))
	assert.Equal(t, "kept", string(other.message().Payload))
	from.Publish("news/a", []byte("for one"))
	from.Publish("elsewhere", []byte("not subscribed"))
	from.Repeat("news/kept")
	from.Repeat("news/none")
	require.NoError(t, h.broker.PublishOwn("news/b", []byte("for all")))
	for _, want := range []string{"for one", "kept", "for all"} {
		m := one.message()
		assert.Equal(t, want, string(m.Payload))
		assert.False(t, m.FixedHeader.Retain)
	}
	assert.Equal(t, "for all", string(other.message().Payload))
	assert.Nil(t, h.broker.Retained("news/a"))

	one.nc.Close()
	require.Eventually(t, func() bool { return !from.Connected() }, 10*time.Second, time.Millisecond)
	assert.Len(t, h.broker.Subscribers("news/a"), 1)
}

// A client may remove the gateway's own retained messages if the gateway takes that, and not
// be told of it. Nothing else may be published there.
func TestAClientRemovesWhatIsTheGateways(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.OwnTopics = []string{"discovery/home_"} })
	one, other := h.join(connect{id: "one", version: 5}), h.join(connect{id: "other", version: 5})
	one.subscribe(1, "discovery/#")
	other.subscribe(1, "discovery/#")
	const topic = "discovery/home_lamp/config"
	require.NoError(t, h.broker.PublishRetained(topic, []byte("lamp")))
	one.message()
	other.message()
	retain := func(payload string) byte {
		return one.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: topic, Payload: []byte(payload)})
	}
	assert.NotZero(t, retain(""), "nobody takes it")
	asked, full := make(chan string, 10), atomic.Bool{}
	h.broker.OnRemoval(func(topic string, remove func()) error {
		asked <- topic
		if full.Load() {
			return errors.New("the disk is full")
		}
		remove()
		return nil
	})
	full.Store(true)
	assert.NotZero(t, retain(""))
	assert.NotNil(t, h.broker.Retained(topic))
	full.Store(false)
	assert.NotZero(t, one.publish(1, topic, ""), "not retained: it removes nothing")
	assert.NotZero(t, retain("mine"))
	assert.Zero(t, retain(""))
	assert.Zero(t, retain(""), "there is none any more")
	require.Len(t, asked, 3)
	assert.Equal(t, topic, <-asked)
	assert.Nil(t, h.broker.Retained(topic))
	require.NoError(t, h.broker.PublishOwn("discovery/end", []byte("end")))
	assert.Equal(t, "end", string(one.message().Payload))
	assert.Empty(t, other.message().Payload)
	assert.Equal(t, "end", string(other.message().Payload))
}

// The gateway is told of refused publishes, and whether their clients were: once a minute for
// each topic.
func TestTheGatewayIsToldOfRefusals(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	told := make(chan bridge.Refusal, 10)
	h.broker.OnRefusal(func(r bridge.Refusal) { told <- r })
	five, three := h.join(connect{id: "five", version: 5}), h.join(connect{id: "three"})
	for range 3 {
		assert.NotZero(t, five.publish(1, "watchtower/nothing", "x"))
	}
	assert.NotZero(t, five.publish(1, "watchtower/nobody", "x"))
	five.publish(0, "watchtower/nothing/0", "x")
	five.ping()
	three.publish(1, "watchtower/channels/5/send/99", "x")
	require.Len(t, told, 4)
	for _, want := range []struct {
		topic, name string
		told        bool
	}{{"watchtower/nothing", "five", true}, {"watchtower/nobody", "five", true}, {"watchtower/nothing/0", "five", false}, {"watchtower/channels/5/send/99", "three", false}} {
		r := <-told
		assert.Equal(t, want.topic, r.Topic)
		assert.Equal(t, want.name, r.From.Sender().Name())
		assert.Equal(t, want.told, r.Told, want.topic)
		assert.NotEmpty(t, r.Why.Error())
	}
	assert.Equal(t, 6, h.dropped(bridge.Refused))
}

// A dozen refused subscriptions are one line of the log.
func TestRefusedSubscriptionsAreOneLine(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c := h.join(connect{id: "house", version: 5})
	for i := range 12 {
		assert.NotZero(t, c.subscribe(0, fmt.Sprintf("watchtower/nothing/%d", i))[0])
	}
	warned := 0
	for _, e := range h.logs.AllEntries() {
		if e.Level <= logrus.WarnLevel && strings.Contains(e.Message, "subscription refused") {
			warned++
		}
	}
	assert.Equal(t, 1, warned)
}
