package gateway_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// The garden's valve is one of Home Assistant, with its soil: that opens it, and sees the conductor
// open it. Once it is gone, it is unavailable.
func TestHomeAssistantSeesTheGarden(t *testing.T) {
	t.Parallel()
	program := harness.Program(t, "examples/garden")
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	valve := exec.Command(program, "valve", "-gateway", r.at.UDP, "-key", key, "rose")
	require.NoError(t, valve.Start())
	t.Cleanup(func() {
		_ = valve.Process.Kill()
		_ = valve.Wait() // it was killed
	})
	h.shows("valve.rose_tap", "closed")
	h.shows("sensor.rose_soil", "40")

	h.do(map[string]string{"do": "call", "entity": "valve.rose_tap", "service": "open_valve", "data": "{}"})
	h.shows("valve.rose_tap", "open")
	h.do(map[string]string{"do": "call", "entity": "valve.rose_tap", "service": "close_valve", "data": "{}"})
	h.shows("valve.rose_tap", "closed")

	conductor := exec.Command(program, "conduct", "-url", "http://"+r.at.HTTP, "-key", key, "-wait", "20s", "-speed", "0.1", "-valves", "rose,rose,rose", "../examples/garden/valkyries.mid")
	require.NoError(t, conductor.Start())
	h.shows("valve.rose_tap", "open")
	require.NoError(t, conductor.Process.Kill())
	_ = conductor.Wait() // it was killed
	h.shows("valve.rose_tap", "closed")
	require.NoError(t, valve.Process.Signal(os.Interrupt))
	require.NoError(t, valve.Wait())
	h.shows("valve.rose_tap", "unavailable")
	assert.Empty(t, h.now().Errors)
}
