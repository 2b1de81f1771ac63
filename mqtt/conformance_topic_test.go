package mqtt_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTopicFiltersMatch(t *testing.T) {
	t.Parallel()
	topics := []string{
		"a", "A", "/a", "a/", "a/b", "a//b", "a/b/c", "a/b/c/d", "b/b", "/", "//", "$a", "$a/b", "a/$b", "a b", "ä/ö/日本", "\ufeffa", " a", "𝔘/x",
	}
	type filters map[string][]string
	for statement, table := range map[string]filters{
		"MQTT-4.7.1-1: # is any number of levels, and the one above": {
			"a/#":   {"a", "a/", "a/b", "a//b", "a/b/c", "a/b/c/d", "a/$b"},
			"a/b/#": {"a/b", "a/b/c", "a/b/c/d"},
			"/#":    {"/a", "/", "//"},
			"+/b/#": {"a/b", "a/b/c", "a/b/c/d", "b/b"},
			"c/#":   nil,
		},
		"MQTT-4.7.1-1: # after + is the level of the + as well": {
			"a/+/#":  {"a/", "a/b", "a//b", "a/b/c", "a/b/c/d", "a/$b"},
			"$a/+/#": {"$a/b"},
			"+/#":    {"a", "A", "/a", "a/", "a/b", "a//b", "a/b/c", "a/b/c/d", "b/b", "/", "//", "a/$b", "a b", "ä/ö/日本", "\ufeffa", " a", "𝔘/x"},
			"+/+/#":  {"/a", "a/", "a/b", "a//b", "a/b/c", "a/b/c/d", "b/b", "/", "//", "a/$b", "ä/ö/日本", "𝔘/x"},
		},
		"MQTT-4.7.1-2: + is one level, an empty one too": {
			"+":     {"a", "A", "a b", "\ufeffa", " a"},
			"a/+":   {"a/", "a/b", "a/$b"},
			"+/b":   {"a/b", "b/b"},
			"a/+/b": {"a//b"},
			"+/+":   {"/a", "a/", "a/b", "b/b", "/", "a/$b", "𝔘/x"},
			"/+":    {"/a", "/"},
			"+/+/+": {"a//b", "a/b/c", "//", "ä/ö/日本"},
			"a/+/c": {"a/b/c"},
		},
		"MQTT-4.7.2-1: a wildcard does not match a leading $": {
			"#":     {"a", "A", "/a", "a/", "a/b", "a//b", "a/b/c", "a/b/c/d", "b/b", "/", "//", "a/$b", "a b", "ä/ö/日本", "\ufeffa", " a", "𝔘/x"},
			"$a/#":  {"$a", "$a/b"},
			"$a/+":  {"$a/b"},
			"$a":    {"$a"},
			"a/$b":  {"a/$b"},
			"+/$b":  {"a/$b"},
			"$a/b":  {"$a/b"},
			"$+":    nil,
			"+a":    nil,
			"a/#/b": nil,
		},
		"MQTT-4.7.3-4: every character counts, and nothing is normalised": {
			"a":       {"a"},
			"A":       {"A"},
			"/a":      {"/a"},
			"a/":      {"a/"},
			"/":       {"/"},
			"//":      {"//"},
			"a//b":    {"a//b"},
			"a b":     {"a b"},
			" a":      {" a"},
			"a ":      nil,
			"ä/ö/日本":  {"ä/ö/日本"},
			"a\u0308": nil,
			"𝔘/+":     {"𝔘/x"},
		},
		"MQTT-1.5.4-3: U+FEFF is a character": {"\ufeffa": {"\ufeffa"}},
	} {
		t.Run(statement, func(t *testing.T) {
			versions(t, func(t *testing.T, version byte) {
				h := build(t, nil)
				live := h.join(connect{id: "live", version: version})
				for filter, want := range table {
					granted := live.subscribe(1, filter)
					if granted[0] >= 0x80 {
						assert.Empty(t, want, filter)
						continue
					}
					for _, topic := range topics {
						require.Zero(t, live.publish(1, topic, "x"))
					}
					assert.Equal(t, want, live.messages(), "%q", filter)
					live.unsubscribe(filter)
				}
			})
		})
	}
}

func TestRetainedTopicsMatchAsLiveOnesDo(t *testing.T) { // MQTT-3.3.1-5
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		for _, topic := range []string{"o", "o/", "o//p", "o/p", "/o", "$o/p", "O"} {
			c.retain(topic, topic)
		}
		for filter, want := range map[string][]string{
			"o": {"o"}, "o/": {"o/"}, "o/#": {"o", "o/", "o//p", "o/p"}, "o/+": {"o/", "o/p"}, "o/+/p": {"o//p"}, "+/p": {"o/p"},
			"/+": {"/o"}, "$o/#": {"$o/p"}, "O": {"O"}, "o/p/#": {"o/p"},
		} {
			c.subscribe(1, filter)
			assert.ElementsMatch(t, want, c.messages(), "%q", filter)
			c.unsubscribe(filter)
		}
	})
}

func TestClientsDoNotWriteToSYS(t *testing.T) { // 4.7.2
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		spy := h.join(connect{id: "spy", version: version})
		assert.Equal(t, []byte{1, 1, 1}, spy.subscribe(1, "$SYS/#", "#", "+/#"))
		spy.messages() // the gateway's own
		c := h.join(connect{id: "c", version: version})
		for qos := range byte(3) {
			code := c.publish(qos, "$SYS/x", "x")
			assert.Equal(t, version == 5 && qos > 0, code >= 0x80)
		}
		c.retain("$SYS/x", "x")
		c.publish(1, "own/x", "x")
		assert.Equal(t, []string{"own/x"}, spy.messages(), "it is refused, and its connection goes on")
	})
}

func TestALongTopic(t *testing.T) { // MQTT-4.7.3-3
	versions(t, func(t *testing.T, version byte) {
		c := build(t, nil).join(connect{id: "c", version: version})
		topic := strings.Repeat("x", 65535)
		require.Equal(t, []byte{1}, c.subscribe(1, topic))
		require.Zero(t, c.publish(1, topic, "x"))
		assert.Equal(t, topic, c.message().TopicName)
	})
}

// 4.7.3 limits only the length of a topic; the broker also limits its levels, to bound their
// cost. A refusal costs almost nothing.
func TestTopicLevelsAreBounded(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		c := build(t, nil).join(connect{id: "c", version: version})
		topic := strings.Repeat("/", 199)
		require.Equal(t, []byte{1, 1}, c.subscribe(1, topic, "#"))
		require.Zero(t, c.publish(1, topic, "x"))
		assert.Equal(t, topic, c.message().TopicName)
		start := time.Now()
		for _, n := range []int{200, 65535} {
			topic = strings.Repeat("/", n)
			assert.GreaterOrEqual(t, c.subscribe(1, topic)[0], byte(0x80))
			assert.Equal(t, map[byte]byte{4: 0, 5: 0x90}[version], c.publish(1, topic, "x"))
		}
		long := strings.Repeat("x", 65000)
		for _, topic := range []string{"watchtower/channels/" + long + "/broadcast", "watchtower/channels/5/send/" + long, "watchtower/channels/5/broadcast/" + long, "watchtower/" + long} {
			assert.Equal(t, version == 5, c.publish(1, topic, "x") >= 0x80, "a refusal of a long topic is short")
			assert.GreaterOrEqual(t, c.subscribe(1, topic+"/#")[0], byte(0x80))
		}
		assert.Empty(t, c.messages())
		assert.Less(t, time.Since(start), 5*time.Second)
	})
}
