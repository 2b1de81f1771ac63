//go:build homeassistant

package realhouse

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
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
func complete(h *house.House) time.Duration {
	began := time.Now()
	h.Until("all entities have a state", func(states map[string]house.State) bool {
		n := 0
		for id, s := range states {
			if strings.HasPrefix(id, "sensor.d") && s.State == "41" {
				n++
			}
		}
		return n == 3*manyDevices
	})
	return time.Since(began)
}

// Three hundred devices come at once; and then Home Assistant restarts. With the same retained
// messages at a mosquitto it is not faster.
func TestManyDevices(t *testing.T) {
	p := start(t, watering+"\nlimits: {homeassistant_devices: 400}")
	h := house.Open(t)
	h.Join(p.broker())
	h.Has(gatewayEntities...)
	settled(h)
	devices := make([]*device, manyDevices)
	for i := range devices {
		devices[i] = p.client(fmt.Sprintf("d%d", i), nil)
	}
	began := time.Now()
	for _, d := range devices {
		d.say(`{"sensors":{"a":{},"b":{},"c":{}}}`)
		d.say(`{"a":41,"b":41,"c":41}`)
	}
	complete(h)
	t.Logf("%d devices with 3 entities each: %.1f s", manyDevices, time.Since(began).Seconds())

	restart := func() time.Duration {
		h.Stop()
		began := time.Now()
		h.Start()
		complete(h)
		return time.Since(began)
	}
	ours := restart()

	at := mosquitto(t)
	copied := clientAt(t, at, "copier", nil)
	retained := map[string]string{}
	reader := p.client("reader", []string{"homeassistant/#", "watchtower/homeassistant/#", "watchtower/gateways/#", "watchtower/members/#"},
		func(o *mqtt.ClientOptions) { o.SetOrderMatters(true) })
	p.eventually("all retained messages are read", func() bool {
		for _, m := range reader.heard() {
			if m.payload != "" {
				retained[m.topic] = m.payload
			}
		}
		return len(retained) >= 3*manyDevices
	})
	for topic, payload := range retained {
		copied.publish(topic, payload, true)
	}
	h.Forget()
	h.Join(house.Broker{At: at, Client: "homeassistant"})
	complete(h)
	theirs := restart()
	theirs = min(theirs, restart())
	h.Forget()
	h.Join(p.broker())
	complete(h)
	ours = min(ours, restart())
	ratio := ours.Seconds() / theirs.Seconds()
	t.Logf("Home Assistant's restart with them: %.1f s, with a mosquitto %.1f s, ratio %.2f", ours.Seconds(), theirs.Seconds(), ratio)
	assert.Less(t, ratio, 1.25, "1.05 on an idle machine")
}
