package homeassistant

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An entity with a fault is left out, and an unknown key alone; the rest counts.
func TestWhatIsRightCounts(t *testing.T) {
	d, meant := parse([]byte(`{"name":5,"model":"m","battery":3,"lights":{"a":{},"b":{"brightness":"yes"}},"sensors":{"m":{"colour":1}},"commands":["x y","go"]}`))
	assert.True(t, meant)
	assert.Equal(t, []string{
		"name: must be text of 1 to 64 printable characters", "battery: unknown key",
		"commands[0]: must be a word of 1 to 32 of A–Z a–z 0–9 _ . -",
		"sensors.m.colour: unknown key, there are name, device_class, enabled, icon, category, value, unit, state_class, expire_after, options, precision, force",
		"lights.b.brightness: must be true or false",
	}, d.refused)
	assert.Equal(t, []string{"go"}, d.commands)
	require.Len(t, d.entities, 2)
	assert.Equal(t, "sensor_m", d.entities[0].id())
	assert.Equal(t, "light_a", d.entities[1].id())
	assert.Equal(t, map[string]string{"model": "m"}, d.texts)
	assert.False(t, d.empty())
	assert.False(t, d.void())

	d, _ = parse([]byte(`{"sensors":{"M":{}}}`))
	assert.True(t, d.void())
	assert.False(t, d.empty(), "the device stays")
	d, _ = parse([]byte(`{"sensors":{},"battery":3}`))
	assert.True(t, d.empty())
	d, _ = parse([]byte(`{"sensors":{"A":{},"B":{},"C":{},"D":{},"E":{},"F":{},"G":{},"H":{},"I":{},"J":{},"K":{},"L":{},"M":{},"N":{},"O":{},"P":{},"Q":{}}}`))
	assert.Len(t, d.refused, refusalsMost+1)
	assert.Equal(t, "and more", d.refused[refusalsMost])
}

func TestFaultsOfKinds(t *testing.T) {
	for text, want := range map[string]string{
		`{"binary_sensors":{"a":{"on":"x","off":"X"}}}`:                                  "binary_sensors.a.off: must differ from on",
		`{"binary_sensors":{"a":{"category":"config"}}}`:                                 "binary_sensors.a.category: must be diagnostic",
		`{"binary_sensors":{"a":{"device_class":"doors"}}}`:                              "binary_sensors.a.device_class: must be one of battery,",
		`{"binary_sensors":{"a":{"off_delay":0}}}`:                                       "binary_sensors.a.off_delay: must be a whole number from 1",
		`{"switches":{"a":{"on":""}}}`:                                                   "switches.a.on: must be text",
		`{"switches":{"a":{"on":" x"}}}`:                                                 "switches.a.on: must be text of 1 to 32 printable characters, without blanks",
		`{"switches":{"a":{"off":"ON"}}}`:                                                "switches.a.off: must differ from on",
		`{"switches":{"a":{"icon":"pump"}}}`:                                             "switches.a.icon: must be an icon's name",
		`{"switches":{"a":{"category":"x"}}}`:                                            "switches.a.category: must be diagnostic or config",
		`{"switches":{"a":{"enabled":1}}}`:                                               "switches.a.enabled: must be true or false",
		`{"numbers":{"a":{"min":5,"max":5}}}`:                                            "numbers.a.max: must be more than min",
		`{"numbers":{"a":{"step":0}}}`:                                                   "numbers.a.step: must be at least 0.001",
		`{"numbers":{"a":{"max":1e10}}}`:                                                 "numbers.a.max: must be a number from -1000000000",
		`{"numbers":{"a":{"max":"5"}}}`:                                                  "numbers.a.max: must be a number",
		`{"numbers":{"a":{"device_class":"temperature"}}}`:                               "numbers.a.unit: must be one of",
		`{"selects":{"a":{}}}`:                                                           "selects.a.options: is missing",
		`{"selects":{"a":{"options":[]}}}`:                                               "selects.a.options: must be a list of 1 to 64",
		`{"selects":{"a":{"options":["a","a"]}}}`:                                        "selects.a.options: must be a list of 1 to 64 different",
		`{"selects":{"a":{"options":["None"]}}}`:                                         "selects.a.options: must be a list",
		`{"selects":{"a":{"options":["a"],"device_class":"x"}}}`:                         "selects.a.device_class: selects have none",
		`{"texts":{"a":{"max":256}}}`:                                                    "texts.a.max: must be a whole number from 1 to 255",
		`{"covers":{"a":{"position":"yes"}}}`:                                            "covers.a.position: must be true or false",
		`{"events":{"a":{}}}`:                                                            "events.a.types: is missing",
		`{"events":{"a":{"types":["two words"]}}}`:                                       "events.a.types: must be a list of 1 to 64",
		`{"events":{"a":{"types":["x"],"device_class":"gong"}}}`:                         "events.a.device_class: must be one of button, doorbell, motion",
		`{"triggers":{"a":{"types":["x"],"name":"x"}}}`:                                  "triggers.a.name: unknown key, there are types",
		`{"update":{"a":{"title":""}}}`:                                                  "update.a.title: must be text",
		`{"buttons":{"a":{"device_class":"reset"}}}`:                                     "buttons.a.device_class: must be one of identify, restart, update",
		`{"switches":{"a":{}},"commands":["a"]}`:                                         "switches.a: commands has that key",
		`{"switches":{"a":{}},"lights":{"a":{}}}`:                                        "lights.a: switches has that key",
		`{"buttons":{"a":{}},"update":{"a":{}}}`:                                         "buttons.a: update has that key",
		sensorOf(`{"device_class":"enum"}`):                                              "sensors.m.options: must be there for enum",
		sensorOf(`{"options":["a"],"unit":"V"}`):                                         "sensors.m.unit: cannot be there with options",
		sensorOf(`{"options":["a"],"state_class":"total"}`):                              "sensors.m.state_class: cannot be there with options",
		sensorOf(`{"options":["a"],"device_class":"power"}`):                             "sensors.m.unit: must be one of",
		sensorOf(`{"precision":10}`):                                                     "sensors.m.precision: must be a whole number from 0 to 9",
		sensorOf(`{"device_class":"temperature"}`):                                       "sensors.m.unit: must be one of K °C °F for temperature",
		sensorOf(`{"device_class":"uptime","precision":1}`):                              "sensors.m.unit: uptime has none",
		sensorOf(`{"device_class":"power","unit":"BTU/h"}`):                              "sensors.m.unit: must be one of",
		sensorOf(`{"device_class":"nitrogen_monoxide","unit":"ppm"}`):                    "sensors.m.unit: must be one of ppb μg/m³",
		sensorOf(`{"device_class":"monetary","unit":"EUR","state_class":"measurement"}`): "sensors.m.state_class: monetary cannot have measurement",
	} {
		d, meant := parse([]byte(text))
		assert.True(t, meant, text)
		if assert.NotEmpty(t, d.refused, text) {
			assert.True(t, strings.HasPrefix(d.refused[0], want), "%s\n%s\n%s", text, d.refused[0], want)
		}
	}
	for _, good := range []string{
		`{"sensors":{"a":{}},"switches":{"a":{}}}`, `{"events":{"a":{"types":["x"]}},"triggers":{"a":{"types":["x"]}},"switches":{"a":{}}}`,
		sensorOf(`{"device_class":"current","unit":"µA"}`), sensorOf(`{"device_class":"current","unit":"μA"}`), sensorOf(`{"device_class":"pressure","unit":"atm"}`),
		sensorOf(`{"device_class":"energy","unit":"thm"}`), sensorOf(`{"device_class":"radon","unit":"Bq/m³"}`), sensorOf(`{"device_class":"uptime"}`),
		sensorOf(`{"device_class":"monetary","unit":"€"}`), sensorOf(`{"device_class":"enum","options":["a"]}`), sensorOf(`{"device_class":"reactive_power","unit":"VAr"}`),
		`{"numbers":{"a":{"device_class":"temperature","unit":"°C"}}}`,
	} {
		d, _ := parse([]byte(good))
		assert.Empty(t, d.refused, good)
	}
}

