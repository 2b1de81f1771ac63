package console_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/config"
)

func TestWhatHomeAssistantIsTold(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) {
		c.Channels = map[uint32]config.Channel{5: {Name: `<img src=x onerror="document.title='run'">`, HomeAssistant: true}}
	})
	c := r.mqtt("valve1", "watchtower/channels/5/#")
	p := r.as("lou", "homeassistant")
	p.reads("not heard since the gateway's start")
	p.reads(`<img src=x onerror="document.title='run'"> last message`)
	p.reads("{{ value_json.count")
	assert.Equal(t, 0, evaluate[int](p, `document.querySelectorAll("main img").length`))
	r.done(c.Publish("homeassistant/status", 1, false, "online"))
	p.do(`location.reload()`)
	p.reads("last said online")
}

func TestHomeAssistantIsOff(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.HomeAssistant.Enabled = false })
	p := r.as("lou", "homeassistant")
	p.reads("Set homeassistant.enabled: true in the configuration file")
}
