package gateway_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

// homeTogether starts a gateway of a space that announces channel 5.
func homeTogether(t testing.TB, url, name string) *running {
	t.Helper()
	return startWithOptions(t, homely(t, func(c *config.Config) {
		c.Cluster.URL, c.Gateway.Name = url, name
		withAdmin(c)
	}), []gateway.Option{gateway.Hasten})
}

// tells waits until a gateway tells Home Assistant.
func (r *running) tells(token, gateway string) {
	r.t.Helper()
	eventually(r.t, gateway+" tells Home Assistant", func() bool {
		leases := r.cluster(token).Leases
		i := slices.IndexFunc(leases, func(l struct {
			Name, Holder string
			Since        time.Time
		}) bool {
			return l.Name == "ha"
		})
		return i >= 0 && leases[i].Holder == gateway
	})
}

// Home Assistant sees the space as one, at whichever gateway it is: each device once, all that is
// said once, and the same after the gateway has died that told it.
func TestHomeAssistantInASpace(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	file := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(file, []byte("channels: {5: {name: Watering, homeassistant: true}, 6: {name: Door}}\nhomeassistant: {birth_delay: 10ms}\n"), 0o600))
	victim := newProcess(t)
	victim.args = []string{"--config", file, "--cluster-url", servers.URL(), "--gateway-name", "victim", "--mdns=false"}
	victim.start()
	atVictim := newHouse(t, victim.mqtt, 5)
	atVictim.options.Client = "otherhouse" // a client id is one client's in the space
	atVictim.start()
	all := entities(gatewayEntities, channelEntities(5))
	atVictim.has(all...)
	b := homeTogether(t, servers.URL(), "b")
	admin := b.asAdmin()
	atB := newHouse(t, b.at.MQTT, 5).start()
	s := atB.has(all...)
	assert.Equal(t, "Watchtower home", s.States["event.watchtower_home_channel_5"].Device)
	b.tells(admin, "victim")
	eventually(t, "the gateways hear each other", func() bool {
		_, metrics := (&running{t: t, at: addresses{HTTP: victim.http}}).call("GET", "/metrics", "", "")
		return b.meets("victim") && strings.Contains(metrics, `watchtower_peer_up{gateway="b"} 1`)
	})

	d := b.named("http", "balcony")
	d.broadcast(5, []byte(balcony))
	all = append(all, balconyEntities()...)
	for _, h := range []*house{atVictim, atB} {
		h.has(all...)
		h.shows("sensor.watchtower_home_channel_5_members", "1")
	}
	hears := func(h *house, text string) {
		t.Helper()
		for e := h.event(t); e.Attributes["text"] != text; e = h.event(t) {
			assert.NotContains(t, fmt.Sprint(e.Attributes["text"]), "once", "it came twice")
		}
	}
	d.broadcast(5, []byte(`{"m":41}`))
	d.broadcast(5, []byte("said once"))
	for _, h := range []*house{atVictim, atB} {
		h.shows("sensor.balcony_moisture", "41")
		hears(h, "said once")
	}

	victim.kill()
	d.broadcast(5, []byte(`{"m":42}`))
	b.tells(admin, "b")
	atB.shows("sensor.balcony_moisture", "42")
	d.broadcast(5, []byte("since said once"))
	hears(atB, "since said once")
	atB.has(all...)

	status, answer := b.call("DELETE", fmt.Sprintf("/senders/%d", d.id), "", "", "Authorization", "Bearer "+b.register("balcony").Token)
	require.Equal(t, 204, status, answer)
	atB.has(entities(gatewayEntities, channelEntities(5))...)
	assert.Empty(t, atB.now().Errors)
}

// A gateway that announces nothing withdraws nothing of what others announce.
func TestAGatewayWithoutHomeAssistantTakesNoLeaseForIt(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a := together(t, servers.URL(), "a", withAdmin)
	admin := a.asAdmin()
	assert.Equal(t, 64, a.allLeases(admin)["a"])
	b := homeTogether(t, servers.URL(), "b")
	meet(t, a, b)
	a.tells(admin, "b")
	b.stop()
	eventually(t, "nobody tells Home Assistant", func() bool { return a.allLeases(admin)["a"] == 64 })
	for _, l := range a.cluster(admin).Leases {
		assert.NotEqual(t, "ha", l.Name)
	}
}

// The gateway to which Home Assistant is connected tells it.
func TestHomeAssistantIsToldWhereItIs(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a := homeTogether(t, servers.URL(), "a")
	admin := a.asAdmin()
	a.tells(admin, "a")
	b := homeTogether(t, servers.URL(), "b")
	meet(t, a, b)
	h := newHouse(t, b.at.MQTT, 5).start()
	a.tells(admin, "b")
	all := entities(gatewayEntities, channelEntities(5))
	h.has(all...)
	d := a.named("http", "balcony")
	d.broadcast(5, []byte(balcony))
	all = append(all, balconyEntities()...)
	h.has(all...)
	h.stop()
	h.options.Port = newHouse(t, a.at.MQTT, 5).options.Port
	h.start()
	a.tells(admin, "a")
	h.has(all...)
	d.broadcast(5, []byte(`{"m":43}`))
	h.shows("sensor.balcony_moisture", "43")
	assert.Empty(t, h.now().Errors)

	const discovery = "homeassistant/device/watchtower_home_balcony/config"
	atB := b.asAdmin()
	retained := func() int {
		status, _ := b.operate(atB, "GET /operator/topics/value?topic="+discovery, "")
		return status
	}
	assert.Equal(t, 200, retained())
	atOther := b.visits("other", nil)
	require.NoError(t, wait(atOther.Publish(discovery, 1, true, "")))
	eventually(t, "it is told where", func() bool {
		return strings.Contains(b.log.String(), "the gateway a announces this device: remove it there")
	})
	assert.Equal(t, 200, retained())
	h.has(all...)
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + a.at.MQTT).SetClientID("person").SetUsername("x").SetPassword(key))
	require.NoError(t, wait(c.Connect()))
	defer c.Disconnect(100)
	require.NoError(t, wait(c.Publish(discovery, 1, true, "")))
	h.has(entities(gatewayEntities, channelEntities(5))...)
	eventually(t, "a device that is removed at one gateway is removed at all", func() bool { return retained() == 404 })
}
