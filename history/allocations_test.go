//go:build !race

package history

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"watchtower/bridge"
	"watchtower/config"
)

// Once the channels have as many messages as are kept, another one costs no allocation.
func TestKeepingAllocatesNothing(t *testing.T) {
	begun := time.Unix(1e9, 0)
	cases := map[string]struct {
		set  func(*Options)
		step time.Duration // between two messages
	}{
		"by their number": {func(*Options) {}, 0},
		"one is kept":     {func(o *Options) { o.Messages = 1 }, 0},
		"by their bytes":  {func(o *Options) { o.Bytes = 24 * (recordBytes + 1) }, 0},
		"by their age":    {func(o *Options) { o.Age = time.Minute }, time.Second},
	}
	for name, c := range cases {
		now := begun
		o := Options{History: config.Default().History, Clock: func() time.Time { return now }}
		c.set(&o)
		h := New(nil, o, nil)
		m := [3]bridge.Message{}
		for i := range m {
			m[i] = bridge.Message{Channel: bridge.Channel(i + 1), Data: []byte("x")}
		}
		say := func() {
			for i := range m {
				now = now.Add(c.step)
				m[i].Time = now
				h.addLocked(&m[i])
			}
		}
		for range 1000 {
			say()
		}
		assert.Zero(t, testing.AllocsPerRun(3000, say), name)
	}
}
