package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// hymn is a long note for all.
var hymn = []part{{"rose", [][2]uint32{{0, 60_000}}}, {"fern", [][2]uint32{{0, 60_000}}}, {"lily", [][2]uint32{{0, 60_000}}}, {"moss", [][2]uint32{{0, 60_000}}}}

// byThemselves waits until all valves have closed without being told, and returns how long the
// last one took. A command without seconds would have kept it open for ten minutes.
func byThemselves(t *testing.T, valves map[string]*running, since time.Time) (longest time.Duration) {
	t.Helper()
	for name, v := range valves {
		line := name + ": closed by itself, nothing heard for 1s"
		v.prints(1, line)
		longest = max(longest, v.times(line)[0].Sub(since))
	}
	return longest
}

func opened(valves map[string]*running) {
	for name, v := range valves {
		v.prints(1, name+": open")
	}
}

// most is what a valve takes on a machine that has other things to do; else a second.
const most = 15 * time.Second

// The conductor is killed in the middle of a note.
func TestTheConductorIsKilled(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	valves := g.valves()
	conductor := g.conductor("-hold", "1s", written(t, hymn...))
	opened(valves)
	at := time.Now()
	require.NoError(t, conductor.Process.Kill())
	assert.Less(t, byThemselves(t, valves, at), most)
}

// The network between a valve and the gateway is cut: that of UDP brings nothing more, and the
// connections of the others stand still. The conductor goes on, and opens them once it is mended.
func TestTheNetworkIsCut(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	radio := harness.NewRadio(t, g.Wire, 0)
	cables := []*harness.Cable{harness.NewCable(t, g.Wire), harness.NewCable(t, g.MQTT)}
	valves := map[string]*running{
		"rose": g.valve("rose", radio.Addr()), "moss": g.valve("moss", radio.Addr()),
		"fern": g.valve("fern", cables[0].Addr()), "lily": g.valve("lily", cables[1].Addr()),
	}
	conductor := g.runs(g.conducting("-hold", "1s", written(t, hymn...))...)
	opened(valves)
	at := time.Now()
	radio.Lose(1)
	for _, c := range cables {
		c.Freeze()
	}
	assert.Less(t, byThemselves(t, valves, at), most)
	for _, name := range []string{"rose", "moss"} { // nobody else says that a datagram was lost
		conductor.prints(1, name+": does not answer")
	}
	radio.Lose(0)
	for _, c := range cables {
		c.Mend()
	}
	for name, v := range valves {
		v.prints(2, name+": open")
	}
	conductor.stop()
}

// The gateway is killed. The conductor says so and ends; the valves come back to the next gateway.
func TestTheGatewayIsKilled(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	valves := g.valves()
	conducted := make(chan error, 1)
	go func() {
		_, err := g.conducts("-hold", "1s", written(t, hymn...))
		conducted <- err
	}()
	opened(valves)
	at := time.Now()
	g.kill()
	assert.Less(t, byThemselves(t, valves, at), most)
	require.EqualError(t, <-conducted, "the gateway is gone: the valves close by themselves within 1s")
	g.start()
	for name, v := range valves {
		v.prints(2, name+": connected")
	}
}

// A valve that ends is closed, and says so. The conductor says which are lost, and does not wait
// for them for ever.
func TestValvesEnd(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	valves := g.valves()
	conductor := g.runs(g.conducting("-hold", "1s", written(t, hymn...))...)
	opened(valves)
	for name := range valves { // a valve that ends at once says only that it is closed
		harness.Eventually(t, func() bool { return strings.Contains(conductor.String(), "● "+name) }, name)
	}
	for name, v := range valves {
		v.stop()
		lines := v.times(name + ": closed")
		assert.True(t, lines[len(lines)-1].After(v.times(name + ": open")[0]))
	}
	harness.Eventually(t, func() bool { return strings.Contains(conductor.String(), "has not joined channel 5") })
	conductor.stop()
	assert.Contains(t, conductor.String(), "4 of 4 notes opened their valve")
}
