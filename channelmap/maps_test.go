package channelmap

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

func compiled(t *testing.T, channels map[uint32][]config.Map) *Maps {
	t.Helper()
	all := map[uint32]config.Channel{}
	for n, m := range channels {
		all[n] = config.Channel{Map: m}
	}
	maps, err := Compile(all)
	require.NoError(t, err)
	return maps
}

// shown are crossings as texts.
func shown(all []Crossing) (list []string) {
	for _, c := range all {
		text := fmt.Sprintf("%d.%d %s %s", c.Channel, c.Place, c.Topic, c.Outcome)
		if c.Outcome == Crosses {
			text = fmt.Sprintf("%d.%d %s = %s", c.Channel, c.Place, c.Topic, c.Payload)
		}
		if c.QoS > 0 {
			text += fmt.Sprintf(" q%d", c.QoS)
		}
		if c.Retain {
			text += " r"
		}
		list = append(list, text)
	}
	return list
}

func TestWhatComesIn(t *testing.T) {
	t.Parallel()
	m := compiled(t, map[uint32][]config.Map{
		5: {
			{Topic: "z/+/action", In: true, QoS: 2},
			{Topic: "z/hall/action", In: true},
			{Topic: "z/+", In: true, Template: "{{ value_json.a }}", Values: map[string]string{"1": "on", "2": ""}, Retained: true},
			{Topic: "out", Out: true},
		},
		7: {{Topic: "y", In: true}, {Topic: "z/#", In: true, Template: "ring"}},
	})
	for _, c := range []struct {
		topic, payload string
		retained       bool
		want           []string
	}{
		{"z/hall/action", "single", false, []string{"5.0 z/hall/action = single", "5.1 z/hall/action twice", "7.1 z/hall/action = ring"}},
		{"z/attic/action", "single", false, []string{"5.0 z/attic/action = single", "7.1 z/attic/action = ring"}},
		{"z/hall/action", "", false, []string{"5.0 z/hall/action empty", "5.1 z/hall/action empty", "7.1 z/hall/action empty"}},
		{"z/hall", `{"a":1}`, true, []string{"5.2 z/hall = on", "7.1 z/hall retained"}},
		{"z/hall", `{"a":2}`, false, []string{"5.2 z/hall empty", "7.1 z/hall = ring"}},
		{"z/hall", `{"a":3}`, false, []string{"5.2 z/hall unmatched", "7.1 z/hall = ring"}},
		{"z/hall", `{}`, false, []string{"5.2 z/hall empty", "7.1 z/hall = ring"}},
		{"z/hall", `a`, false, []string{"5.2 z/hall failed", "7.1 z/hall = ring"}},
		{"z", "x", false, []string{"7.1 z = ring"}},
		{"out", "x", false, nil},
		{"$SYS/x", "x", false, nil},
	} {
		assert.Equal(t, c.want, shown(m.In(c.topic, []byte(c.payload), c.retained)), c.topic+" "+c.payload)
	}
}

func TestWhatGoesOut(t *testing.T) {
	t.Parallel()
	m := compiled(t, map[uint32][]config.Map{
		5: {
			{Topic: "plain", Out: true, QoS: 1, Retain: true},
			{Topic: "words", Out: true, Values: map[string]string{"1": "ON", "": "TOGGLE", "2": ""}},
			{Topic: "json", Out: true, Values: map[string]string{"1": "ON"}, Template: `{"state": {{ value | tojson }}, "by": "{{ name | default('?') }}"}`},
			{Topic: "field", Out: true, Template: "{{ value_json.a }}"},
			{Topic: "both", In: true, Out: true},
			{Topic: "plain", Out: true, QoS: 1, Template: "{{ value }}"},
		},
		6: {{Topic: "in", In: true}},
	})
	say := func(c bridge.Channel, via bridge.Protocol, name, data string) []string {
		return shown(m.Out(&bridge.Message{Channel: c, Via: via, Name: name, Sender: 72, Data: []byte(data)}))
	}
	assert.Equal(t, []string{
		"5.0 plain = 1 q1 r", "5.1 words = ON", `5.2 json = {"state": "ON", "by": "lamp"}`, "5.3 field empty", "5.4 both = 1", "5.5 plain twice q1",
	}, say(5, 0, "lamp", "1"))
	assert.Equal(t, []string{"5.0 plain empty q1 r", "5.1 words = TOGGLE", "5.2 json unmatched", "5.3 field failed", "5.4 both empty", "5.5 plain empty q1"}, say(5, 0, "", ""))
	assert.Equal(t, []string{"5.0 plain = \x00\xff q1 r", "5.1 words unmatched", "5.2 json unmatched", "5.3 field failed", "5.4 both = \x00\xff", "5.5 plain failed q1"}, say(5, 0, "", "\x00\xff"))
	assert.Equal(t, "5.1 words empty", say(5, 0, "", "2")[1])
	for _, text := range say(5, Protocol, SenderName, "1") {
		assert.Contains(t, text, "by map")
	}
	assert.Nil(t, say(6, 0, "", "1"))
	assert.True(t, m.goesOut(5))
	assert.False(t, m.goesOut(6))
	assert.Equal(t, "both", m.Topics()["channels.5.map[4].topic"])
	assert.Len(t, m.Topics(), 6)
}

