package gateway_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Home Assistant that connects as it does, with a will and no session that lasts, leaves
// nothing on the disk that its next start complains of.
func TestRestartsFindNothingOfNobody(t *testing.T) {
	t.Parallel()
	cfg := homely(t, nil)
	r := startHomely(t, cfg)
	h := newHouse(t, r.at.MQTT, 5).start()
	for range 3 {
		r.stop()
		r = startHomely(t, cfg)
		h.connected()
		assert.NotContains(t, r.log.String(), "belonged to nobody")
		assert.NotContains(t, r.log.String(), "MQTT state dropped")
	}
}

// What Home Assistant publishes and the gateway refuses is an event there, since it takes every
// answer for a success; so is what a client publishes without an answer that says no.
func TestRefusalsAreShown(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, version int) {
		r := startHomely(t, homely(t, nil))
		h := newHouse(t, r.at.MQTT, version).start()
		h.has(entities(gatewayEntities, channelEntities(5))...)
		refused := func() map[string]any {
			e := h.event(t)
			require.Equal(t, "event.watchtower_home_refused", e.Entity)
			return e.Attributes
		}
		notify := func(n int) {
			h.do(map[string]string{"do": "notify", "entity": "notify.watchtower_home_channel_5_say", "message": strings.Repeat("x", n)})
		}
		notify(64_001)
		a := refused()
		assert.Equal(t, "homeassistant", a["name"])
		assert.Equal(t, "watchtower/channels/5/broadcast", a["topic"])
		assert.Contains(t, a["reason"], "64000")
		assert.Contains(t, r.log.String(), "64000")

		notify(64_002)                // within the minute, and for the same topic
		d := r.paho("cellar")         // of MQTT 3.1.1
		d.send(6, 99, []byte("open")) // a channel that the house does not see
		d.send(5, 99, []byte("open"))
		a = refused()
		assert.Equal(t, "cellar", a["name"])
		assert.Equal(t, "watchtower/channels/5/send/99", a["topic"])

		h.do(map[string]string{"do": "publish", "topic": "watchtower/channels/5/shout", "message": "x"})
		assert.Equal(t, "watchtower/channels/5/shout", refused()["topic"])

		// No packet may have that.
		h.do(map[string]string{"do": "publish", "topic": "lamp/set", "message": strings.Repeat("x", 2<<20)})
		if version == 5 {
			h.connected() // it repeats the packet
		}
		assert.Equal(t, "lamp/set", refused()["topic"])
		h.shows("sensor.watchtower_home_channel_5_last", "unknown")
		assert.Empty(t, h.now().Errors)
	})
}
