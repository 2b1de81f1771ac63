package history

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"

	"watchtower/bridge"
	"watchtower/config"
)

// The cost of a message does not depend on how many channels there were, whether a
// message of them is kept or not.
func TestHistoryCostsTheSameForManyChannels(t *testing.T) {
	now := time.Unix(1e9, 0)
	cost := func(channels int, age time.Duration) time.Duration {
		o := Options{History: config.Default().History}
		o.Bytes, o.Clock = 64<<20, func() time.Time { return now }
		h := New(nil, o, nil)
		say := func(c int) {
			h.addLocked(&bridge.Message{Channel: bridge.Channel(c), Time: now, Data: []byte("x")})
		}
		for c := range channels {
			say(c + 1)
		}
		now = now.Add(age)
		say(1)
		best := time.Hour
		for range 5 {
			begun := time.Now()
			for range 1000 {
				say(1)
			}
			best = min(best, time.Since(begun))
		}
		if channels > channelsRemembered && age > time.Hour {
			assert.Len(t, h.channels, channelsRemembered, "what was lost is not known of more")
			assert.NotZero(t, h.lost.Position)
		}
		return best
	}
	one := cost(1, 0)
	assert.Less(t, cost(40_000, 0), 20*one, "all of them have something kept")
	assert.Less(t, cost(40_000, 2*time.Hour), 20*one, "none has")
}

// Another gateway may have had the messages of two senders in another order.
func TestAReplayMayBeginEarlier(t *testing.T) {
	now := time.Unix(1e9, 0)
	ids := ulid.DefaultEntropy()
	replay := func(overlap time.Duration) (texts []string) {
		o := Options{History: config.Default().History, Overlap: overlap}
		o.Clock = func() time.Time { return now }
		h := New(nil, o, nil)
		var last ulid.ULID
		for i, text := range []string{"long ago", "theirs", "the last", "new"} {
			at := now.Add(time.Duration(i)*time.Second - 10*time.Second)
			if text == "long ago" {
				at = at.Add(-time.Minute)
			}
			m := &bridge.Message{ID: ulid.MustNew(ulid.Timestamp(at), ids), Time: at, Channel: 5, Data: []byte(text)}
			h.addLocked(m)
			if text == "the last" {
				last = m.ID
			}
		}
		missed := Moment{h}.Missed(Since{id: last}, []bridge.Channel{5}, nil, false)
		assert.Empty(t, missed.Gaps)
		for _, m := range missed.Messages {
			texts = append(texts, string(m.Data))
		}
		return texts
	}
	assert.Equal(t, []string{"new"}, replay(0))
	assert.Equal(t, []string{"theirs", "new"}, replay(2*time.Second))
}
