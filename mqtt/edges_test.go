package mqtt_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

func TestTheLastDeliveryIsTheRetainedOne(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for round := range 20 {
		topic := fmt.Sprintf("home/state/%d", round)
		listener := h.join(connect{id: "listener"})
		listener.subscribe(0, topic)
		var publishers sync.WaitGroup
		for p := range 4 {
			c := h.join(connect{id: fmt.Sprintf("publisher%d", p)})
			publishers.Go(func() {
				for i := range 50 {
					c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true}, TopicName: topic, Payload: fmt.Appendf(nil, "%d %d", p, i)})
				}
				c.ping()
			})
		}
		publishers.Wait()
		var last []byte
		for live := 0; live < 200; {
			pk := listener.read(packets.Publish)
			last = pk.Payload
			if !pk.FixedHeader.Retain { // it may get retained messages too
				live++
			}
		}
		later := h.join(connect{id: "later"})
		later.subscribe(0, topic)
		require.Equal(t, string(later.read(packets.Publish).Payload), string(last))
	}
}

func TestAContentTypeArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	speaker := h.join(connect{id: "speaker", version: 5})
	listener := h.join(connect{id: "listener", version: 5})
	listener.subscribe(1, "watchtower/channels/5/broadcast/+")
	for _, of := range []packets.Properties{
		{ContentType: "text/plain;charset=latin1"},
		{ContentType: "text/csv", PayloadFormat: 1, PayloadFormatFlag: true},
		{ContentType: "application/json; charset=utf-8"},
		{PayloadFormat: 1, PayloadFormatFlag: true},
	} {
		speaker.publishPacket(packets.Packet{TopicName: "watchtower/channels/5/broadcast", Payload: []byte("1"), Properties: of})
		got := listener.message().Properties
		assert.Equal(t, of.ContentType, got.ContentType)
		assert.Equal(t, of.PayloadFormat, got.PayloadFormat)
	}
}

func TestWhatTheGatewayAddsIsLeftOutOfASmallPacket(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	speaker := h.join(connect{id: "a-speaker-with-a-long-name"})
	const topic = "watchtower/channels/5/broadcast"
	for _, test := range []struct {
		most    uint32
		has     []string
		dropped int
	}{
		{0, []string{"sender-name", "channel", "type", "id", "sender"}, 0},
		{192, []string{"sender-name", "channel", "type", "id", "sender"}, 0},
		{100, []string{"sender"}, 0},
		{54, nil, 0}, // with a sender of ten digits, the bare message has 53 bytes
		{20, nil, 1},
	} {
		listener := h.join(connect{id: fmt.Sprintf("listener%d", test.most), version: 5, props: packets.Properties{MaximumPacketSize: test.most}})
		listener.subscribe(1, topic+"/+")
		before := h.dropped(bridge.TooLarge)
		speaker.publish(1, topic, "open")
		if test.dropped > 0 {
			listener.ping()
			assert.Equal(t, before+test.dropped, h.dropped(bridge.TooLarge))
			assert.Len(t, h.logged("Maximum Packet Size"), 1)
			continue
		}
		pk := listener.message()
		var has []string
		for _, u := range pk.Properties.User {
			has = append(has, u.Key)
		}
		assert.Equal(t, test.has, has, "at most %d bytes", test.most)
		assert.Equal(t, "open", string(pk.Payload))
	}
}

func TestAMessageThatIsTooLargeIsReadPast(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.MaxPacketBytes = 10_000 })
	listener := h.join(connect{id: "listener"})
	listener.subscribe(1, "house/#")
	c := h.join(connect{id: "broker-of-the-cellar"})
	for qos := range byte(3) {
		before := h.dropped(bridge.Limit)
		require.Zero(t, c.publish(qos, "house/picture", strings.Repeat("x", 300_000)))
		require.Zero(t, c.publish(qos, "house/after", "it"))
		assert.Equal(t, "house/after", listener.message().TopicName)
		assert.Equal(t, before+1, h.dropped(bridge.Limit))
	}
	lines := h.logged("publish refused")
	require.Len(t, lines, 1)
	assert.Equal(t, "house/picture", lines[0].Data["topic"])
	require.ErrorContains(t, lines[0].Data["error"].(error), "message of 300000 bytes skipped: packet too large (mqtt.max_packet_bytes)")

	large := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 7, TopicName: "house/picture", Payload: make([]byte, 300_000)}
	five := h.join(connect{id: "five", version: 5}) // it knows the limit from CONNACK
	five.send(large)
	assert.Equal(t, packets.ErrPacketTooLarge.Code, five.ended())
	five = h.join(connect{id: "five", version: 5}) // and has not minded it: it would come for ever
	large.FixedHeader.Dup = true
	for qos, kind := range map[byte]byte{1: packets.Puback, 2: packets.Pubrec} {
		large.FixedHeader.Qos = qos
		five.send(large)
		ack := five.read(kind)
		assert.Equal(t, packets.ErrQuotaExceeded.Code, ack.ReasonCode)
		assert.Equal(t, uint16(7), ack.PacketID)
	}
	require.Zero(t, five.publish(1, "house/after", "it"))
}

