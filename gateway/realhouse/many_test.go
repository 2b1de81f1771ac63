//go:build homeassistant

package realhouse

import (
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
	"watchtower/internal/harness/house"
)

// mosquitto starts Debian's mosquitto with these lines in its configuration, until the test
// ends.
func mosquitto(t testing.TB, lines ...string) (at string) {
	t.Helper()
	at = harness.FreeAddress(t)
	_, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n" + strings.Join(lines, "\n") + "\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	cmd := exec.Command("/usr/sbin/mosquitto", "-c", file)
	log := &output{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("mosquitto said:\n%s", log)
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", at)
		return err == nil && conn.Close() == nil
	}, house.Patience, 10*time.Millisecond)
	return at
}

const manyDevices = 300

// complete waits until each of many devices shows its three sensors.
func complete(t *testing.T, h *house.House) time.Duration {
	t.Helper()
	began := time.Now()
	var odd []string
	defer func() {
		if t.Failed() {
			t.Logf("%d are not as they should be: %v", len(odd), odd[:min(len(odd), 10)])
		}
	}()
	h.Until("all entities have a state", func(states map[string]house.State) bool {
		n := 0
		odd = nil
		for id, s := range states {
			switch {
			case !strings.HasPrefix(id, "sensor.d"):
			case s.State == "41":
				n++
			default:
				odd = append(odd, id+" "+s.State)
			}
		}
		return n == 3*manyDevices
	})
	return time.Since(began)
}

// restarted returns how long Home Assistant, which is stopped, takes to start and to show all.
func restarted(t *testing.T, h *house.House) time.Duration {
	t.Helper()
	began := time.Now()
	h.Start()
	complete(t, h)
	took := time.Since(began).Round(100 * time.Millisecond)
	h.Stop()
	return took
}

// copied starts a mosquitto that has what the gateway has retained.
func copied(t *testing.T, p *program) (at string) {
	at = mosquitto(t)
	to := clientAt(t, at, "copier", nil)
	retained := map[string]string{}
	reader := p.client("reader", []string{"homeassistant/#", "watchtower/homeassistant/#", "watchtower/gateways/#"})
	p.eventually("all retained messages are read", func() bool { // those of the last filter come last
		for _, m := range reader.heard() {
			if m.payload != "" {
				retained[m.topic] = m.payload
			}
		}
		return retained["watchtower/gateways/home/status"] != "" && retained["watchtower/gateways/home/info"] != ""
	})
	require.Greater(t, len(retained), 3*manyDevices)
	for topic, payload := range retained {
		to.publish(topic, payload, true)
	}
	return at
}

// Three hundred devices come at once; and then Home Assistant restarts. With the same retained
// messages at a mosquitto it is not faster. They restart in turns, and the fastest of each count:
// whatever else the machine does makes some slower, so that a busy one needs more turns.
func TestManyDevices(t *testing.T) {
	p := start(t, watering+"\nlimits: {homeassistant_devices: 400}")
	h, other := house.Open(t), house.New(t)
	other.Stop()
	h.Join(p.broker())
	h.Has(gatewayEntities...)
	settled(h)
	devices := make([]*device, manyDevices)
	for i := range devices {
		devices[i] = p.client(fmt.Sprintf("d%d", i), nil)
	}
	began := time.Now()
	for _, d := range devices {
		d.say(`{"available_for":86400,"sensors":{"a":{},"b":{},"c":{}}}`)
		d.say(`{"a":41,"b":41,"c":41}`)
	}
	complete(t, h)
	t.Logf("%d devices with 3 entities each: %.1f s", manyDevices, time.Since(began).Seconds())
	for _, d := range devices { // they sleep: else a busy machine makes one seem away, which is not what this is about
		d.leave()
	}
	h.Stop()
	other.Start()
	other.Join(house.Broker{At: copied(t, p), Client: "homeassistant"})
	complete(t, other)
	other.Stop()

	var ours, theirs []time.Duration
	ratio := math.Inf(1)
	for len(ours) < 8 && ratio > 1.05 {
		ours, theirs = append(ours, restarted(t, h)), append(theirs, restarted(t, other))
		ratio = slices.Min(ours).Seconds() / slices.Min(theirs).Seconds()
	}
	t.Logf("Home Assistant's restarts with them: %v, with a mosquitto %v, ratio of the fastest %.2f", ours, theirs, ratio)
	assert.Less(t, ratio, 1.15, "1.05 on an idle machine")
}
