package homeassistant_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// to returns what of these messages was for everybody, and for each house alone.
func to(t *testing.T, all []published) map[string][]string {
	t.Helper()
	by := map[string][]published{}
	for _, p := range all {
		who := "all"
		if name, alone := strings.CutPrefix(p.kind, "to "); alone {
			who = name
		}
		by[who] = append(by[who], p)
	}
	steps := map[string][]string{}
	for who, some := range by {
		steps[who] = shown(t, some)
	}
	return steps
}

// What is removed while a house is there is no ghost for it. A house that was away gets the
// component and then its stub, alone.
func TestOnlyWhoWasAwaySeesGhosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		_, say := h.sender("balcony")
		say(`{"sensors":{"a":{},"b":{}}}`)
		near, far := h.house("near"), h.house("far")
		h.birthOf(near)
		h.birthOf(far)
		wait(t, 30)
		far.away.Store(true)
		h.bus.take(only(""))
		say(`{"sensors":{"a":{}}}`)
		wait(t, 10)
		assert.Equal(t, map[string][]string{"all": {"1-1", "1-0"}}, to(t, h.bus.take(only(balconyTopic))))

		near.away.Store(true) // it restarts
		near = h.house("near")
		h.birthOf(near)
		wait(t, 30)
		assert.Equal(t, map[string][]string{"near": {"1-0"}}, to(t, h.bus.take(only(balconyTopic))))

		far = h.house("far")
		h.birthOf(far)
		wait(t, 30)
		all := h.bus.take(only(balconyTopic))
		assert.Equal(t, map[string][]string{"far": {"2-0", "1-1", "1-0"}}, to(t, all))
		assert.Contains(t, all[0].payload, `"payload_available":"never"`, "nobody sees its old state")
		h.birthOf(far)
		wait(t, 30)
		assert.Equal(t, map[string][]string{"far": {"1-0"}}, to(t, h.bus.take(only(balconyTopic))), "once is enough")
		h.stop()
	})
}

// A house that saw a removal before its birth gets no ghost either. One behind a bridge, which
// stays connected, does.
func TestWhoSawARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		_, say := h.sender("balcony")
		say(`{"sensors":{"a":{},"b":{}}}`)
		wait(t, 5)
		early, bridged := h.house("early"), h.house("bridged")
		h.birthOf(bridged)
		h.bus.born("homeassistant/status", []byte("offline"), bridged)
		say(`{"sensors":{"a":{}}}`)
		wait(t, 10)
		h.bus.take(only(""))
		h.birthOf(early)
		wait(t, 30)
		h.birthOf(bridged)
		wait(t, 30)
		assert.Equal(t, map[string][]string{"early": {"1-0"}, "bridged": {"2-0", "1-1", "1-0"}}, to(t, h.bus.take(only(balconyTopic))))
		h.stop()
	})
}

// The whole device goes, and the gateway restarts before the house is back. A house that is
// not known gets the ghosts of all: it may have had another name.
func TestGhostsOutliveTheGateway(t *testing.T) {
	for _, name := range []string{"house", "another", "0123456789abcdefghijkl"} {
		synctest.Test(t, func(t *testing.T) {
			h := newHome(t, "home")
			h.start()
			_, say := h.sender("balcony")
			say(`{"sensors":{"a":{}},"commands":["open"]}`)
			house := h.house("house")
			h.birthOf(house)
			wait(t, 30)
			house.away.Store(true)
			say(`{"sensors":{}}`)
			wait(t, 10)
			h.stop()
			h.start()
			h.bus.take(only(""))
			h.birthOf(h.house(name))
			wait(t, 30)
			assert.Equal(t, map[string][]string{name: {"2-0", "-"}}, to(t, h.bus.take(only(balconyTopic))))
			h.stop()
		})
	}
}

// A house that leaves during its answer gets it again.
func TestALeavingHouseKeepsItsGhosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.options.BirthDelay = time.Millisecond
		h.start()
		_, say := h.sender("balcony")
		say(`{"sensors":{"a":{}}}`)
		wait(t, 5)
		say(`{"sensors":{}}`)
		wait(t, 10)
		house := h.birth()
		wait(t, 1) // the ghost has been shown
		house.away.Store(true)
		wait(t, 30)
		h.bus.take(only(""))
		h.birth()
		wait(t, 30)
		assert.Equal(t, map[string][]string{"homeassistant": {"1-0", "-"}}, to(t, h.bus.take(only(balconyTopic))))
		h.stop()
	})
}

