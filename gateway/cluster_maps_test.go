package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/channelmap"
	"watchtower/config"
	"watchtower/internal/harness"
)

// A map runs at the gateway that has it, for all that is said and published in the space. What
// came in by a map of one gateway goes out by no map of another, and the other way round.
func TestMapsInASpace(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	with := func(name string) *running {
		return together(t, servers.URL(), name, func(c *config.Config) {
			c.Channels = map[uint32]config.Channel{5: {Map: []config.Map{
				{Topic: "button", In: true, QoS: 1, Template: "{{ value }} heard at " + name},
				{Topic: "plug/" + name, Out: true, QoS: 1},
				{Topic: "plug/#", In: true, QoS: 1, Template: "{{ value }} came back to " + name},
			}}}
		})
	}
	a, b, without := with("a"), with("b"), together(t, servers.URL(), "c", nil)
	for _, pair := range [][2]*running{{a, b}, {a, without}, {b, without}} {
		meet(t, pair[0], pair[1])
	}
	assert.Equal(t, a.mapID(), b.mapID(), "its id is the same everywhere")
	stream, device := without.stream(), without.wire("udp")
	plugs := without.outside("plugs", "plug/#")
	rings := func(text string) { // both gateways have the map, so both say it
		plugs.says("button", text, false)
		assert.ElementsMatch(t, []string{text + " heard at a", text + " heard at b"}, []string{stream.next(t).data, stream.next(t).data})
	}
	switches := func(text string) {
		device.broadcast(5, []byte(text))
		assert.Equal(t, received{device.id, 5, false, text}, stream.next(t))
		assert.ElementsMatch(t, []string{"plug/a " + text, "plug/b " + text}, []string{plugs.next(), plugs.next()})
	}
	rings("single")
	switches("on")
	rings("double") // and nothing came back before
	switches("off") // and nothing went out before
	_, out := a.g.Hub().Counters().Messages(channelmap.Protocol)
	assert.EqualValues(t, 2, out)
}

// What a space has retained does not ring where a gateway joins it: it is there before the
// gateway listens, or comes a moment later.
func TestWhatASpaceHasRetainedDoesNotRing(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a := together(t, servers.URL(), "a", nil)
	states := a.outside("states")
	for i := range 50 {
		states.says(fmt.Sprintf("state/%d", i), "old", true)
	}
	b := together(t, servers.URL(), "b", func(c *config.Config) {
		c.Channels = map[uint32]config.Channel{
			5: {Map: []config.Map{{Topic: "state/+", In: true, Template: "{{ topic }} {{ value }}"}}},
			6: {Map: []config.Map{{Topic: "state/+", In: true, Template: "{{ topic }} {{ value }}", Retained: true}}},
		}
	})
	meet(t, a, b)
	on6 := map[string]bool{}
	next := b.heardFrom(6)
	for len(on6) < 50 {
		on6[next()] = true
	}
	on5 := b.heardFrom(5)
	states.says("state/0", "new", true)
	assert.Equal(t, "state/0 new", on5(), "nothing came before")
}

// heardFrom follows a channel from the beginning of its history. Next returns the next text.
func (r *running) heardFrom(channel uint32) (next func() string) {
	lines := make(chan string, 1000)
	r.follow(fmt.Sprintf("sender=%d&channels=%d&since=all", r.register("").ID, channel), func(b []byte) { lines <- line(r.t, b).data })
	return func() string {
		r.t.Helper()
		select {
		case text := <-lines:
			return text
		case <-time.After(lenient):
			require.Fail(r.t, "nothing is heard")
			return ""
		}
	}
}
