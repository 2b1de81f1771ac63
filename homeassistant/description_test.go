package homeassistant

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sensorOf(fields string) string { return `{"sensors":{"m":` + fields + `}}` }

func TestWhatIsMeantAsADescription(t *testing.T) {
	for text, want := range map[string]bool{
		`{"sensors":{}}`:                 true,
		` {"commands":[]}`:               true,
		`{"lights":{"lamp":{}}}`:         true,
		`{"sensors":{},"battery":3}`:     true, // and a key that is not known
		`{"sensors":{"m":{"unit":5}}}`:   true, // and a fault
		`{"commands":["with space"]}`:    true,
		`{"sensors":5}`:                  false,
		`{"sensors":[]}`:                 false,
		`{"sensors":null}`:               false,
		`{"sensors":{"m":5}}`:            false,
		`{"sensors":{},"lights":5}`:      false,
		`{"commands":{}}`:                false,
		`{"commands":null}`:              false,
		`{"commands":["a",5]}`:           false,
		`{"commands":[null]}`:            false,
		`{"update":{"installed":"1.0"}}`: false, // a value of a key that is called so
		`{"battery":{}}`:                 false,
		`{"name":"x","model":"y"}`:       false,
		`[{"sensors":{}}]`:               false,
		`{"sensors":{}`:                  false,
		`{"sensors":{}}{}`:               false,
		"":                               false,
		"sensors":                        false,
		"{\"sensors\":{},\"\xff\":\"\"}": false,
	} {
		_, meant := parse([]byte(text))
		assert.Equal(t, want, meant, text)
	}
}

func TestFaultsOfDescriptions(t *testing.T) {
	many := func(n int, format string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(all, ",")
	}
	for text, want := range map[string]string{
		`{"commands":["a","a"]}`:                                                       "commands[1]: is there twice",
		`{"commands":[""]}`:                                                            "commands[0]: must be a word",
		`{"commands":["` + strings.Repeat("x", 33) + `"]}`:                             "commands[0]: must be a word",
		`{"commands":[` + many(21, `"c%d"`) + `]}`:                                     "commands: has 21, the limit is 20",
		`{"sensors":{` + many(21, `"s%d":{}`) + `}}`:                                   "sensors: has 21, the limit is 20",
		`{"sensors":{"A":{}}}`:                                                         "sensors.A: the key must be",
		`{"sensors":{"":{}}}`:                                                          "sensors.: the key must be",
		`{"name":5,"sensors":{}}`:                                                      "name: must be text",
		`{"name":"","sensors":{}}`:                                                     "name: must be text",
		`{"name":null,"sensors":{}}`:                                                   "name: must be text",
		`{"model":"a\u0007","sensors":{}}`:                                             "model: must be text",
		`{"model":"\ud800","sensors":{}}`:                                              "model: must be text",
		`{"name":"` + strings.Repeat("ä", 65) + `","sensors":{}}`:                      "name: must be text of 1 to 64",
		`{"sensors":{},"url":"ftp://x"}`:                                               "url: must begin with http://",
		`{"sensors":{},"url":"http://"}`:                                               "url: must begin with http://",
		`{"sensors":{},"url":5}`:                                                       "url: must be text of 1 to 255",
		`{"sensors":{},"mac":"a4:cf:12:00:00"}`:                                        "mac: must be an address",
		`{"sensors":{},"mac":5}`:                                                       "mac: must be an address",
		`{"sensors":{},"serial":5}`:                                                    "serial: must be text of 1 to 64",
		`{"sensors":{},"available_for":-1}`:                                            "available_for: must be a whole number of seconds from 0 to 2678400",
		`{"sensors":{},"available_for":1.5}`:                                           "available_for: must be",
		`{"sensors":{},"ttl":"60"}`:                                                    "ttl: must be a whole number of seconds from 0 to 1209600",
		`{"sensors":{},"ttl":1209601}`:                                                 "ttl: must be",
		sensorOf(`{"expire_after":0}`):                                                 "sensors.m.expire_after: must be",
		sensorOf(`{"expire_after":1.5}`):                                               "sensors.m.expire_after: must be",
		sensorOf(`{"expire_after":"60"}`):                                              "sensors.m.expire_after: must be",
		sensorOf(`{"expire_after":1e9}`):                                               "sensors.m.expire_after: must be",
		sensorOf(`{"state_class":"measure"}`):                                          "sensors.m.state_class: must be one of",
		sensorOf(`{"device_class":"timestamp","unit":"s"}`):                            "sensors.m.unit: timestamp has none",
		sensorOf(`{"device_class":"timestamp","state_class":"total"}`):                 "sensors.m.state_class: timestamp cannot have total",
		sensorOf(`{"device_class":"energy","unit":"kWh","state_class":"measurement"}`): "sensors.m.state_class: energy cannot have measurement",
		sensorOf(`{"state_class":"measurement_angle","unit":"m"}`):                     "sensors.m.unit: must be °",
		sensorOf(`{"unit":"` + strings.Repeat("x", 17) + `"}`):                         "sensors.m.unit: must be text of 1 to 16",
		sensorOf(`{"value":"{{ ` + strings.Repeat("1", 256) + ` }}"}`):                 "sensors.m.value: must be text of 1 to 256",
		sensorOf(`{"value":"5"}`):                                                      "sensors.m.value: must have an expression",
	} {
		d, meant := parse([]byte(text))
		assert.True(t, meant, text)
		if assert.NotEmpty(t, d.refused, text) {
			assert.True(t, strings.HasPrefix(d.refused[0], want), "%s\n%s\n%s", text, d.refused[0], want)
		}
	}
}

