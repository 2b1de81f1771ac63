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
		levels := []string{"w", "home", "channels", "5", "6", "broadcast", "send", "+", "+", "#"}
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
		topics = append(topics, base+"/channels/5", base+"/channels", base)
		said := []bridge.Address{
			{Channel: 5, Sender: 5}, {Channel: 5, Sender: 6}, {Channel: 6, Sender: 5},
			{Channel: 5, Type: bridge.Send, Receiver: 6, Sender: 5}, {Channel: 5, Type: bridge.Send, Receiver: 6, Sender: 6},
		}
		filters := []string{
			"5/broadcast/5", "5/broadcast/+", "+/broadcast/6", "5/+/5", "5/+/6/6", "+/send/6/5", "5/send/+/6", "5/send/6/+", "5/#", "6/send/#", "+/+/#",
		}
		var subs []*subscription
		for range 3000 {
			if len(subs) > 0 && rand.IntN(2) == 0 {
				i := rand.IntN(len(subs))
				r.remove(subs[i])
				subs = append(subs[:i], subs[i+1:]...)
			} else if filter := random(6, levels); validFilter(filter) {
				if rand.IntN(4) == 0 {
					filter = base + "/channels/" + filters[rand.IntN(len(filters))]
				}
				topics, _ := cutShare(filter)
				sub := &subscription{filter: filter, topics: topics, watch: &watcher{func(*message, bool) {}}}
				r.add(sub, nil)
				subs = append(subs, sub)
			}
			matching := func(topic string) (n int) {
				for _, sub := range subs {
					if covers(strings.Split(sub.filter, "/"), strings.Split(topic, "/")) {
						n++
					}
				}
				return n
			}
			topic := topics[rand.IntN(len(topics))]
			require.Len(t, r.route([]byte(topic)).watches, matching(topic), topic)
			a := &said[rand.IntN(len(said))]
			topic = string(r.tree.AppendTopic(nil, &bridge.Message{Type: a.Type, Channel: a.Channel, Receiver: a.Receiver, Sender: a.Sender}))
			require.Len(t, r.to(a, a.Sender).watches, matching(topic), topic)
			require.Len(t, r.route([]byte(topic)).watches, matching(topic), topic)
		}
	}
}

// What is said on a channel has one route whoever says it, unless a filter or an access list names a sender.
func TestSendersOfAChannelShareARoute(t *testing.T) {
	t.Parallel()
	r := newRouter(bridge.NewTree("w", "gw"))
	of := func(c bridge.Channel, s bridge.SenderID) *route { return r.to(&bridge.Address{Channel: c}, s) }
	sub := func(filter string) *subscription {
		return &subscription{filter: filter, topics: filter, watch: &watcher{func(*message, bool) {}}}
	}
	r.add(sub("w/channels/+/broadcast/+"), nil)
	r.add(sub("w/channels/#"), nil)
	assert.Same(t, of(5, 1), of(5, 2))
	assert.NotSame(t, of(5, 1), of(6, 1))
	assert.Same(t, of(5, 1).receivers, of(6, 1).receivers)
	named := sub("w/channels/5/broadcast/2")
	r.add(named, nil)
	assert.Len(t, of(5, 1).watches, 2)
	assert.Len(t, of(5, 2).watches, 3)
	assert.Same(t, of(6, 1), of(6, 2))
	r.remove(named)
	assert.Len(t, of(5, 2).watches, 2)
	assert.Same(t, of(5, 1), of(5, 2))
	assert.Empty(t, r.named)

	guest := &session{}
	guest.access.Store(newAccess([]Rule{{Read: true, Pattern: "w/channels/6/broadcast/2"}}, "guest", "phone"))
	r.add(&subscription{filter: "w/channels/6/#", topics: "w/channels/6/#", session: guest}, nil)
	assert.Empty(t, of(6, 1).targets, "it may read what 2 says")
	assert.Len(t, of(6, 2).targets, 1)
	assert.Same(t, of(5, 1), of(5, 2))
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
