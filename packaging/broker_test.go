package packaging

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/gateway"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The add-on keeps Home Assistant's broker: with the three options of its form, filled in, it tells its
// devices there.
func TestTheAddOnUsesTheBrokerThatIsThere(t *testing.T) {
	t.Parallel()
	passwords := filepath.Join(t.TempDir(), "passwords")
	out, err := exec.Command("mosquitto_passwd", "-b", "-c", passwords, "watchtower", "the password").CombinedOutput()
	require.NoError(t, err, "%s", out)
	m := harness.StartMosquitto(t, "allow_anonymous false\npassword_file "+passwords)

	a := read[addOn](t, "homeassistant/config.yaml")
	remote := a.Options["mqtt"].(map[string]any)["remote"].(map[string]any)
	form := map[string]any{"url": m.URL(), "user": "watchtower", "password": "the password"}
	assert.Len(t, a.Schema["mqtt"].(map[string]any)["remote"], len(form))
	for key, value := range form {
		remote[key] = value
	}
	cfg := a.load(t)
	cfg.DataDir = t.TempDir()
	cfg.HTTP.Listen, cfg.UDP.Listen, cfg.TCP.Listen, cfg.MQTT.Listen = "127.0.0.1:0", "", "", ""
	g, err := gateway.New(cfg, harness.Silent())
	require.NoError(t, err)
	require.NoError(t, g.Listen())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Serve(ctx) }()
	defer func() { stop(); assert.NoError(t, <-done) }()

	host, port, err := net.SplitHostPort(m.Address)
	require.NoError(t, err)
	out, err = exec.Command("mosquitto_sub", "-h", host, "-p", port, "-u", "watchtower", "-P", "the password", "-t", "homeassistant/device/+/config", "-C", "1", "-W", "60").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), `"manufacturer":"Watchtower"`)
}
