package mqtt_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

// pause is long enough for all that is written late and heard late.
const pause = 30 * time.Second

func (g *spaced) dropped(reason bridge.Reason) int {
	return int(g.hub.Counters().Dropped(mqtt.Protocol, reason))
}

// A gateway that joins a space brings what the space does not have. Of what both have the space's
// counts; what changed while it was alone counts no more than that.
func TestAGatewayJoinsWithWhatItRetains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpace(1)
		alone := s.start(t, 0, nil, nil)
		alone.retains("own/both", "mine")
		alone.retains("own/mine", "mine")
		alone.retains("own/removed", "mine")
		time.Sleep(time.Second)
		alone.stop()
		a := s.start(t, 1, nil, nil)
		a.retains("own/both", "the space's")
		a.retains("own/removed", "x")
		a.retains("own/removed", "")
		time.Sleep(pause)
		b := s.start(t, 2, alone.disk, nil)
		time.Sleep(pause)
		want := map[string]string{"own/both": "the space's", "own/mine": "mine"}
		assert.Equal(t, want, a.retained())
		assert.Equal(t, want, b.retained())
		b.stop()

		alone = s.start(t, 0, b.disk, nil)
		assert.Equal(t, want, alone.retained())
		alone.retains("own/both", "changed alone")
		alone.retains("own/new", "said alone")
		time.Sleep(time.Second)
		alone.stop()
		b = s.start(t, 2, alone.disk, nil)
		time.Sleep(pause)
		want["own/new"] = "said alone"
		assert.Equal(t, want, a.retained())
		assert.Equal(t, want, b.retained())
		a.stop()
		b.stop()
	})
}

// If the store is lost, the gateways write all again, also one that comes back later. A gateway
// that was away for longer than removals are remembered for brings nothing back.
func TestTheStoreIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpace(1)
		a, b := s.start(t, 1, nil, nil), s.start(t, 2, nil, nil)
		time.Sleep(2 * time.Second)
		for i := range 5 {
			a.retains(fmt.Sprint("own/", i), "x")
		}
		time.Sleep(pause)
		want := a.retained()
		require.Equal(t, want, b.retained())
		a.stop()
		b.stop()
		s.rows = nil
		b = s.start(t, 2, b.disk, nil)
		time.Sleep(pause)
		c := s.start(t, 3, nil, nil)
		time.Sleep(pause)
		assert.Equal(t, want, b.retained())
		assert.Equal(t, want, c.retained())
		b.retains("own/3", "")
		delete(want, "own/3")
		time.Sleep(pause)
		b.stop()
		c.stop()
		time.Sleep(bridge.RemovedFor + 24*time.Hour)
		s.mu.Lock()
		s.rows = slices.DeleteFunc(s.rows, func(r spaceRow) bool { return r.message().Topic == "own/3" }) // as is the trace of its removal
		s.mu.Unlock()
		b = s.start(t, 2, b.disk, nil)
		b.retains("own/fresh", "y")
		want["own/fresh"] = "y"
		time.Sleep(pause)
		a = s.start(t, 1, a.disk, nil)
		time.Sleep(pause)
		assert.Equal(t, want, b.retained())
		a.stop()
		b.stop()
	})
}

// A gateway keeps no more than its limits allow, and says so. It keeps nothing old instead, and
// removes nothing elsewhere.
func TestLimitsOfRetainedMessagesHoldAtEveryGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpace(1)
		a := s.start(t, 1, nil, nil)
		small := func(o *mqtt.Options) { o.MQTTRetained = 2 }
		b := s.start(t, 2, nil, small)
		time.Sleep(2 * time.Second)
		want := map[string]string{}
		for i := range 5 {
			topic := fmt.Sprint("own/", i)
			want[topic] = "x"
			a.retains(topic, "x")
			time.Sleep(time.Second)
		}
		time.Sleep(pause)
		assert.Equal(t, want, a.retained())
		assert.Equal(t, map[string]string{"own/0": "x", "own/1": "x"}, b.retained())
		assert.Equal(t, 3, b.dropped(bridge.Limit))
		assert.Len(t, b.heard(), 5, "subscribers get them all the same")
		b.stop()
		b = s.start(t, 2, b.disk, func(o *mqtt.Options) { o.MQTTRetainedBytes = 3000 })
		time.Sleep(pause)
		assert.Equal(t, want, b.retained(), "with more room")
		a.retains("own/0", string(make([]byte, 4000)))
		time.Sleep(pause)
		assert.NotContains(t, b.retained(), "own/0", "nothing old")
		b.stop()
		c := s.start(t, 3, nil, nil)
		time.Sleep(pause)
		assert.Len(t, c.retained(), 5, "nothing was removed")
		assert.Len(t, a.retained(), 5)
		a.stop()
		c.stop()
	})
}

