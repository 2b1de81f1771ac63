package mqtt_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// flood sends publishes until the connection ends.
func (c *client) flood(topic string) {
	body := append([]byte{0, byte(len(topic))}, topic...)
	pk := append([]byte{packets.Publish << 4, byte(len(body) + 3)}, append(body, "old"...)...)
	many := strings.Repeat(string(pk), 200)
	for {
		if _, err := c.nc.Write([]byte(many)); err != nil {
			return
		}
	}
}

// After the successor's CONNACK, nothing of the old connection is delivered: neither its
// publishes nor its will.
func TestNothingOfTheOldConnectionComesAfterASuccessorWasToldYes(t *testing.T) {
	t.Parallel()
	for _, end := range []struct {
		name string
		by   func(t *testing.T, h *house)
	}{
		{"a takeover", func(t *testing.T, h *house) { h.join(connect{id: "twice", dirty: true}) }},
		{"a clean takeover", func(t *testing.T, h *house) { h.join(connect{id: "twice"}) }},
		{"a device of the same name", func(t *testing.T, h *house) {
			hold, err := h.hub.Holds().Register(bridge.Naming{Name: "twice", Lasting: true}, func() {})
			require.NoError(t, err)
			h.hub.Holds().Claim(hold, func() {})
		}},
		{"its deletion", func(t *testing.T, h *house) {
			hold, err := h.hub.Holds().Register(bridge.Naming{Name: "twice", Lasting: true}, func() {})
			require.NoError(t, err)
			require.NoError(t, h.hub.Forget(hold.Sender()))
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			h := build(t, nil)
			probe := h.join(connect{id: "probe"})
			for range 25 {
				old := h.join(connect{id: "twice", dirty: true, will: lastWill("state/twice")})
				var flooding sync.WaitGroup
				flooding.Go(func() { old.flood("state/twice") })
				end.by(t, h)
				probe.publish(1, "state/twice", "new")
				sub := h.join(connect{id: "sub"})
				sub.subscribe(0, "state/twice") // messages from now on come after the answer
				for range 5 {
					sub.ping()
				}
				assert.Empty(t, sub.messages())
				_ = sub.nc.Close()
				_ = old.nc.Close()
				flooding.Wait()
			}
		})
	}
}

// However many clients connect to a session at once, one has it in the end, and the last
// value is from that one.
func TestOneOwnerOfASessionAtATime(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for round := range 20 {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				nc, ack := h.dial(connect{id: "many", dirty: i%2 == 0, will: lastWill("state/many")})
				assert.Zero(t, ack.ReasonCode)
				_, _ = nc.nc.Write([]byte{packets.Publish << 4, 13, 0, 10, 's', 't', 'a', 't', 'e', '/', 'm', 'a', 'n', 'y', 'x'})
			})
		}
		all.Wait()
		last := h.join(connect{id: "many"})
		assert.Equal(t, byte(0), last.publish(1, "state/many", fmt.Sprint("last ", round)))
		h.left(1)
		_ = last.nc.Close()
		h.left(0)
	}
}
