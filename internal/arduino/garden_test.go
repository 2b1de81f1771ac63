package arduino_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gitlab.com/gomidi/midi/v2"
	"gitlab.com/gomidi/midi/v2/smf"

	"watchtower/config"
	"watchtower/internal/harness"
)

// The example Garden opens with the notes of a score. When its conductor is killed in the middle of
// one, it closes by itself.
func TestGarden(t *testing.T) {
	t.Parallel()
	program := harness.Program(t, "examples/garden")
	web := harness.FreeAddress(t)
	udp, _, key := withKey(t, "rose", func(c *config.Config) { c.HTTP.Listen = web })
	r := newRadio(t, udp, 0)
	r.speed = 1 // the conductor's seconds are real
	rose := uno(t, "Garden", key, r)
	rose.waits("it is connected", func() bool { return rose.count("rose: connected") == 1 })

	conductor := exec.Command(program, "conduct", "-url", "http://"+web, "-key", secret, "-wait", "30s", "-hold", "1s", roseScore(t))
	require.NoError(t, conductor.Start())
	t.Cleanup(func() {
		_ = conductor.Process.Kill() // it may have ended
		_ = conductor.Wait()
	})
	rose.waits("it has opened three times", func() bool { return rose.count("rose: open") == 3 && rose.level() })
	assert.Equal(t, 0, rose.count("rose: closed by itself"))
	require.NoError(t, conductor.Process.Kill())
	at := time.Now()
	rose.waits("it closes by itself", func() bool { return !rose.level() })
	assert.Less(t, time.Since(at), 10*time.Second, "a second by its clock, which a busy machine slows down")
	rose.waits("it says so", func() bool { return rose.count("rose: closed by itself") == 1 })
}

// roseScore has two short notes and one that does not end, for the rose.
func roseScore(t testing.TB) string {
	t.Helper()
	s := smf.New()
	s.TimeFormat = smf.MetricTicks(500) // a tick is a millisecond
	var track smf.Track
	track.Add(0, smf.MetaTrackSequenceName("rose"))
	for _, ms := range []uint32{500, 500, 60_000} {
		track.Add(250, midi.NoteOn(0, 71, 100))
		track.Add(ms, midi.NoteOff(0, 71))
	}
	track.Close(0)
	require.NoError(t, s.Add(track))
	file := filepath.Join(t.TempDir(), "rose.mid")
	require.NoError(t, s.WriteFile(file))
	return file
}
