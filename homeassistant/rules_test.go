package homeassistant_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What Home Assistant's schemas do not say of a text.
var (
	discoveryTopic = regexp.MustCompile(`^homeassistant/device/([a-zA-Z0-9_-]+)/config$`)
	icon           = regexp.MustCompile(`^mdi:[a-z0-9-]+$`)
)

// broken lists which rules a discovery payload breaks: those of Home Assistant's schemas
// (schemas_test.go), and some that its schemas leave to its code.
func broken(topic string, payload []byte) (all []string) {
	bad := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if !discoveryTopic.MatchString(topic) {
		bad("topic %s", topic)
	}
	var root map[string]any
	if err := json.Unmarshal(payload, &root); err != nil {
		return append(all, err.Error())
	}
	device, _ := root["device"].(map[string]any)
	origin, _ := root["origin"].(map[string]any)
	all = append(all, schemas().Root.broken("", root)...)
	all = append(all, schemas().Device.broken("device", device)...)
	all = append(all, schemas().Origin.broken("origin", origin)...)
	if device["identifiers"] == nil && device["connections"] == nil {
		bad("device without identifiers")
	}
	ids := map[any]string{}
	components, _ := root["components"].(map[string]any)
	if components == nil {
		bad("no components")
	}
	for key, c := range components {
		c, ok := c.(map[string]any)
		if !ok {
			bad("%s is no object", key)
			continue
		}
		if id := c["unique_id"]; id != nil && ids[id] != "" {
			bad("%s and %s have one unique_id", key, ids[id])
		}
		ids[c["unique_id"]] = key
		all = append(all, brokenComponent(key, c)...)
	}
	return all
}

func brokenComponent(key string, c map[string]any) (all []string) {
	bad := func(format string, args ...any) { all = append(all, key+": "+fmt.Sprintf(format, args...)) }
	platform, _ := c["platform"].(string)
	keys, known := schemas().Platforms[platform]
	if !known {
		return []string{key + ": platform " + platform}
	}
	if len(c) == 1 {
		return nil // a removal
	}
	c = maps.Clone(c)
	delete(c, "platform")
	all = keys.broken(key, c)
	if platform == "device_automation" { // no entity
		if c["automation_type"] != "trigger" {
			bad("automation_type")
		}
		return all
	}
	if id, _ := c["unique_id"].(string); id == "" {
		bad("no unique_id")
	}
	if id, there := c["default_entity_id"].(string); there && !regexp.MustCompile(`^`+platform+`\.[a-z0-9_]+$`).MatchString(id) {
		bad("default_entity_id %s", id)
	}
	for k, v := range c {
		text, _ := v.(string)
		if strings.HasSuffix(k, "_template") && k != "command_off_template" && !strings.Contains(text, "{{") {
			bad("%s %q", k, text)
		}
	}
	if platform == "cover" && (c["value_template"] != nil && c["state_topic"] == nil || c["set_position_topic"] != nil && c["position_topic"] == nil) {
		bad("a template or a topic without its other topic")
	}
	if platform == "light" && c["schema"] != "template" {
		bad("schema %v", c["schema"])
	}
	if c["reports_position"] == true && (c["payload_open"] != nil || c["payload_close"] != nil) {
		bad("payloads beside reports_position")
	}
	if c["expire_after"] != nil && !strings.Contains(c["state_topic"].(string), "/live/") {
		bad("expire_after on a topic that is retained")
	}
	return all
}

// everything is a description with all kinds and all their options.
const everything = `{"name":"Everything","sensors":{` +
	`"t":{"unit":"°C","device_class":"temperature","state_class":"measurement","precision":1,"force":true,"icon":"mdi:thermometer"},` +
	`"wet":{"options":["wet","it's {{ dry }}"]},"volt":{"unit":"V","value":"{{ value_json.v * 99 / value_json.r }}"},` +
	`"amp":{"unit":"µA","device_class":"current","category":"diagnostic","enabled":false},"began":{"device_class":"uptime"},"day":{"device_class":"date"}},` +
	`"binary_sensors":{"door":{"device_class":"door"},"move":{"device_class":"motion","off_delay":30},"lid":{"on":"0","off":"1"}},` +
	`"switches":{"pump":{"icon":"mdi:water-pump"},"fence":{"on":"Hot","off":"Cold","device_class":"switch"}},` +
	`"numbers":{"target":{"min":5,"max":30,"step":0.5,"unit":"°C","device_class":"temperature","category":"config"}},` +
	`"selects":{"mode":{"options":["away","home"]}},"texts":{"label":{"max":10}},` +
	`"lights":{"lamp":{},"dim":{"brightness":true},"glow":{"color":true}},"covers":{"shade":{"device_class":"shade"},"blind":{"position":true}},` +
	`"valves":{"tap":{"device_class":"water"},"mixer":{"position":true}},"locks":{"gate":{}},"fans":{"air":{},"draft":{"speed":true}},` +
	`"events":{"bell":{"types":["ring","knock"],"device_class":"doorbell"}},"triggers":{"press":{"types":["short","long.one"]}},` +
	`"update":{"firmware":{"title":"Pump OS","device_class":"firmware"}},"buttons":{"reset":{"device_class":"restart"}},"commands":["open"]}`