// Two gateways that do not hear each other retain both what they are told. When they do, the newer
// stays, and the older is not even delivered.
func TestTheNewerOfTwoSidesStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpace(1)
		a, b := s.start(t, 1, nil, nil), s.start(t, 2, nil, nil)
		time.Sleep(2 * time.Second)
		cut := func(now bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cut[[2]bridge.Slot{1, 2}], s.cut[[2]bridge.Slot{2, 1}] = now, now
			s.apart[2] = now
		}
		cut(true)
		a.retains("own/x", "older")
		b.retains("own/y", "older")
		b.retains("own/removed", "older")
		time.Sleep(time.Second)
		b.retains("own/x", "newer")
		a.retains("own/y", "newer")
		a.retains("own/removed", "")
		time.Sleep(pause)
		cut(false)
		time.Sleep(pause)
		for _, g := range []*spaced{a, b} {
			assert.Equal(t, map[string]string{"own/x": "newer", "own/y": "newer"}, g.retained())
			g.inStep()
		}
		assert.Equal(t, 1, b.dropped(mqtt.Superseded))
		assert.Equal(t, 2, a.dropped(mqtt.Superseded))
		a.stop()
		b.stop()
	})
}

// What has expired is gone everywhere, and is not brought back by a gateway that comes later.
func TestRetainedMessagesExpireEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpace(1)
		a, b := s.start(t, 1, nil, nil), s.start(t, 2, nil, nil)
		a.broker.ShareOwn("own/")
		time.Sleep(2 * time.Second)
		require.NoError(t, a.broker.PublishKept("own/short", []byte("x"), time.Minute))
		time.Sleep(pause)
		assert.Equal(t, map[string]string{"own/short": "x"}, b.retained())
		b.stop()
		time.Sleep(2 * time.Minute)
		b, c := s.start(t, 2, b.disk, nil), s.start(t, 3, nil, nil)
		time.Sleep(pause)
		for _, g := range []*spaced{a, b, c} {
			assert.Empty(t, g.retained())
			g.stop()
		}
	})
}

// What a gateway publishes for all gateways reaches their clients too, and is retained there as
// the gateways' own. All else that it says of itself stays with it.
func TestAGatewaySpeaksForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpace(1)
		few := func(o *mqtt.Options) { o.MQTTRetained, o.OwnTopics = 1, []string{"own/all/"} }
		a, b := s.start(t, 1, nil, few), s.start(t, 2, nil, few)
		time.Sleep(2 * time.Second)
		a.broker.ShareOwn("own/all/", "watchtower/homeassistant/")
		require.NoError(t, a.broker.PublishRetained("own/all/1", []byte("one")))
		require.NoError(t, a.broker.PublishKept("watchtower/homeassistant/2", []byte("two"), 0))
		require.NoError(t, a.broker.PublishOwn("own/all/3", []byte("three")))
		require.NoError(t, a.broker.PublishRetained("own/alone", []byte("four")))
		require.NoError(t, a.broker.PublishKept("own/alone too", []byte("five"), 0))
		require.NoError(t, a.broker.PublishOwn("own/alone, three", []byte("six")))
		time.Sleep(pause)
		assert.Equal(t, map[string]string{"own/all/1": "one", "watchtower/homeassistant/2": "two", "own/all/3": "three"}, b.heard())
		assert.Equal(t, "one", string(b.broker.Retained("own/all/1")))
		assert.Equal(t, "two", string(b.broker.Retained("watchtower/homeassistant/2")))
		assert.Zero(t, b.dropped(bridge.Limit), "they are no clients' messages")
		require.NoError(t, a.broker.PublishRetained("own/all/1", nil))
		time.Sleep(pause)
		c := s.start(t, 3, nil, few)
		time.Sleep(pause)
		assert.Nil(t, b.broker.Retained("own/all/1"))
		assert.Nil(t, c.broker.Retained("own/all/1"))
		assert.Equal(t, "two", string(c.broker.Retained("watchtower/homeassistant/2")))
		for _, g := range []*spaced{a, b, c} {
			g.stop()
		}
	})
}

// Messages that no gateway of this program sends are not taken.
func TestWhatOtherGatewaysMayNotSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpace(1)
		g := s.start(t, 1, nil, func(o *mqtt.Options) { o.OwnTopics = []string{"homeassistant/"} })
		for i, topic := range []string{"", "$SYS/x", "a/+", "a/#", "a\x00b", "\xff", "watchtower/members/5/g1", "watchtower/channels/5/broadcast/7", "homeassistant/x"} {
			g.broker.InjectTopic(&bridge.TopicMessage{Topic: topic, Payload: []byte("x"), Retain: true, Stamp: 1 << 60})
			assert.Equal(t, i+1, g.dropped(bridge.Malformed), topic)
		}
		g.broker.InjectTopic(&bridge.TopicMessage{Topic: "watchtower/channels/5/broadcast/7", Own: true})
		assert.Equal(t, 10, g.dropped(bridge.Malformed))
		g.broker.InjectTopic(&bridge.TopicMessage{Topic: "own/x", Payload: []byte("x"), Retain: true, Stamp: 1<<64 - 1})
		assert.Empty(t, g.retained(), "a day or more in the future")
		assert.Empty(t, g.heard())
		g.retains("own/x", "now")
		assert.Equal(t, map[string]string{"own/x": "now"}, g.retained())
		g.stop()
	})
}