func TestGoodDescriptions(t *testing.T) {
	for _, text := range []string{
		`{"name":"Balcony","model":"ESP8266","sensors":{"moisture":{"unit":"%","device_class":"moisture","value":"{{ value_json.m }}"}},"commands":["open","close"]}`,
		sensorOf(`{"device_class":"power_factor"}`), sensorOf(`{"device_class":"wind_direction","unit":"°","state_class":"measurement_angle"}`),
		sensorOf(`{"device_class":"weight","unit":"μg"}`), sensorOf(`{"device_class":"weight","unit":"µg"}`), // the two signs for micro
		sensorOf(`{"unit":"Umdrehungen"}`), sensorOf(`{"expire_after":604800}`), `{"sensors":{"0":{}}}`,
	} {
		d, meant := parse([]byte(text))
		assert.Empty(t, d.refused, text)
		assert.True(t, meant)
		assert.False(t, d.empty())
	}
	d, meant := parse([]byte(`{"sensors":{},"commands":[]}`))
	assert.Empty(t, d.refused)
	assert.True(t, meant)
	assert.True(t, d.empty())
}

func TestTemplates(t *testing.T) {
	for _, good := range []string{
		"{{ value }}", "{{value_json.m}}", "{{ value_json['a b'].c[0] }}", "{{ value.split(',')[1] | trim | float(0) | round(1) }}", "{{ value | float | round }}", "{{ value_json.a // 10 + 1 }}",
		"{{ value_json.t * 0.1 }}", "{{ (value_json.t | float - 32) / 1.8 }}", "{{ value_json.a / 10 * 3 }}", "{{ -value_json.a + 1 }}",
		"{{ 'on' if value_json.s == 1 else 'off' }}", "{{ value_json.m if value_json is defined and value_json.m is not none else None }}",
		"{{ (value_json | default({})).m | default }}", "{{ value_json.a }}/{{ value_json.b }}", "{{ value[2:5] }}", "{{ value[:5] }}", "{{ value[1:] }}",
		"{{ [value_json.a, value_json.b] | max }}", "{{ value_json.a not in [1, 2] }}", "{{ value_json.items }}", "{{ value ~ 'x' }}",
	} {
		assert.Empty(t, checkTemplate(good), good)
	}
	for _, bad := range []string{
		"", "value", "{{ }}", "{{}}", "{% for i in value %}{% endfor %}", "{{ value }}{# x #}", "{{ states('lock.door') }}", "{{ now() }}",
		"{{ range(9) | length }}", "{{ value.__class__ }}", "{{ value_json._x }}", "{{ value.format(1) }}", "{{ value | tojson }}", "{{ value }",
		"{{ 9 ** 9 ** 9 }}", "{{ value * 9999999 }}", "{{ 'x' * 9999999 }}", "{{ 9 * value * 0.1 }}", "{{ value * 2.0|int }}", "{{ value | }}",
		"{{ value_json. }}", "{{ (value }}", "{{ value) }}", "{{ value value }}", "{{ value if }}", "{{ value is }}", "{{ value[ }}", "{{ value['\\n'] }}",
		"{{ '%9999d' % 1 }}", "{{ value | replace('', 'a') }}", "{{ value | replace('a', 'aa') }}", "{{ value | replace('a', value) }}", "{{ 1|round(99999999999) }}", "{{ value_json.m | round(value_json.p) }}", "{{ 1 | round(-1) }}",
		"{{ value_json.n // 1 * value }}", "{{ 9999999999//1*'a' }}", "{{ value | round( }}", "{{ value == }}", "{{ 1 + }}", "{{ value_json.if }}", "{{ {'a': value} }}", "{{ value; }}",
		"{{ cycler() }}", "{{ self }}", "{{ 007 }}", "{{ value | lower[0] }}", "{{ value is none if value }}", "{{ value is string is none }}", "{{ value_json.a / 0.0 }}", "{{ value.split }}{{", "{{ not }}",
	} {
		assert.NotEmpty(t, checkTemplate(bad), bad)
	}
}