// A device that a house removes stays away, over restarts, until it describes itself again.
func TestAHouseRemovesADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		id, say := h.sender("balcony")
		const description = `{"sensors":{"a":{}}}`
		say(description)
		say(`{"a":1}`)
		h.birth()
		wait(t, 30)
		state := fmt.Sprintf("watchtower/homeassistant/home/5/state/%d", id)
		require.NotEmpty(t, h.bus.Retained(state))
		h.bus.take(only(""))
		require.NoError(t, h.bus.remove(balconyTopic))
		assert.NotContains(t, string(h.memory.document), "balcony/config", "on disk before it is acknowledged")
		require.NoError(t, h.bus.remove(balconyTopic), "once for each entity")
		wait(t, 30)
		assert.Equal(t, []string{"-"}, shown(t, h.bus.take(only(balconyTopic))), "by the house")
		assert.Empty(t, h.bus.Retained(state))
		h.stop()
		h.start()
		h.birth()
		say(`{"a":2}`)
		wait(t, 30)
		assert.Empty(t, h.bus.take(only(balconyTopic)))
		say(description)
		wait(t, 10)
		assert.Equal(t, []string{"1-0"}, shown(t, h.bus.take(only(balconyTopic))))

		require.NoError(t, h.bus.remove(gatewayTopic))
		wait(t, 10)
		assert.Equal(t, []string{"-", "11-0"}, shown(t, h.bus.take(only(gatewayTopic))), "the gateway's own comes back")

		h.memory.fails = errors.New("full")
		require.Error(t, h.bus.remove(balconyTopic))
		wait(t, 10)
		assert.Empty(t, h.bus.take(only(balconyTopic)), "what is not on disk is refused")
		h.stop()
	})
}

// A device is there while it is a member, and nobody has to wait for a message.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		hold, err := h.hub.Holds().Register(bridge.Naming{Name: "balcony", Lasting: true}, func() {})
		require.NoError(t, err)
		hold.Present(viaUDP)
		joined := &bridge.Attachment{Via: viaUDP, Broadcasts: true, Sends: true}
		require.NoError(t, h.hub.Attach(hold.Sender(), 5, joined))
		say := func(text string) {
			_, err := h.hub.Publish(hold.Sender(), bridge.Publication{Channels: []bridge.Channel{5}, Content: bridge.Content{Data: []byte(text)}, Via: viaUDP})
			require.NoError(t, err)
		}
		topic := fmt.Sprintf("watchtower/homeassistant/home/5/presence/%d", hold.Sender().ID())
		is := func() string { return string(h.bus.Retained(topic)) }
		say(`{"sensors":{"a":{}},"commands":["open"]}`)
		wait(t, 3)
		for i, p := range h.bus.take(func(at string) bool { return at == topic || at == balconyTopic }) {
			assert.Equal(t, i == 0, p.topic == topic, "presence comes before discovery")
			assert.True(t, i == 0 || strings.Contains(p.payload, topic) && strings.Contains(p.payload, `"message_expiry_interval":60`), p.payload)
		}
		assert.Equal(t, "online", is())
		h.hub.Detach(joined)
		wait(t, 2)
		assert.Equal(t, "offline", is())
		joined = &bridge.Attachment{Via: viaUDP, Broadcasts: true, Sends: true}
		require.NoError(t, h.hub.Attach(hold.Sender(), 5, joined))
		wait(t, 2)
		assert.Equal(t, "online", is())

		say(`{"sensors":{"a":{}},"commands":["open"],"available_for":600,"ttl":0}`)
		wait(t, 3)
		assert.NotContains(t, string(h.bus.Retained(balconyTopic)), "message_expiry_interval")
		wait(t, 3600)
		assert.Equal(t, "online", is(), "it is a member")
		h.hub.Detach(joined)
		wait(t, 310)
		h.stop()
		h.start()
		wait(t, 5)
		assert.Equal(t, "online", is(), "and for a while after that, over restarts")
		wait(t, 600)
		assert.Equal(t, "offline", is())
		h.stop()
	})
}
