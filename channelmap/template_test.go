package channelmap

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sample = `{"action":"single","n":21.50,"big":12345678901234567890,"on":true,"none":null,"empty":"","list":[1,{"a":"x"}],"a b":"c","quote":"say \"hi\" <&>"}`

func sampled() *subject {
	return &subject{payload: []byte(sample), others: map[string]any{
		"topic": "zigbee2mqtt/hall", "levels": texts([]string{"zigbee2mqtt", "hall"}), "channel": number(5), "sender": number(72), "name": "", "id": "01J",
	}}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{ value_json.action }}":                          "single",
		"{{value_json['action']}}":                         "single",
		`{{ value_json["a b"] }}`:                          "c",
		"{{ value_json.n }} °C":                            "21.50 °C", // the digits as they came
		"{{ value_json.big }}":                             "12345678901234567890",
		"{{ value_json.on }}":                              "true",
		"{{ value_json.list[1].a }}":                       "x",
		"{{ value_json.list[ 0 ] }}":                       "1",
		"{{ value_json.list }}":                            `[1,{"a":"x"}]`,
		"{{ value_json.quote }}":                           `say "hi" <&>`,
		`{"text": {{ value_json.quote | tojson }}}`:        `{"text": "say \"hi\" <&>"}`,
		"{{ value_json.quote | to_json }}":                 `"say \"hi\" <&>"`,
		"{{ value_json.nothing | default('none') }}":       "none",
		`{{ value_json.none | default("}}") }}`:            "}}",
		"{{ value_json.list[7] | default(-1.5) }}":         "-1.5",
		"{{ value_json.nothing | default('a') | tojson }}": `"a"`,
		"{{ name | default('nobody') }}":                   "nobody",
		"{{ value }}":                                      sample,
		"{{ topic }}: {{ levels[1] }} on {{ channel }}":    "zigbee2mqtt/hall: hall on 5",
		"{{ sender }} {{ id }}":                            "72 01J",
		"TOGGLE":                                           "TOGGLE",
		"{ } }} %}":                                        "{ } }} %}",
		"":                                                 "",
	} {
		p, err := parse(text, slices.Concat(variablesIn, variablesOut))
		require.NoError(t, err, text)
		got, err := p.fill(sampled())
		require.NoError(t, err, text)
		assert.Equal(t, want, string(got), text)
	}
}

func TestTemplatesWithNothingToSay(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"{{ value_json.nothing }}", "{{ value_json.none }}", "x {{ value_json.list[2] }}", "{{ value_json.list.a }}", "{{ value_json[0] }}",
		"{{ value_json.action.more }}", "{{ levels[2] }}", "{{ name }}", "{{ value_json.list['0'] }}",
	} {
		p, err := parse(text, slices.Concat(variablesIn, variablesOut))
		require.NoError(t, err, text)
		_, err = p.fill(sampled())
		assert.ErrorIs(t, err, errNothing, text)
	}
	for payload, want := range map[string]error{
		"no json": errNotJSON, `{"a":1} {"a":2}`: errNotJSON, "\xff": errNotJSON, `{"a":"` + "\xff" + `"}`: errNotJSON, "": errNotJSON, "null": errNothing, "[]": errNothing,
	} {
		p, err := parse("{{ value_json.a }}", variablesIn)
		require.NoError(t, err)
		_, err = p.fill(&subject{payload: []byte(payload)})
		assert.ErrorIs(t, err, want, payload)
	}
	p, err := parse("{{ value }}", variablesIn)
	require.NoError(t, err)
	_, err = p.fill(&subject{payload: []byte{0xff}})
	assert.ErrorIs(t, err, errNotText)
}

func TestFaultyTemplates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{ value":                     "{{ without a }}",
		"{{ 'a }} b":                   "{{ without a }}",
		"{{ }}":                        "must begin with one of value, value_json",
		"{{ valu }}":                   "must begin with one of",
		"{{ sender }}":                 "must begin with one of",
		"{{ value.a }}":                "value_json has keys",
		"{{ topic[0] }}":               "value_json has keys",
		"{{ levels }}":                 "needs the number of one level",
		"{{ levels['a'] }}":            "needs the number of one level",
		"{{ levels[0][1] }}":           "needs the number of one level",
		"{{ value_json.a + 1 }}":       `cannot be read at "+ 1": a template names a value and computes nothing`,
		"{{ value if value else 1 }}":  "computes nothing",
		"{{ value_json.a-b }}":         "cannot be read",
		"{{ value_json[a] }}":          "cannot be read",
		"{{ value_json[9999999999] }}": "cannot be read",
		"{{- value -}}":                "must begin with one of",
		"{{ value | float }}":          `must not use "float" as a filter: there are default and tojson`,
		"{{ value | default }}":        "must have a text or a number as default",
		"{{ value | default(value) }}": "must have a text or a number as default",
		"{{ value |":                   "{{ without a }}",
		"{{ value | }}":                "must not use",
		"{% if value %}on{% endif %}":  "no statements, no comments",
		"{# a #}":                      "no statements, no comments",
		"{{ value_json." + strings.Repeat("é", 100) + " }}": "cannot be read",
	} {
		_, err := parse(text, variablesIn)
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), want, text)
	}
}

// A text that cannot be read is refused, and one that can be makes the same of the same. It
// never makes invalid text of a valid payload.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{
		"{{ value_json.a[0]['b c'] | default('x') | tojson }}", "{{value}}", "a {{ levels[1] }} b", `{{ value_json["a"] }}`, "{{ '}}' }}", "{{ value_json.a | default(1.5) }}",
	} {
		f.Add(text, sample)
	}
	f.Add("{{ value_json }}", "[1,2,null]")
	f.Add("{{\n\n}}", "")
	f.Add("{{ value_json.a }}", "{\"a\":\"\xff\"}")
	f.Fuzz(func(t *testing.T, text, payload string) {
		p, err := parse(text, variablesIn)
		if err != nil {
			assert.NotEmpty(t, err.Error())
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		s := sampled()
		s.payload = []byte(payload)
		got, err := p.fill(s)
		again, errAgain := p.fill(s)
		assert.Equal(t, string(got), string(again))
		assert.Equal(t, err, errAgain)
		if err == nil && utf8.ValidString(text) && utf8.ValidString(payload) {
			assert.True(t, utf8.Valid(got))
		}
		if err != nil {
			assert.True(t, errors.Is(err, errNothing) || errors.Is(err, errNotJSON) || errors.Is(err, errNotText), err)
			assert.Nil(t, got)
		}
		if err == nil && text == "{{ value_json | tojson }}" {
			assert.True(t, json.Valid(got))
		}
	})
}