// The unit is published as Home Assistant writes it.
func TestUnitsAreSpeltAsHomeAssistantDoes(t *testing.T) {
	for said, want := range map[string]string{"µA": "μA", "μA": "μA", "µg": "μg", "VAr": "var", "°C": "°C", "Umdrehungen": "Umdrehungen"} {
		assert.Equal(t, want, unitOf(said), said)
	}
	assert.Equal(t, "2026.11.0", classes().Version)
	assert.Len(t, classes().Classes["sensor"], 62)
}

// What is published can be no part of a template that the device did not bring.
func TestNothingGetsOutOfALiteral(t *testing.T) {
	for _, evil := range []string{`'`, `\`, `\'`, `{{ 1 }}`, `{% raw %}`, `#}`, `' ~ 1 ~ '`, "’"} {
		text := literal(evil)
		assert.NotRegexp(t, `[{}%#]`, text)
		assert.NotRegexp(t, `[^\\](\\\\)*'.`, text[1:], "%s ends too soon", text)
	}
}

func TestJoiningParts(t *testing.T) {
	root := func(text string) map[string]json.RawMessage {
		r := descriptionRoot([]byte(text))
		require.NotNil(t, r, text)
		return r
	}
	whole := joined(map[int]map[string]json.RawMessage{
		2: root(`{"part":[2,3],"name":"B","sensors":{"b":{},"a":{"unit":"V"}},"commands":["c"]}`),
		1: root(`{"part":[1,3],"name":"A","sensors":{"a":{}}}`),
		3: root(`{"part":[3,3],"lights":{"l":{}},"commands":["d"],"model":"m"}`),
	})
	assert.JSONEq(t, `{"name":"A","model":"m","sensors":{"a":{},"b":{}},"lights":{"l":{}},"commands":["c","d"]}`, string(encode(whole)))
	for _, bad := range []string{`5`, `[1]`, `[0,2]`, `[3,2]`, `[1,33]`, `["1",2]`, `[1.5,2]`, `null`} {
		_, _, err := readPart(map[string]json.RawMessage{"part": json.RawMessage(bad)})
		assert.Error(t, err, bad)
	}
}

// A message as sketches print it, with a number that is none, loses only that key.
func TestNaNInAMessage(t *testing.T) {
	for text, want := range map[string]string{
		`{"t":nan,"h":41}`: `{"t":"nan","h":41}`, `{"t":-NaN}`: `{"t":"-NaN"}`, `{"a":[inf, 1],"t": Infinity }`: `{"a":["inf",1],"t":"Infinity"}`,
		`{"t":"nan"}`: `{"t":"nan"}`, `{"t":nano}`: ``, `{"t":nan`: ``,
	} {
		if said := fields([]byte(text)); want == "" {
			assert.Nil(t, said, text)
		} else {
			assert.JSONEq(t, want, string(encode(said)), text)
		}
	}
}
