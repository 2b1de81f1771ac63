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
