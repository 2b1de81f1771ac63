package mqtt_test

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// A device that sleeps connects and pings at once: the answer follows the waiting messages,
// and so tells that these were all.
func TestAPingIsAnsweredBehindWhatWaited(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		pub := h.join(connect{id: "pub"})
		h.join(lasting("lamp", version)).subscribe(1, "own/#")
		for _, n := range []int{0, 1, 900} {
			asleep := h.join(lasting("lamp", version))
			h.lose(asleep, 1)
			for i := range n {
				require.Zero(t, pub.publish(1, "own/x", fmt.Sprint(i, string(make([]byte, 500)))))
			}
			device, _ := h.plain()
			device.version = version
			properties := props(version, prop(17, u32(100)...))
			device.raw(bytes.Join([][]byte{
				hello(version, flagPassword|flagUser, "lamp", properties, text("x"), text(key)), {0xc0, 0},
			}, nil))
			ack, err := device.next()
			require.NoError(t, err)
			require.True(t, ack.SessionPresent)
			for i := range n {
				pk, err := device.next()
				require.NoError(t, err)
				require.Equal(t, packets.Publish, pk.FixedHeader.Type, "%d of %d", i, n)
				device.ack(pk.PacketID)
			}
			pk, err := device.next()
			require.NoError(t, err)
			require.Equal(t, packets.Pingresp, pk.FixedHeader.Type)
			device.ping()
			h.lose(device, 1)
		}
	})
}

// A ping is answered after the messages that waited, however many new ones come.
func TestAPingIsAnsweredInTheMidstOfAFlow(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	sub, pub := h.join(connect{id: "sub"}), h.join(connect{id: "pub"})
	sub.subscribe(0, "own/x")
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		body := make([]byte, 20_000)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				pub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "own/x", Payload: append(body, strconv.Itoa(i)...)})
			}
		}
	}()
	for range 20 {
		sub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		for n := 0; ; n++ {
			pk, err := sub.next()
			require.NoError(t, err)
			if pk.FixedHeader.Type == packets.Pingresp {
				break
			}
			require.Less(t, n, 5000)
		}
	}
	close(stop)
	<-done
}