func isDiscovery(topic string) bool { return strings.HasSuffix(topic, "/config") }

// Every payload that is published, removals included, keeps the rules, and is
// what the golden files show.
func TestDiscoveryKeepsTheRules(t *testing.T) {
	for file, description := range map[string]string{
		"gateway": "",
		"balcony": `{"name":"Balcony","model":"ESP8266","manufacturer":"me","sw_version":"7","hw_version":"B","model_id":"e8","serial":"17","area":"Garden","url":"http://10.0.0.7/","mac":"A4CF1200000A","commands":["open","half.open"],"sensors":{` +
			`"moisture":{"unit":"%","device_class":"moisture","value":"{{ value_json.m }}","state_class":"measurement","name":"Earth"},` +
			`"wind_speed":{"unit":"m/s","device_class":"wind_speed","expire_after":60},"plain":{}}}`,
		"everything": everything,
		"kinds":      harness.Kinds(t, "../testdata/homeassistant/kinds.json").Description(),
		"heard":      everything,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHome(t, "attic.home_1")
			h.start()
			id, say := h.sender("balcony")
			if description != "" {
				say(description)
			}
			if file == "heard" { // everything, once the device has said what it is sent
				say(`{"pump":1,"fence":1,"target":1,"mode":1,"label":1,"lamp":1,"dim":1,"glow":1,"shade":1,"blind":1,"tap":1,"mixer":1,"gate":1,"air":1,"draft":1}`)
			}
			synctest.Wait()
			h.birth()
			wait(t, 20)
			if description != "" {
				say(`{"sensors":{"plain":{}}}`)
				wait(t, 20)
			}
			h.stop()
			topic := "homeassistant/device/watchtower_attic-dhome-u1/config"
			if description != "" {
				topic = "homeassistant/device/watchtower_attic-dhome-u1_balcony/config"
			}
			all := h.bus.take(isDiscovery)
			require.NotEmpty(t, all)
			shown := ""
			for _, p := range all {
				assert.Empty(t, broken(p.topic, []byte(p.payload)), p.topic)
				if p.topic == topic && (shown == "" || file == "heard" && len(p.payload) > len(shown)) {
					shown = p.payload
				}
			}
			if file != "kinds" { // that one is a table of descriptions
				golden(t, file, strings.ReplaceAll(shown, fmt.Sprint(id), "72"))
			}
		})
	}
}

func golden(t *testing.T, name, payload string) {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(payload), &v))
	got, err := json.MarshalIndent(v, "", "  ")
	require.NoError(t, err)
	file := filepath.Join("../testdata/homeassistant", name+".json")
	if *update {
		require.NoError(t, os.WriteFile(file, append(got, '\n'), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got)+"\n")
}

// The rules themselves find what is wrong.
func TestTheRulesBite(t *testing.T) {
	good := `{"device":{"identifiers":["x"]},"origin":{"name":"x"},"components":{"a":{"platform":"sensor","unique_id":"a","state_topic":"s"}}}`
	const topic = "homeassistant/device/x/config"
	require.Empty(t, broken(topic, []byte(good)))
	for _, change := range [][2]string{
		{`{"device"`, `{"~":"x","device"`}, {`"identifiers":["x"]`, `"name":"x"`}, {`"origin":{"name":"x"},`, ``}, {`"unique_id":"a",`, ``},
		{`"sensor"`, `"gong"`}, {`,"state_topic":"s"`, ``}, {`"s"`, `"s/+"`}, {`"s"`, `"s","object_id":"x"`}, {`"s"`, `"s","expire_after":5`},
		{`"s"`, `"s","device_class":"gong"`}, {`"s"`, `"s","force_update":"yes"`}, {`"s"`, `"s","suggested_display_precision":-1`}, {`"s"`, `"s","options":"a"`},
		{`"s"`, `"s","entity_category":"config"`}, {`"s"`, `"s","icon":"pump"`}, {`"s"`, `5`}, {`"name":"x"}`, `"name":"x","url":"http://x"}`}, {`{"identifiers"`, `{"serial":"1","identifiers"`},
	} {
		assert.NotEmpty(t, broken(topic, []byte(strings.Replace(good, change[0], change[1], 1))), change)
	}
	assert.NotEmpty(t, broken("homeassistant/device/a.b/config", []byte(good)))
}
