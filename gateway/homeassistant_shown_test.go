package gateway_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// shownHouse is what GET /operator/homeassistant shows.
type shownHouse struct {
	Enabled bool
	Prefix  string
	Birth   *time.Time
	Devices []struct {
		Sender       uint32
		Name, Device string
		Entities     []struct{ Component, Name, Template, State string }
	}
	Faults []struct {
		Sender, Channel uint32
		Name, Fault     string
	}
}

func (r *running) house(token string) (h shownHouse) {
	r.t.Helper()
	status, answer := r.operate(token, "GET /operator/homeassistant", "")
	require.Equal(r.t, 200, status, answer)
	require.NoError(r.t, json.Unmarshal([]byte(answer), &h))
	return h
}

func TestWhatHomeAssistantIsToldIsShown(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.Channels = map[uint32]config.Channel{5: {Name: "Watering", HomeAssistant: true}}
	r := startWith(t, cfg)
	token := r.signIn(`{"user":"ulook","password":"passlook"}`)
	h := r.house(token)
	assert.True(t, h.Enabled)
	assert.Equal(t, "homeassistant", h.Prefix)
	assert.Nil(t, h.Birth)
	assert.Empty(t, h.Faults)
	require.Len(t, h.Devices, 1, "the gateway's own")
	assert.Equal(t, "Watchtower "+r.g.Name(), h.Devices[0].Device)
	assert.Zero(t, h.Devices[0].Sender)

	d := r.paho("balcony")
	d.broadcast(5, []byte(balcony))
	d.broadcast(5, []byte(`{"m":41}`))
	eventually(t, "the device is there with its state", func() bool {
		h = r.house(token)
		return len(h.Devices) == 2 && h.Devices[1].Entities[3].State != ""
	})
	shown := h.Devices[1]
	assert.Equal(t, d.id, shown.Sender)
	assert.Equal(t, "balcony", shown.Name)
	assert.Equal(t, "Balcony", shown.Device)
	require.Len(t, shown.Entities, 4)
	assert.Equal(t, "button", shown.Entities[0].Component)
	assert.Empty(t, shown.Entities[0].State)
	assert.Equal(t, "Moisture", shown.Entities[3].Name)
	assert.Equal(t, "{{ value_json.m }}", shown.Entities[3].Template)
	assert.Equal(t, `{"battery":null,"m":41}`, shown.Entities[3].State)

	d.broadcast(5, []byte(`{"sensors":{"M":{}}}`))
	eventually(t, "the fault is told", func() bool { return len(r.house(token).Faults) == 1 })
	f := r.house(token).Faults[0]
	assert.Equal(t, d.id, f.Sender)
	assert.Equal(t, "balcony", f.Name)
	assert.EqualValues(t, 5, f.Channel)
	assert.Equal(t, "sensors.M: the key must be 1 to 32 of a–z 0–9 _", f.Fault)
	assert.Len(t, r.house(token).Devices, 2, "the good one stays")
	d.broadcast(5, []byte(balcony))
	eventually(t, "a good description ends the fault", func() bool { return len(r.house(token).Faults) == 0 })

	client, err := r.pahoClient(nil)
	require.NoError(t, err)
	require.NoError(t, wait(client.Publish("homeassistant/status", 1, false, "online")))
	eventually(t, "the birth is told", func() bool { return r.house(token).Birth != nil })
	assert.WithinDuration(t, time.Now(), *r.house(token).Birth, lenient)

	d.broadcast(5, []byte(`{"sensors":{"M":{}}}`))
	eventually(t, "it is told again", func() bool { return len(r.house(token).Faults) == 1 })
	status, _ := r.operate(r.asAdmin(), fmt.Sprintf("DELETE /operator/senders/%d", d.id), "")
	require.Equal(t, 204, status)
	eventually(t, "nothing stays of a sender that is forgotten", func() bool { h := r.house(token); return len(h.Devices) == 1 && len(h.Faults) == 0 })
}
