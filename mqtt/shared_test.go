package mqtt_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// MQTT 5, 4.8.2: when a consumer's session ends, another consumer gets its unacknowledged
// messages. At QoS 2 it gets none that was sent, because the first may have processed it.
func TestWhatAnEndedConsumerHadIsAnothers(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		for qos := byte(1); qos <= 2; qos++ {
			for filter, topic := range map[string]string{
				"$share/g/own/jobs": "own/jobs", "$share/g/watchtower/channels/5/broadcast/+": "watchtower/channels/5/broadcast",
				"$share/g/watchtower/channels/5/broadcast": "watchtower/channels/5/broadcast",
			} {
				h := build(t, nil)
				first := h.join(connect{id: "first", version: version, props: packets.Properties{ReceiveMaximum: 3}})
				first.subscribe(qos, filter)
				first.subscribe(qos, "own/alone")
				stranger := h.join(connect{id: "stranger", version: version})
				stranger.subscribe(qos, "$share/other"+filter[len("$share/g"):])
				pub := h.join(connect{id: "pub"})
				pub.publish(1, "own/alone", "its own")
				for i := range 6 {
					pub.publish(2, topic, strconv.Itoa(i))
				}
				assert.Equal(t, "its own", string(first.read(packets.Publish).Payload))
				done := first.read(packets.Publish) // of 0 to 5, this one is done
				first.answers([]byte{0, packets.Puback, packets.Pubrec}[qos], done.PacketID)
				if qos == 2 { // or the client has it at least
					first.read(packets.Pubrel)
				}
				first.ping()
				second := h.join(connect{id: "second", version: version})
				second.subscribe(qos, filter)
				h.lose(first, 3)
				kept := 0
				if qos == 2 { // 1 was sent; without a Receive Maximum all of them
					kept = map[byte]int{4: 5, 5: 1}[version]
				}
				passedOn := []string{"1", "2", "3", "4", "5"}[kept:]
				assert.Equal(t, fmt.Sprint(passedOn), fmt.Sprint(second.bodies()), "%s at QoS %d", filter, qos)
				assert.Equal(t, []string{"0", "1", "2", "3", "4", "5"}, stranger.bodies(), "as before: once")
				assert.Equal(t, 1+kept, h.dropped(bridge.Disconnected), "what was for it alone")
			}
		}
	})
}

// The message waits for a consumer that is away, also over a restart. If no consumer is left
// its drop is counted. A message that was sent at QoS 2 before the restart stays with its
// consumer.
func TestWhatAnEndedConsumerHadWaitsForAnother(t *testing.T) {
	t.Parallel()
	d := newDisk(t, nil)
	away := d.join(lasting("away", 5))
	away.subscribe(2, "$share/g/own/jobs")
	d.lose(away, 0)
	slow := lasting("gone", 5)
	slow.props.ReceiveMaximum = 1
	gone := d.join(slow)
	gone.subscribe(2, "$share/g/own/jobs")
	pub := d.join(connect{id: "pub"})
	require.Zero(t, pub.publish(2, "own/jobs", "sent"))
	for i := range 3 {
		require.Zero(t, pub.publish(2, "own/jobs", strconv.Itoa(i)))
	}
	assert.Equal(t, "sent", string(gone.read(packets.Publish).Payload))
	d.restart()
	d.join(connect{id: "gone", version: 5}) // anew: its session ends
	away = d.join(lasting("away", 5))
	for i := range 3 {
		assert.Equal(t, strconv.Itoa(i), string(away.exactly().Payload))
	}
	pub = d.join(connect{id: "pub"})
	pub.publish(2, "own/jobs", "nobody's")
	away.read(packets.Publish)
	last := d.join(connect{id: "away", version: 5})
	last.ping()
	require.Eventually(t, func() bool { return d.dropped(bridge.Disconnected) == 2 }, 5*time.Second, time.Millisecond)
}
