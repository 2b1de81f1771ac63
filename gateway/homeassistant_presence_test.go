package gateway_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	session "watchtower/device"
)

// A device is available while it is connected, by each protocol. A command that waits for it
// expires.
func TestADeviceIsThereOrAway(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	const moisture = "sensor.balcony_moisture"
	away := func() {
		t.Helper()
		h.until("it is away", func(s houseStates) bool { return s.States[moisture].Found && s.States[moisture].State == "unavailable" })
	}
	id := r.register("balcony").ID
	end := r.follow(fmt.Sprintf("channels=5&linger=false&sender=%d", id), func([]byte) {})
	for _, text := range []string{`{"ttl":1,` + balcony[1:], `{"m":41}`} {
		status, answer := r.call("POST", fmt.Sprintf("/broadcast?channels=5&sender=%d", id), "application/octet-stream", text)
		require.Equal(t, 200, status, answer)
	}
	h.shows(moisture, "41")
	end()
	away()

	_, c := r.sessionDevice("udp", session.Options{Name: "balcony", Acknowledge: true})
	h.shows(moisture, "41")
	ctx, cancel := context.WithTimeout(t.Context(), lenient)
	defer cancel()
	require.NoError(t, c.Close(ctx))
	away()

	heard := make(chan string, 100)
	options := paho.NewClientOptions().AddBroker("tcp://" + r.at.MQTT).SetClientID("balcony").SetUsername("x").SetPassword(key).SetAutoReconnect(false).
		SetCleanSession(false).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { heard <- string(m.Payload()) })
	client := paho.NewClient(options)
	require.NoError(t, wait(client.Connect()))
	require.NoError(t, wait(client.Subscribe("watchtower/channels/5/#", 1, nil)))
	h.shows(moisture, "41")
	client.Disconnect(100)
	away()
	h.do(map[string]string{"do": "press", "entity": "button.balcony_open"})
	pressed := time.Now()
	eventually(t, "the command has waited too long", func() bool { return time.Since(pressed) > 2*time.Second })
	client = paho.NewClient(options)
	require.NoError(t, wait(client.Connect()))
	t.Cleanup(func() { client.Disconnect(0) })
	h.shows(moisture, "41")
	h.do(map[string]string{"do": "press", "entity": "button.balcony_close"})
	for what := range heard {
		require.NotEqual(t, "open", what)
		if what == "close" {
			break
		}
	}
	assert.Empty(t, h.now().Errors)
}

// A text disturbs only those sensors that read texts, and survives a restart as all else does.
func TestATextAndAnObject(t *testing.T) {
	t.Parallel()
	cfg := homely(t, nil)
	r := startHomely(t, cfg)
	h := newHouse(t, r.at.MQTT, 5).start()
	d := r.named("mqtt", "balcony")
	d.broadcast(5, []byte(`{"sensors":{"m":{"value":"{{ value_json.m }}"},"word":{"value":"{{ value }}"},"part":{"value":"{{ value.split(',')[1] }}","expire_after":60},`+
		`"either":{"value":"{{ value_json.m if value_json is mapping else value }}"}}}`))
	h.until("they are there", func(s houseStates) bool { return s.States["sensor.balcony_either"].Found })
	d.broadcast(5, []byte(`{"m":41}`))
	h.shows("sensor.balcony_m", "41")
	h.shows("sensor.balcony_either", "41")
	d.broadcast(5, []byte("wet,7"))
	h.shows("sensor.balcony_word", "wet,7")
	h.shows("sensor.balcony_part", "7")
	h.shows("sensor.balcony_either", "wet,7")
	d.broadcast(5, []byte(`{"m":42}`))
	h.shows("sensor.balcony_m", "42")
	assert.Equal(t, "wet,7", h.now().States["sensor.balcony_word"].State)
	h.restart()
	h.shows("sensor.balcony_m", "42")
	h.shows("sensor.balcony_word", "wet,7")
	h.shows("sensor.balcony_either", "42")
	assert.Empty(t, h.now().Errors)
}
