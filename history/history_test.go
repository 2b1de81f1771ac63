package history

import (
	"testing"
	"time"

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