func TestFaultsOfTemplatesNameTheirLine(t *testing.T) {
	t.Parallel()
	_, err := Compile(map[uint32]config.Channel{
		5: {Map: []config.Map{{Topic: "a", In: true, Template: "{{ x }}"}, {Topic: "a/+", In: true, Template: "{{ levels[2] }}"}}},
		7: {Map: []config.Map{{Topic: "a/#", In: true, Template: "{{ levels[9] }}"}, {Topic: "a", Out: true, Template: "{{ topic }}"}}},
	})
	var faults config.Faults
	require.ErrorAs(t, err, &faults)
	require.Len(t, faults, 3)
	assert.Equal(t, "channels.5.map[0].template", faults[0].Path)
	assert.Equal(t, "channels.5.map[1].template: has levels[2], but the topic has 2 levels, from 0", faults[1].Error())
	assert.Equal(t, "channels.7.map[1].template", faults[2].Path)
}

func TestFiltersOfATree(t *testing.T) {
	t.Parallel()
	var maps []config.Map
	for _, f := range []string{"z/hall/action", "z/+/action", "a/+", "a/#", "a/b/c", "+/x/y", "z/+/action", "b"} {
		maps = append(maps, config.Map{Topic: f, In: true, QoS: len(f) % 3, Retained: f == "a/b/c"})
	}
	assert.Equal(t, []Filter{{"+/x/y", 2, false}, {"a/#", 2, true}, {"b", 1, false}, {"z/+/action", 1, false}}, compiled(t, map[uint32][]config.Map{5: maps}).Filters())
	assert.Empty(t, compiled(t, nil).Filters())
}

func TestTopicsMatchFilters(t *testing.T) {
	t.Parallel()
	all := []string{"a", "a/b", "a/b/c", "a//c", "$a/b", "/", "b"}
	for filter, want := range map[string][]string{
		"#":     {"a", "a/b", "a/b/c", "a//c", "/", "b"},
		"+":     {"a", "b"},
		"a/#":   {"a", "a/b", "a/b/c", "a//c"},
		"a/+":   {"a/b"},
		"a/+/c": {"a/b/c", "a//c"},
		"+/b":   {"a/b"},
		"+/+":   {"a/b", "/"},
		"$a/+":  {"$a/b"},
		"a/b":   {"a/b"},
		"/#":    {"/"},
	} {
		var got []string
		for _, topic := range all {
			if matches(strings.Split(filter, "/"), strings.Split(topic, "/")) {
				got = append(got, topic)
			}
		}
		assert.Equal(t, want, got, filter)
	}
}

// FuzzCovers checks that a filter which covers another matches all that the other matches.
func FuzzCovers(f *testing.F) {
	f.Add("a/#", "a/+/b", "a/x/b")
	f.Add("+/+", "a/#", "a/b")
	f.Add("a/#", "a", "a")
	f.Fuzz(func(t *testing.T, a, b, topic string) {
		one, other, levels := strings.Split(a, "/"), strings.Split(b, "/"), strings.Split(topic, "/")
		valid := regexp.MustCompile(`^([^+#/]*/|\+/)*([^+#/]*|\+|#)$`)
		if strings.HasPrefix(topic, "$") || strings.ContainsAny(topic, "+#") || !valid.MatchString(a) || !valid.MatchString(b) {
			return
		}
		if covers(one, other) && matches(other, levels) {
			assert.True(t, matches(one, levels), "%q covers %q, which matches %q", a, b, topic)
		}
	})
}
