package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// Valves over every protocol open by name, in the order of the score, and their soil gets wet.
func TestEveryProtocol(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	valves := g.valves()
	out, err := g.conducts(written(t, rounds...))
	assert.Contains(t, out, "notes opened their valve")
	if err != nil { // a busy machine may open a valve after its note
		require.ErrorContains(t, err, "missed")
	}
	last := time.Time{}
	for _, p := range rounds {
		v := valves[p.name]
		v.prints(1, p.name+": open")
		first := v.times(p.name + ": open")[0]
		assert.True(t, first.After(last), "%s is one later", p.name)
		last = first
		v.prints(2, p.name+": closed")
	}
	assert.Regexp(t, `soil: rose 40 → 4\d %, fern 40 → 4\d %, lily 40 → 4\d %, moss 40 → 4\d %`, out)
	assert.NotContains(t, out, "by itself")
}

// The example is what compose writes, and its dry run opens nothing.
func TestTheExample(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "again.mid")
	require.NoError(t, runCompose([]string{file}))
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	committed, err := os.ReadFile("valkyries.mid")
	require.NoError(t, err)
	assert.Equal(t, committed, again, "go generate ./examples/garden")

	g := newGarden(t)
	valves := map[string]*running{}
	for _, name := range []string{"rose", "fern", "lily"} {
		valves[name] = g.valve(name, "")
	}
	out, err := g.conducts("-dry-run", "valkyries.mid")
	require.NoError(t, err)
	assert.Equal(t, 10, strings.Count(out, " for 0."), out)
	assert.Contains(t, out, "0.500 s  lily         for 0.476 s")
	assert.Contains(t, out, "· rose 40 %   · fern 40 %   · lily 40 %")
	for name, v := range valves {
		assert.Empty(t, v.times(name+": open"))
	}
	out, err = g.conducts("-speed", "2", "valkyries.mid")
	assert.Contains(t, out, " of 10 notes opened their valve", "%v", err)
}

// A score that names a valve that is not there opens none, and the error names it.
func TestAWrongName(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	rose := g.valve("rose", "")
	g.valve("moss", "")
	_, err := g.conducts("-wait", "1s", written(t, part{"rose", [][2]uint32{{0, 100}}}, part{"rosse", [][2]uint32{{0, 100}}}))
	require.ErrorContains(t, err, "has notes for rosse, and no valve of that name answers on channel 5 (there are moss, rose)")
	_, err = g.conducts("-wait", "1s", "-channel", "6", written(t, part{"rose", [][2]uint32{{0, 100}}}))
	require.ErrorContains(t, err, "no valve of that name answers on channel 6 (no valve answers)")
	_, err = g.conducts("-key", "wrong", "valkyries.mid")
	require.ErrorContains(t, err, "secret_key")
	assert.Empty(t, rose.times("rose: open"))
}

// Of two conductors the one that began later ends, whatever its name; the other goes on.
func TestTwoConductors(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	rose := g.valve("rose", "")
	long := written(t, part{"rose", [][2]uint32{{0, 30_000}}})
	first := g.runs(g.conducting(long)...)
	rose.prints(1, "rose: open")
	_, err := g.conducts(long)
	require.ErrorContains(t, err, "another conductor, conductor, is at work on channel 5")
	_, err = g.conducts("-name", "other", long)
	require.ErrorContains(t, err, "another conductor, conductor, is at work on channel 5")
	assert.Empty(t, rose.times("rose: closed by itself, nothing heard for 3s"))
	assert.Empty(t, first.done)
	first.stop()
	rose.prints(2, "rose: closed") // it was so at the start
	assert.Contains(t, first.String(), "1 of 1 notes opened their valve")
}

// A valve that restarts in the middle of a note is opened again, also one that is another sender then.
func TestAValveRestarts(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	file := written(t, part{"rose", [][2]uint32{{0, 30_000}}}, part{"moss", [][2]uint32{{0, 30_000}}})
	valves := map[string]*running{"rose": g.valve("rose", ""), "moss": g.valve("moss", "")}
	conductor := g.runs(g.conducting(file)...)
	for name, v := range valves {
		v.prints(1, name+": open")
		v.stop()
		g.valve(name, "").prints(1, name+": open")
	}
	conductor.stop()
}

// Over a network that loses a fifth of all datagrams each way, valves open in their notes and are
// closed in the end.
func TestABadRadio(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	valves := map[string]*running{}
	for _, name := range []string{"rose", "moss"} {
		valves[name] = g.valve(name, harness.NewRadio(t, g.Wire, 0.2).Addr())
	}
	out, err := g.conducts(written(t, part{"rose", [][2]uint32{{0, 2500}, {3000, 5500}}}, part{"moss", [][2]uint32{{200, 2700}, {3200, 5700}}}))
	if err != nil {
		require.ErrorContains(t, err, "missed")
	}
	for name, v := range valves {
		assert.NotEmpty(t, v.times(name+": open"), out)
		v.prints(2, name+": closed") // as it was in the beginning
	}
}

// The gateway's binary has nothing of the library that reads scores.
func TestTheGatewayReadsNoMusic(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "watchtower/cmd/watchtower").Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), "github.com/mochi-mqtt")
	assert.NotContains(t, string(out), "gomidi")
}
