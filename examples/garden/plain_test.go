//go:build !race

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the page of the example says: a valve opens within a tenth of a second of its note, and closes
// by itself within a second more than the conductor's hold. Another program may disturb one try.
func TestInTime(t *testing.T) {
	g := newGarden(t)
	valves := g.valves()
	var latest time.Duration
	for range 3 {
		before := map[string]int{}
		for name, v := range valves {
			before[name] = len(v.times(name + ": open"))
		}
		_, err := g.conducts(written(t, rounds...))
		if err != nil {
			require.ErrorContains(t, err, "missed")
			continue
		}
		latest = 0
		begun := valves["rose"].times("rose: open")[before["rose"]]
		for _, p := range rounds {
			for i, at := range valves[p.name].times(p.name + ": open")[before[p.name]:] {
				planned := begun.Add(time.Duration(p.notes[i][0]) * time.Millisecond)
				latest = max(latest, at.Sub(planned).Abs())
			}
		}
		if latest > 0 && latest < 100*time.Millisecond {
			break
		}
	}
	t.Logf("at most %v from its time", latest)
	assert.NotZero(t, latest)
	assert.Less(t, latest, 100*time.Millisecond)

	opens := map[string]int{}
	for name, v := range valves {
		opens[name] = len(v.times(name + ": open"))
	}
	conductor := g.conductor("-hold", "1s", written(t, hymn...))
	for name, v := range valves {
		v.prints(opens[name]+1, name+": open")
	}
	at := time.Now()
	require.NoError(t, conductor.Process.Kill())
	took := byThemselves(t, valves, at)
	t.Logf("closed %v after the conductor was killed", took)
	assert.Less(t, took, 2*time.Second)
}
