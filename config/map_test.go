package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

func loadText(t *testing.T, yaml string) (config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(file, []byte(yaml), 0o600))
	c, _, err := config.Load(nil, []string{"HOME=/"}, file)
	return c, err
}

// A channel may be mapped to topics that are not the gateway's. It needs no name.
func TestAChannelThatIsMapped(t *testing.T) {
	t.Parallel()
	c, err := loadText(t, `channels:
  5:
    map:
      - {topic: zigbee2mqtt/+/action, in: true}
      - {topic: cmnd/valve/POWER, out: true, qos: 0, retain: true, values: {1: ON, 0: OFF, on: true, 2.50: "x y"}}
      - topic: both
        in: true
        out: true
      - {topic: a/#, in: true, template: "{{ value_json.a }}", retained: true, qos: 2, values: {"": none}}
  7: {name: Hall, map: []}
`)
	require.NoError(t, err)
	assert.Equal(t, map[uint32]config.Channel{
		5: {Map: []config.Map{
			{Topic: "zigbee2mqtt/+/action", In: true, QoS: 1},
			{Topic: "cmnd/valve/POWER", Out: true, Retain: true, Values: map[string]string{"1": "ON", "0": "OFF", "on": "true", "2.50": "x y"}},
			{Topic: "both", In: true, Out: true, QoS: 1},
			{Topic: "a/#", In: true, QoS: 2, Template: "{{ value_json.a }}", Retained: true, Values: map[string]string{"": "none"}},
		}},
		7: {Name: "Hall"},
	}, c.Channels)
	again, err := loadText(t, string(c.YAML(true)))
	require.NoError(t, err)
	assert.Equal(t, c.Channels, again.Channels)

	text, err := loadText(t, `{"channels": [{"channel": 5, "name": "Hall", "map": "- {topic: a/+, in: true, template: '{{ value_json.a }}'}\n- topic: b\n  out: true\n  values: {1: ON}"}]}`)
	require.NoError(t, err)
	assert.Equal(t, []config.Map{
		{Topic: "a/+", In: true, QoS: 1, Template: "{{ value_json.a }}"}, {Topic: "b", Out: true, QoS: 1, Values: map[string]string{"1": "ON"}},
	}, text.Channels[5].Map, "as a form of Home Assistant has it")

	other := again
	other.Channels = map[uint32]config.Channel{5: {Map: []config.Map{{Topic: "both", In: true}}}, 7: {Name: "Hall"}}
	assert.Equal(t, []string{"channels.5"}, config.Changed(&c, &other))
	assert.Empty(t, config.Changed(&c, &again))
}

