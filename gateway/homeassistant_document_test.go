package gateway_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
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

// text returns what a file of the project holds.
func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile("../" + file)
	require.NoError(t, err)
	return string(b)
}

// ids are ids of entities in a document.
var ids = regexp.MustCompile(`\b(?:binary_sensor|button|event|light|notify|sensor|valve)\.(?:watchtower|balcony|greenhouse)_[a-z0-9_]+`)

// A reader who follows docs/home-assistant.md and docs/home-assistant-reference.md gets every
// entity that they name: with the guide's configuration and device, and the reference's device
// and its user with that access list.
func TestTheDocumentIsTrue(t *testing.T) {
	t.Parallel()
	guide := text(t, "docs/home-assistant.md")
	for _, file := range []string{"examples/home-assistant/card.yaml", "examples/home-assistant/automation.yaml"} {
		assert.Contains(t, guide, "](../"+file+")")
		assert.Contains(t, guide, "```yaml\n"+text(t, file)+"```")
	}
	document := guide + text(t, "docs/home-assistant-reference.md")
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
	said := block(t, document, "<!-- says -->\n", "```\n")
	r.named("http", "greenhouse").broadcast(5, []byte(block(t, said, "greenhouse 5 '", "'\n")))

	named := ids.FindAllString(document, -1)
	slices.Sort(named)
	s := h.has(slices.Compact(named)...)
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
	well := r.named("mqtt", "well")
	well.broadcast(5, []byte(block(t, document, "// Said once at the start: ", "\n")))
	h.until("the switch is there", func(s houseStates) bool { return s.States["switch.well_pump"].Found })
	told := runSketch(t, block(t, document, "// Said once at the start: ", "```"))
	for _, word := range []string{"on", "off", "on"} {
		h.calls(well, "switch.well_pump", harness.KindSends{Service: "turn_" + word, Data: []byte(`{}`), Heard: "pump " + word})
		well.broadcast(5, []byte(told("pump "+word)))
		h.shows("switch.well_pump", word)
	}
	assert.Empty(t, h.now().Errors)
	for _, setting := range config.Settings() {
		if strings.Contains(setting.Path, "homeassistant") {
			want := strings.ReplaceAll(setting.Default, "`", "")
			assert.Regexp(t, "\\| `"+setting.Path+"` \\| `?"+want+"`? \\|", document, setting.Path)
		}
	}
	assert.Contains(t, document, "five seconds")
}

// runSketch compiles a function told of a sketch. What it returns gives the function a text, and
// returns what the sketch said.
func runSketch(t *testing.T, code string) func(string) string {
	t.Helper()
	_, code, _ = strings.Cut(code, "\n") // the rest of a comment
	source := filepath.Join(t.TempDir(), "sketch.cpp")
	require.NoError(t, os.WriteFile(source, []byte("#include <stdio.h>\n#include <string.h>\nconst int PUMP = 5;\n"+
		"void digitalWrite(int, int) {}\nvoid say(const char *s) { puts(s); }\n"+code+"\nint main(int, char **v) { told(v[1]); }\n"), 0o600))
	out, err := exec.Command(program(t, "g++"), "-Wall", "-Werror", "-o", source+".run", source).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return func(text string) string {
		out, err := exec.Command(source+".run", text).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
}
