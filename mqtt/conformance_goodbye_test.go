package mqtt_test

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// A client that is still writing gets the reason why its connection ends when it reads later
// (MQTT 5, 4.13.1).
func TestDisconnectReachesAClientThatWritesOn(t *testing.T) {
	t.Parallel()
	for range 20 {
		h := build(t, nil)
		c, ack := h.dial(connect{id: "c", version: 5})
		var b bytes.Buffer
		for id := range ack.Properties.ReceiveMaximum + 1 {
			b.Write(frame(0x34, text("own/x"), u16(id+1), props(5)))
		}
		c.raw(b.Bytes())
		for {
			pk, err := c.next()
			require.NoError(t, err)
			if pk.FixedHeader.Type == packets.Disconnect {
				require.Equal(t, byte(0x93), pk.ReasonCode)
				break
			}
			c.answers(packets.Pubrel, pk.PacketID)
		}
		c.nc.Close()
		h.left(0)
	}
}
