package cluster_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// talk is two gateways and a device at each, both on channel 5.
type talk struct {
	*wire
	t        *testing.T
	a, b     *gateway
	from, to *bridge.Device
}

func newTalk(t *testing.T) *talk {
	w := newWire()
	k := &talk{wire: w, t: t, a: w.start(t, 1), b: w.start(t, 2)}
	k.from, k.to = k.a.device("from", 5), k.b.device("to", 5)
	time.Sleep(3 * time.Second) // they know each other
	synctest.Wait()
	k.frames.Store(0)
	return k
}

func (k *talk) says(i int) {
	require.NoError(k.t, k.a.say(k.from, 5, fmt.Sprint(i)))
}

// heard requires that all was heard, in its order, and returns in how many frames it came.
func (k *talk) heard(n int) (frames int) {
	k.t.Helper()
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
	frames = int(k.frames.Load())
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprint("from ", i)
	}
	assert.Equal(k.t, want, k.b.hears("to"))
	return frames
}

func (k *talk) end() {
	k.a.stop()
	k.b.stop()
}

// While little is said each message goes at once, and while much is said many go together.
func TestFramesGatherWhereMuchIsSaid(t *testing.T) {
	for rate, most := range map[int]int{100: 120, 1000: 1020, 10_000: 1500, 30_000: 1500, 60_000: 60_020} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newTalk(t)
				defer k.end()
				var latest time.Duration
				for i := range rate { // a second
					begun := time.Now()
					k.says(i)
					if rate <= 1000 {
						synctest.Wait()
						latest = max(latest, time.Since(begun))
					}
					time.Sleep(time.Second / time.Duration(rate))
				}
				frames := k.heard(rate)
				assert.LessOrEqual(t, frames, most)
				assert.Zero(t, latest)
				if most > rate {
					assert.GreaterOrEqual(t, frames, rate)
				}
			})
		})
	}
}

// Publishers who wait for what they said are hardly slowed down.
func TestFramesDoNotWaitForThoseWhoWaitForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalk(t)
		defer k.end()
		k.takes.Store(int64(100 * time.Microsecond))
		n := 0
		for begun := time.Now(); time.Since(begun) < 4*time.Second; {
			for range 4 { // under way at a time
				k.says(n)
				n++
			}
			for k.said() < n {
				time.Sleep(20 * time.Microsecond)
			}
		}
		assert.Greater(t, n, 4*4*5000, "of 10,000 exchanges a second if each were one frame; if all frames waited there were 1,250")
		k.heard(n)
	})
}

// said is how much was heard so far.
func (k *talk) said() int {
	k.b.mu.Lock()
	defer k.b.mu.Unlock()
	return len(k.b.heard)
}

// What somebody waits for does not wait: a report, and who comes.
func TestWhatIsWaitedForGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalk(t)
		defer k.end()
		n := 0
		much := func() {
			for range 1000 {
				k.says(n)
				n++
				time.Sleep(100 * time.Microsecond)
			}
		}
		much()
		begun := time.Now()
		var told atomic.Bool
		_, err := k.a.hub.Publish(k.from.Sender(), bridge.Publication{
			Channels: []bridge.Channel{5}, Content: bridge.Content{Data: fmt.Append(nil, n)}, Via: viaTest,
			Report: func(bridge.Report) { told.Store(true) },
		})
		require.NoError(t, err)
		for ; !told.Load(); time.Sleep(time.Microsecond) {
			synctest.Wait()
		}
		assert.Less(t, time.Since(begun), 50*time.Microsecond)
		n++
		much()
		more := k.a.device("more", 5)
		synctest.Wait()
		assert.Contains(t, k.b.members(k.to, 5), more.Sender().Name())
		k.heard(n)
	})
}
