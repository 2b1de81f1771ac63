package gateway_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// block returns what a code block of the document holds, from where it says so.
func block(t *testing.T, document, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(document, from)
	require.True(t, ok, from)
	text, _, ok := strings.Cut(rest, to)
	require.True(t, ok, to)
	return text
}

// A reader who follows docs/home-assistant.md gets every entity that it names: with its
// configuration, its device's constant, and its user with that access list.
func TestTheDocumentIsTrue(t *testing.T) {
	b, err := os.ReadFile("../docs/home-assistant.md")
	require.NoError(t, err)
	document := string(b)
	hash := hashed(t, "its own")
	yaml := block(t, document, "```yaml\n# w.yaml\n", "```") + strings.ReplaceAll(block(t, document, "one it needs at least:\n\n```yaml\n", "```"), "$2a$10$…", hash)
	file := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(file, []byte(yaml), 0o600))
	written, _, err := config.Load(nil, []string{"HOME=/"}, file)
	require.NoError(t, err)
	cfg := homely(t, func(c *config.Config) {
		c.Channels, c.Users, c.Gateway.Name = written.Channels, written.Users, written.Gateway.Name
	})
	r := startHomely(t, cfg)
	h := newHouse(t, r.at.MQTT, 5)
	h.options.Password = "its own"
	h.start()
	d := r.named("mqtt", "balcony")
	d.broadcast(5, []byte(block(t, document, `R"(`, `)";`)))

	var named []string
	for _, id := range regexp.MustCompile(`\b(event|sensor|notify|button)\.[a-z0-9_]+`).FindAllString(document, -1) {
		if id != "notify.send_message" && id != "button.press" && !slices.Contains(named, id) {
			named = append(named, id)
		}
	}
	s := h.has(named...)
	assert.Equal(t, "Balcony", s.States["sensor.balcony_moisture"].Device)
	d.broadcast(5, []byte(`{"m":7}`))
	h.shows("sensor.balcony_moisture", "7")
	a := h.event(t).Attributes
	assert.Equal(t, "balcony", a["name"])
	assert.InDelta(t, 7, a["m"], 0)
	h.do(map[string]string{"do": "press", "entity": "button.balcony_open"})
	for d.next(t).data != "open" {
		continue
	}
	h.do(map[string]string{"do": "notify", "entity": "notify.watchtower_home_channel_5_say", "message": "watering"})
	assert.Equal(t, "homeassistant.homeassistant", h.event(t).Attributes["name"])
	assert.Empty(t, h.now().Errors)
	for _, setting := range config.Settings() {
		if strings.Contains(setting.Path, "homeassistant") {
			want := strings.ReplaceAll(setting.Default, "`", "")
			assert.Regexp(t, "\\| `"+setting.Path+"` \\| `?"+want+"`? \\|", document, setting.Path)
		}
	}
	assert.Contains(t, document, "five seconds")
}