func TestWhatADescriptionSaysOfTheDevice(t *testing.T) {
	d, meant := parse([]byte(`{"sensors":{"m":{}},"name":"Well","model_id":"w2","serial":"00017","hw_version":"B","area":"Garden",` +
		`"url":"http://10.0.0.7/","mac":"A4-CF-12-00-00-0a","available_for":3600,"ttl":0}`))
	assert.Empty(t, d.refused)
	assert.True(t, meant)
	assert.Equal(t, 3600, d.availableFor)
	assert.Zero(t, d.ttl, "for ever")
	assert.Equal(t, map[string]any{
		"name": "Well", "model_id": "w2", "serial_number": "00017", "hw_version": "B", "suggested_area": "Garden", "via_device": "hub",
		"configuration_url": "http://10.0.0.7/", "connections": []any{[]any{"mac", "a4:cf:12:00:00:0a"}},
	}, d.device("balcony", "hub"))

	d, meant = parse([]byte(`{"sensors":{"m":{}},"mac":"a4cf1200000a"}`))
	assert.Empty(t, d.refused)
	assert.True(t, meant)
	assert.Equal(t, "a4:cf:12:00:00:0a", d.mac)
	assert.Zero(t, d.availableFor)
	assert.Equal(t, 60, d.ttl)
	assert.Equal(t, "balcony", d.device("balcony", "hub")["name"])
}

// No two gateways, devices and keys get one id.
func TestIdsDoNotCollide(t *testing.T) {
	seen := map[string]string{}
	note := func(id, from string) {
		assert.Regexp(t, `^[a-zA-Z0-9_-]+$`, id)
		assert.Empty(t, seen[id], "%s: %s", id, from)
		seen[id] = from
	}
	names := []string{"a", "a_", "a.", "a-", "a_5", "a.5", "a-u5", "a-5", "A", "_a", ".a", "-a", "a_sensor_x", "5", "_", ".", "-", "--", "-u", "a._b", "a_.b", "channel", "u", "d"}
	for _, gateway := range names {
		id := "watchtower_" + escape(gateway)
		for _, key := range []string{"senders", "channel_5", "channel_5_last"} {
			note(id+"_"+key, gateway+" and "+key)
		}
		for _, device := range names {
			for _, key := range []string{"sensor_x", "sensor__x", "sensor_a_sensor_x", "button_" + escape("a.b"), "button_" + escape("a_b")} {
				note(id+"_"+escape(device)+"_"+key, gateway+" and "+device+" and "+key)
			}
		}
	}
}

func TestCut(t *testing.T) {
	for text, want := range map[string]int{"": 0, "a": 1, strings.Repeat("ä", 255): 255, strings.Repeat("😀", 256): 255, strings.Repeat("x", 64000): 255} {
		assert.Len(t, []rune(cut(text)), want)
	}
}

// Whatever is accepted is bounded, and JSON that every parser takes.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"name":"Balcony","sensors":{"moisture":{"unit":"%","device_class":"moisture","value":"{{ value_json.m * 0.1 }}","expire_after":5}},"commands":["open"]}`))
	f.Add([]byte(`{"a":1e999,"b":[{"c":"\ud800"}]}`))
	f.Add([]byte(sensorOf(`{"value":"{{ (value_json | default({}))['m'][1:2] if value is not defined else -1.5 }}"}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, meant := parse(data); meant {
			assert.LessOrEqual(t, len(d.entities), sectionMost*len(kinds))
			assert.LessOrEqual(t, len(d.commands), sectionMost)
			assert.LessOrEqual(t, len(d.refused), refusalsMost+1)
			for _, e := range d.entities {
				for _, p := range e.describe(e, wiring{state: "s", heard: true, tell: "t"}) {
					assert.True(t, json.Valid(encode(p.component)))
				}
			}
		}
		if said := fields(data); said != nil {
			var again map[string]any
			require.NoError(t, json.Unmarshal(encode(said), &again), "%s", encode(said))
		}
	})
}
