package history

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"

	"watchtower/bridge"
	"watchtower/config"
)

func texts(messages []*bridge.Message) (all []string) {
	for _, m := range messages {
		all = append(all, string(m.Data))
	}
	return all
}

// A place that one gateway gives is found by another that has heard the same in another order.
func TestAPlaceIsUnderstoodByAnotherGateway(t *testing.T) {
	now := time.Unix(1e9, 0)
	at := func(slot bridge.Slot) *History {
		o := Options{History: config.Default().History, Slot: slot, Clock: func() time.Time { return now }}
		return New(nil, o, nil)
	}
	one, two := at(1), at(2)
	now = now.Add(time.Minute)
	message := func(slot bridge.Slot, text string) *bridge.Message {
		return &bridge.Message{ID: ulid.Make(), Time: now, Channel: 5, Gateway: slot, Data: []byte(text)}
	}
	add := func(h *History, own bridge.Slot, messages ...*bridge.Message) {
		for _, m := range messages {
			here := *m
			if here.Gateway == own {
				here.Gateway = 0
			}
			h.addLocked(&here)
		}
	}
	a1, a2, b1, b2, c1 := message(1, "a1"), message(1, "a2"), message(2, "b1"), message(2, "b2"), message(3, "c1")
	add(one, 1, a1, b1, c1, a2, b2)
	add(two, 2, b1, b2, a1, a2, c1)
	missed := Moment{one}.Missed(Since{id: c1.ID}, []bridge.Channel{5}, nil, false).Messages
	assert.Equal(t, []string{"a2", "b2"}, texts(missed))
	after, gap := Moment{two}.After(Moment{one}.Place(5, missed), 5, nil, false)
	assert.Equal(t, []string{"b2", "a2"}, texts(after))
	assert.False(t, gap)
	after, gap = Moment{two}.After(Moment{one}.Place(5, nil), 5, nil, false)
	assert.Empty(t, after)
	assert.False(t, gap)
	d1 := message(4, "d1")
	add(two, 2, d1)
	after, _ = Moment{two}.After(Moment{one}.Place(5, nil), 5, nil, false)
	assert.Equal(t, []string{"d1"}, texts(after), "of a gateway of which nothing was known")

	after, gap = Moment{two}.After(Place{From: now.Add(-2 * time.Minute)}, 5, nil, false)
	assert.Len(t, after, 6)
	assert.True(t, gap, "it was not there yet")
	late := at(5)
	_, gap = Moment{late}.After(Moment{one}.Place(5, nil), 5, nil, false)
	assert.False(t, gap)
	now = now.Add(time.Second)
	late = at(5)
	_, gap = Moment{late}.After(Place{From: now.Add(-time.Second)}, 5, nil, false)
	assert.True(t, gap)
}
