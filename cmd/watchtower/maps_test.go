package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestADryRunOfMaps(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "maps.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`channels:
  5:
    map:
      - {topic: zigbee2mqtt/+/action, in: true}
      - {topic: zigbee2mqtt/+, in: true, template: "{{ value_json.action }}", values: {double: two}}
      - {topic: cmnd/valve/POWER, out: true, values: {1: ON, 0: OFF}, retain: true}
      - {topic: log, out: true, qos: 0, template: "{{ name | default('somebody') }}: {{ value }}"}
`), 0o600))
	test := func(args ...string) (int, string, string) {
		return program(t, append([]string{"map", "test", "--config", file}, args...)...)
	}
	for _, c := range []struct {
		args      []string
		code      int
		out, told string
	}{
		{[]string{"zigbee2mqtt/hall/action", "single"}, 0,
			"channel 5 hears single (channels.5.map[0])\nit goes out again on no topic: what came in by a map goes out by no map\n", ""},
		{[]string{"zigbee2mqtt/hall", `{"action":"double"}`}, 0,
			"channel 5 hears two (channels.5.map[1])\nit goes out again on no topic: what came in by a map goes out by no map\n", ""},
		{[]string{"zigbee2mqtt/hall", `{"action":"hold"}`}, 1, "channel 5 hears nothing (channels.5.map[1]: it is none of the values)\n", "nothing crosses"},
		{[]string{"zigbee2mqtt/hall", `{"battery":80}`}, 1, "channel 5 hears nothing (channels.5.map[1]: there is nothing to say)\n", "nothing crosses"},
		{[]string{"zigbee2mqtt/hall", "hold"}, 1,
			"channel 5 hears nothing (channels.5.map[1]: the payload is not JSON, which the template needs)\n", "nothing crosses"},
		{[]string{"zigbee2mqtt/hall/action", "single", "--retained"}, 1,
			"channel 5 hears nothing (channels.5.map[0]: it was retained before, and the line is without retained: true)\n", "nothing crosses"},
		{[]string{"tele/hall", "x"}, 1, "", "no channel has a map with in: true for tele/hall"},
		{[]string{"--channel", "5", "1"}, 0,
			"cmnd/valve/POWER gets ON (channels.5.map[2], QoS 1, retained)\nlog gets somebody: 1 (channels.5.map[3], QoS 0)\n", ""},
		{[]string{"--channel", "5", "--name", "lamp", "x"}, 0,
			"cmnd/valve/POWER gets nothing (channels.5.map[2]: it is none of the values)\nlog gets lamp: x (channels.5.map[3], QoS 0)\n", ""},
		{[]string{"--channel", "6", "1"}, 1, "", "channel 6 has no map with out: true"},
		{[]string{"1"}, 2, "", "give a TOPIC and a PAYLOAD"},
		{[]string{"--channel", "5", "a", "b"}, 2, "", "give a TOPIC, or --channel"},
		{[]string{"zigbee2mqtt/+/action", "single"}, 2, "", "must be one topic, without the wildcards"},
		{[]string{"", "single"}, 2, "", "must be one topic"},
		{[]string{"--channel", "0", "a"}, 2, "", "--channel must be"},
		{[]string{"--name", "lamp", "a", "b"}, 2, "", "--name is for --channel"},
	} {
		code, out, told := test(c.args...)
		assert.Equal(t, c.code, code, c.args)
		assert.Equal(t, c.out, out, c.args)
		assert.Contains(t, told, c.told, c.args)
	}

	code, _, told := program(t, "map", "test", "a", "b")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, told, "--config FILE is missing")
	require.NoError(t, os.WriteFile(file+"2", []byte("channels: {5: {map: [{topic: a, in: true, template: '{{ x }}'}]}}"), 0o600))
	code, _, told = program(t, "map", "test", "--config", file+"2", "a", "b")
	assert.Equal(t, exitError, code)
	assert.Contains(t, told, "channels.5.map[0].template")

	var shown struct {
		Topic            string
		Crosses          bool
		Channels, Topics []struct {
			Channel                               uint32
			Topic, Setting, Outcome, Why, Message string
			QoS                                   *int
			Retain                                bool
		}
	}
	code, out, _ := test("zigbee2mqtt/hall/action", "single", "--json")
	require.Zero(t, code)
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Len(t, shown.Channels, 1)
	assert.Equal(t, "single", shown.Channels[0].Message)
	assert.True(t, shown.Crosses)
	code, out, _ = test("--channel", "5", "x", "--json")
	require.Zero(t, code)
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Len(t, shown.Topics, 2)
	assert.Equal(t, "unmatched", shown.Topics[0].Outcome)
	assert.Equal(t, "somebody: x", shown.Topics[1].Message)
	assert.Zero(t, *shown.Topics[1].QoS)
}
