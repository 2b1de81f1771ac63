package gateway_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
}
