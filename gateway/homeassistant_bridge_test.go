package gateway_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// A mosquitto with the guide's lines says what the guide tells: with a wrong key that it is
// refused, and with the right one a line for the gateway.
func TestTheMosquittoOfTheGuide(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) {
		c.Gateway.Name = "home"
		c.Channels = map[uint32]config.Channel{5: {Name: "Watering", HomeAssistant: true}}
	})
	guide := text(t, "docs/home-assistant.md")
	lines := block(t, block(t, guide, "<!-- bridge -->\n", "\n```\n")+"\n```\n", "```text\n", "```\n")
	bridged := func(key string) (at string, log *syncBuffer) {
		at, log = harness.FreeAddress(t), &syncBuffer{}
		_, port, err := net.SplitHostPort(at)
		require.NoError(t, err)
		conf := strings.NewReplacer("192.168.1.10:1883", r.at.MQTT, "the-secret-key", key).Replace(lines)
		file := filepath.Join(t.TempDir(), "mosquitto.conf")
		require.NoError(t, os.WriteFile(file, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\nuser root\n"+conf), 0o600))
		cmd := exec.Command("/usr/sbin/mosquitto", "-c", file)
		cmd.Stdout, cmd.Stderr = log, log
		require.NoError(t, cmd.Start(), "make setup installs it")
		t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
		return at, log
	}

	_, log := bridged("another key than the gateway's")
	eventually(t, "mosquitto says so", func() bool { return strings.Contains(log.String(), "Connection Refused: Bad User Name or Password") })
	require.Contains(t, guide, `"Connection Refused: Bad User Name or Password"`)
	require.Contains(t, r.log.String(), "client=mosquitto-home")

	at, _ := bridged(key)
	require.Contains(t, guide, "-t 'homeassistant/#' -v` shows a line for each device, which begins with `homeassistant/device/watchtower_home`")
	host, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	eventually(t, "mosquitto has the gateway's device", func() bool {
		said, _ := exec.Command(program(t, "mosquitto_sub"), "-h", host, "-p", port, "-t", "homeassistant/#", "-v", "-C", "1", "-W", "1").Output() // nothing yet is an error
		return strings.HasPrefix(string(said), "homeassistant/device/watchtower_home")
	})
}