func TestFaultsOfMaps(t *testing.T) {
	t.Parallel()
	for entry, fault := range map[string]string{
		`{in: true}`:                                                        "channels.5.map[0].topic: is missing",
		`{topic: a}`:                                                        "channels.5.map[0]: needs in: true or out: true",
		`{topic: a, in: true, on: true}`:                                    "channels.5.map[0].on: unknown key, did you mean in?",
		`{topic: a, in: 1}`:                                                 "channels.5.map[0].in: must be true or false",
		`{topic: a, out: true, qos: 3}`:                                     "channels.5.map[0].qos: must be 0 to 2, is 3",
		"{topic: a, out: true, template: [a]}":                              "channels.5.map[0].template: must be text: put it in quotes",
		`{topic: a, out: true, values: [a]}`:                                "channels.5.map[0].values: must be a table of texts",
		`{topic: a, out: true, values: {a: {}}}`:                            "channels.5.map[0].values: must be a table of texts",
		`{topic: a, out: true, values: {}}`:                                 "channels.5.map[0].values: is empty",
		`{topic: a, out: true, retained: true}`:                             "channels.5.map[0].retained: is for in",
		`{topic: a, in: true, retain: true}`:                                "channels.5.map[0].retain: is for out",
		`{topic: a, in: true, out: true, template: b}`:                      "for both directions: write two entries",
		`{topic: a/+, out: true}`:                                           "channels.5.map[0].topic: must not contain the wildcards",
		`{topic: a/+, out: true, in: true}`:                                 "channels.5.map[0].topic: must not contain the wildcards",
		`{topic: a/b+, in: true}`:                                           `"a/b+" is not a topic filter`,
		`{topic: "a/#/b", in: true}`:                                        `"a/#/b" is not a topic filter`,
		`{topic: "$SYS/#", in: true}`:                                       "must not begin with $",
		`{topic: "$share/a/b", in: true}`:                                   "must not begin with $",
		`{topic: "#", in: true}`:                                            `"#" has topics of the gateway in it (watchtower/channels/*/broadcast), which are below mqtt.base_topic`,
		`{topic: "watchtower/#", in: true}`:                                 "has topics of the gateway in it",
		`{topic: watchtower, in: true}`:                                     "has topics of the gateway in it (watchtower)",
		`{topic: watchtower/x, out: true}`:                                  "has topics of the gateway in it (watchtower)",
		`{topic: watchtower/channels/6/broadcast, out: true}`:               "has topics of the gateway in it (watchtower/channels/*/broadcast)",
		`{topic: +/+/+/status, in: true}`:                                   "has topics of the gateway in it (watchtower/members/*/+)",
		`{topic: +/+/+, in: true}`:                                          "has topics of the gateway in it (watchtower/confirm/*)",
		`{topic: "+/channels/#", in: true}`:                                 "has topics of the gateway in it",
		`{topic: +/homeassistant/+/+/x, in: true}`:                          "has topics of the gateway in it (watchtower/homeassistant/+/*/#)",
		`{topic: "a\u0007", in: true}`:                                      "must be text without control characters",
		`{topic: ` + strings.Repeat("a", 1025) + `, in: true}`:              "must be at most 1024 bytes, has 1025",
		`{topic: a, in: true, template: ` + strings.Repeat("a", 4097) + `}`: "channels.5.map[0].template: must be at most 4096 bytes",
		`{topic: a, in: true}, {topic: a, in: true}`:                        "channels.5.map[1]: is there twice",
		`a`: "channels.5.map[0]: must hold keys and values",
	} {
		_, err := loadText(t, "channels: {5: {map: ["+entry+"]}}")
		if assert.Error(t, err, entry) {
			assert.Contains(t, err.Error(), fault, entry)
			assert.Contains(t, err.Error(), "w.yaml:1", entry)
		}
	}
	for _, entry := range []string{
		"{topic: +/+/state, in: true}", "{topic: +/status, in: true}", "{topic: +, in: true}", "{topic: watchtowers, in: true}", "{topic: a, in: true}, {topic: a, out: true}",
		"{topic: +/switch/+/state, in: true}", "{topic: '+/status/#', in: true}", "{topic: a, in: true}, {topic: a, in: true, template: b}",
	} {
		_, err := loadText(t, "channels: {5: {map: ["+entry+"]}}")
		assert.NoError(t, err, entry)
	}
	for _, template := range []string{"{{ value }}", "{{ value_json.a }} now"} { // what many people write first
		_, err := loadText(t, "channels:\n  5:\n    map:\n      - topic: a\n        in: true\n        template: "+template+"\n")
		require.Error(t, err)
		assert.Contains(t, err.Error(), "in quotes", template)
	}
	_, err := loadText(t, "mqtt: {base_topic: home/tower}\nchannels: {5: {map: [{topic: home/#, in: true}]}}")
	require.Error(t, err)
	assert.Contains(t, err.Error(), "home/tower/channels/*/broadcast")
	_, err = loadText(t, "mqtt: {base_topic: home/tower}\nchannels: {5: {map: [{topic: watchtower/#, in: true}, {topic: home/+, in: true}]}}")
	require.NoError(t, err)
	for yaml, fault := range map[string]string{
		`{map: "[{topic: a, in: 1}]"}`:                            "channels.5.map[0].in: must be true or false",
		`{map: "[{topic: a, in: true}, {topic: '#', in: true}]"}`: "channels.5.map[1].topic: ",
		`{map: "[{topic: a"}`:                                     "channels.5.map: must be a list",
		`{map: "a text"}`:                                         "channels.5.map: must be a list",
		`{map: ""}`:                                               "channels.5.map: must be a list",
		`{map: "{topic: a}"}`:                                     "channels.5.map: must be a list",
		"{map: {topic: a}}":                                       "channels.5.map: must be a list",
		"{map: []}":                                               "channels.5.name: is missing",
		"{homeassistant: true, map: [{topic: a, in: true}]}": "channels.5.name: is missing",
		"{mapp: [{topic: a, in: true}]}":                     "did you mean map?",
	} {
		_, err := loadText(t, fmt.Sprintf("channels: {5: %s}", yaml))
		require.Error(t, err, yaml)
		assert.Contains(t, err.Error(), fault)
		assert.Contains(t, err.Error(), "w.yaml:1")
	}
}