func TestAFaultOfTheGatewayEndsOneConnection(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	defer h.broker.Watch("fault", func(string, []byte, bridge.Client) { panic("a fault of the program") })()
	for _, retain := range []bool{false, true} {
		c := h.join(connect{id: "unlucky", version: 5})
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: retain}, TopicName: "fault", Payload: []byte("x")})
		assert.Equal(t, packets.ErrImplementationSpecificError.Code, c.ended())
	}
	assert.Zero(t, h.dropped(bridge.Malformed), "it is not the client's fault")
	lines := h.logged("a fault of the gateway")
	require.Len(t, lines, 2)
	assert.Contains(t, lines[0].Data["stack"], "TestAFaultOfTheGatewayEndsOneConnection")

	others := h.join(connect{id: "another"})
	others.subscribe(0, "fault")
	assert.Equal(t, []string{"fault"}, others.messages(), "what was retained; no lock is held")
}

func TestTwoProgramsWithOneClientIDAreNamed(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for range 6 {
		h.join(connect{id: "twin"})
	}
	assert.EqualValues(t, 5, h.hub.Counters().Takeovers())
	lines := h.logged("two programs")
	require.Len(t, lines, 1, "once a minute")
	assert.Equal(t, "twin", lines[0].Data["client"])
	assert.NotEqual(t, lines[0].Data["remote"], lines[0].Data["by"])
	assert.Contains(t, lines[0].Data["by"], "127.0.0.1:")
}

func TestWhoIsRefusedIsNamedOnceAMinute(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for range 3 {
		for _, id := range []string{"first", "second"} {
			h.dial(connect{id: id, password: "wrong"})
		}
	}
	var named []any
	for _, e := range h.logged("neither the secret key nor a token") {
		named = append(named, e.Data["client"])
	}
	assert.Equal(t, []any{"first", "second"}, named)

	for range 3 {
		c := h.join(connect{id: "garbled"})
		c.raw([]byte{0x82, 6, 0, 1, 0, 0, 1, 'a'})
		c.ended()
	}
	lines := h.logged("malformed")
	require.Len(t, lines, 1)
	assert.Equal(t, "garbled", lines[0].Data["client"])
}

func TestAClientIDThatIsNoNameIsToldOnce(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for range 3 {
		h.join(connect{id: "living room"})
		h.join(connect{id: "ESP-AA:BB:CC:DD:EE:FF"})
		h.join(connect{id: ""})
	}
	lines := h.logged("its client id is no name")
	require.Len(t, lines, 1)
	assert.Equal(t, "living room", lines[0].Data["client"])
}

func TestNothingIsBehindTheLastField(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for _, version := range []byte{3, 4, 5} {
		var buf bytes.Buffer
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: version, Connect: packets.ConnectParams{
			ProtocolName: []byte(map[byte]string{3: "MQIsdp", 4: "MQTT", 5: "MQTT"}[version]), ClientIdentifier: "longer", Clean: true,
			WillFlag: true, WillTopic: "gone", WillPayload: []byte("x"),
			UsernameFlag: true, Username: []byte("anybody"), PasswordFlag: true, Password: []byte(key),
		}}
		require.NoError(t, pk.ConnectEncode(&buf))
		good := buf.Bytes()
		c, _ := h.plain()
		c.version = version
		c.raw(good)
		require.Zero(t, c.read(packets.Connack).ReasonCode)
		bad, _ := h.plain()
		long := append(bytes.Clone(good), 'x')
		long[1]++ // one length byte does
		bad.raw(long)
		_, err := bad.next()
		assert.Error(t, err, "MQTT version %d", version)

		for i, extra := range [][]byte{{0x40, 6, 0, 1, 0, 0, 'x', 'x'}, {0xe0, 3, 0, 0, 'x'}} {
			c := h.join(connect{id: fmt.Sprintf("longer%d%d", version, i), version: version})
			c.raw(extra)
			c.ended()
			assert.NotEmpty(t, h.logged("bytes behind its last field"))
			h.logs.Reset()
		}
	}
}
