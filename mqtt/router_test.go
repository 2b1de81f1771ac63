package mqtt

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// After any change of subscriptions, a cached route equals a new one.
func TestRoutesAreNeverOld(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"w", "home/w"} {
		r := newRouter(bridge.NewTree(base, "gw"))
		levels := []string{"w", "home", "channels", "5", "6", "broadcast", "a", "+", "+", "#"}
		random := func(most int, from []string) string {
			all := make([]string, 1+rand.IntN(most))
			for i := range all {
				if all[i] = from[rand.IntN(len(from))]; all[i] == "#" {
					all = all[:i+1]
					break
				}
			}
			return strings.Join(all, "/")
		}
		var topics []string
		for range 40 {
			topics = append(topics, random(6, levels[:7]))
		}
		topics = append(topics, base+"/channels/5/broadcast/1", base+"/channels/5", base+"/channels", base)
		var subs []*subscription
		for range 3000 {
			if len(subs) > 0 && rand.IntN(2) == 0 {
				i := rand.IntN(len(subs))
				r.remove(subs[i])
				subs = append(subs[:i], subs[i+1:]...)
			} else if filter := random(6, levels); validFilter(filter) {
				topics, _ := cutShare(filter)
				sub := &subscription{filter: filter, topics: topics, watch: &watcher{func(*message, bool) {}}}
				r.add(sub, nil)
				subs = append(subs, sub)
			}
			topic := topics[rand.IntN(len(topics))]
			want := 0
			for _, sub := range subs {
				if covers(strings.Split(sub.filter, "/"), strings.Split(topic, "/")) {
					want++
				}
			}
			require.Len(t, r.route([]byte(topic)).watches, want, topic)
		}
	}
}

func TestAChangeElsewhereKeepsARoute(t *testing.T) {
	t.Parallel()
	r := newRouter(bridge.NewTree("home/w", "gw"))
	route := func(topic string) *route { return r.route([]byte(topic)) }
	five, lamp := route("home/w/channels/5/broadcast/1"), route("home/lamp")
	change := func(filter string) {
		topics, _ := cutShare(filter)
		sub := &subscription{filter: filter, topics: topics, watch: &watcher{func(*message, bool) {}}}
		r.add(sub, nil)
		r.remove(sub)
	}
	for i := range 100 {
		other := fmt.Sprintf("home/w/channels/%d", 100+i)
		if c := r.changesOf(other); c == five.changes || c == lamp.changes {
			continue // hashes may collide
		}
		change(other + "/#")
		change("$share/g/" + other + "/broadcast/+")
	}
	assert.Same(t, five, route("home/w/channels/5/broadcast/1"))
	assert.Same(t, lamp, route("home/lamp"))
	for _, filter := range []string{"home/w/channels/5/#", "$share/g/home/w/channels/5/+/+", "home/w/channels/+/broadcast/+", "#"} {
		change(filter)
		again := route("home/w/channels/5/broadcast/1")
		assert.NotSame(t, five, again, filter)
		five = again
	}
}

func TestASharedSubscriptionTakesTurnsForEver(t *testing.T) {
	t.Parallel()
	g := &group{targets: make([]target, 3)}
	for _, turn := range []uint32{0, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		g.turn.Store(turn)
		for range 3 {
			n := g.next()
			if n < 0 || n > 2 { // n was negative on 32-bit machines
				t.Fatalf("turn %d: target %d", turn, n)
			}
		}
	}
}
