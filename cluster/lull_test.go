package cluster_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

const (
	shared bridge.Channel = 5 // a channel on which both devices of a talk are
	lonely bridge.Channel = 6 // and one on which only the first is
)

// talk is two gateways, and a device at each.
type talk struct {
	*wire
	t        *testing.T
	a, b     *gateway
	from, to *bridge.Device
}

func newTalk(t *testing.T) *talk {
	w := newWire()
	k := &talk{wire: w, t: t, a: w.start(t, 1), b: w.start(t, 2)}
	k.from, k.to = k.a.device("from", shared, lonely), k.b.device("to", shared)
	time.Sleep(3 * time.Second) // they know each other
	synctest.Wait()
	k.frames.Store(0)
	return k
}

func (k *talk) end() {
	k.a.stop()
	k.b.stop()
}

// says says n messages at a rate, from now on.
func (k *talk) says(c bridge.Channel, n, rate int) {
	for i := range n {
		require.NoError(k.t, k.a.say(k.from, c, fmt.Sprint(i)))
		time.Sleep(time.Second / time.Duration(rate))
	}
}

// arrived is how many messages the second gateway has taken.
func (k *talk) arrived() int {
	synctest.Wait()
	return int(k.b.node.Others()[0].Messages)
}

// What somebody at another gateway waits for goes at once, at any rate.
func TestWhatSomebodyWaitsForGoesAtOnce(t *testing.T) {
	for _, rate := range []int{100, 2000, 20_000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newTalk(t)
				defer k.end()
				for i := range 200 {
					require.NoError(t, k.a.say(k.from, shared, fmt.Sprint(i)))
					require.Equal(t, i+1, k.arrived())
					time.Sleep(time.Second / time.Duration(rate))
				}
				want := make([]string, 200)
				for i := range want {
					want[i] = fmt.Sprint("from ", i)
				}
				assert.Equal(t, want, k.b.hears("to"))
			})
		})
	}
}

// What nobody there waits for goes with more of its kind, if there is much of it.
func TestWhatNobodyWaitsForGoesTogether(t *testing.T) {
	for rate, most := range map[int]int{100: 110, 2000: 60, 20_000: 400} { // 64 at most are in a frame
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newTalk(t)
				defer k.end()
				k.says(lonely, rate, rate) // a second
				time.Sleep(40 * time.Millisecond)
				assert.Equal(t, rate, k.arrived())
				assert.LessOrEqual(t, int(k.frames.Load()), most)
				if rate == 100 {
					assert.GreaterOrEqual(t, int(k.frames.Load()), rate)
				}
			})
		})
	}
}

// Whatever is sent takes with it what was said before, in its order.
func TestWhatIsWaitedForTakesTheRestWithIt(t *testing.T) {
	for what, wanted := range map[string]func(*talk){
		"a message": func(k *talk) { k.says(shared, 1, 1_000_000) },
		"a report": func(k *talk) {
			_, err := k.a.hub.Publish(k.from.Sender(), bridge.Publication{
				Channels: []bridge.Channel{lonely}, Content: bridge.Content{Data: []byte("how?")}, Via: viaTest, Report: func(bridge.Report) {},
			})
			require.NoError(k.t, err)
		},
		"who comes": func(k *talk) { k.a.device("more", shared) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newTalk(t)
				defer k.end()
				k.says(lonely, 10, 10_000)
				assert.Less(t, k.arrived(), 10)
				wanted(k)
				assert.GreaterOrEqual(t, k.arrived(), 10)
			})
		})
	}
}

// A channel that a device elsewhere has left, or a gateway that is gone, is waited for no more.
func TestWhoHasLeftWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalk(t)
		defer k.end()
		k.says(shared, 10, 10_000)
		assert.Equal(t, 10, k.arrived())
		k.to.Leave(shared)
		synctest.Wait()
		k.says(shared, 10, 10_000)
		assert.Less(t, k.arrived(), 20)
		require.NoError(t, k.to.Join(shared))
		time.Sleep(time.Second)
		k.says(shared, 10, 10_000)
		assert.Equal(t, 30, k.arrived())
	})
}
