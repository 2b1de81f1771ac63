package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// checked runs check remote with settings.
func checked(t *testing.T, settings string, args ...string) (code int, out, told string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	require.NoError(t, os.WriteFile(file, []byte("mqtt: {remote: {"+settings+"}}\n"), 0o600))
	return program(t, append([]string{"check", "remote", "--config", file}, args...)...)
}

// The rules that it prints for mosquitto are those by which mosquitto can be trusted.
func TestCheckRemotePrintsRulesThatMakeABrokerTrusted(t *testing.T) {
	t.Parallel()
	m := &harness.Mosquitto{TB: t, Address: harness.FreeAddress(t), Dir: t.TempDir()}
	passwords := m.File("passwords", "")
	for _, user := range []string{"gateway", "72", "homeassistant"} {
		out, err := exec.Command("mosquitto_passwd", "-b", passwords, user, "x").CombinedOutput()
		require.NoError(t, err, string(out))
	}
	lines := "password_file " + passwords + "\n"
	m.Configure(lines)
	m.Start()
	t.Cleanup(m.Kill)
	code, _, told := checked(t, fmt.Sprintf("url: %q, user: gateway, password: y, trust: none", m.URL()))
	require.Equal(t, exitError, code, "it answers")
	require.Contains(t, told, "mqtt.remote.url: the broker refuses the connection: ")
	require.Contains(t, told, "mqtt.remote.user and mqtt.remote.password")
	settings := fmt.Sprintf("url: %q, user: gateway, password: x", m.URL())

	code, _, told = checked(t, settings+", probe: {user: '72', password: y}")
	require.Equal(t, exitError, code, told)
	require.Contains(t, told, "mqtt.remote.probe: as 72: ")
	settings += ", probe: {user: '72', password: x}"
	code, out, told := checked(t, settings)
	require.Equal(t, exitError, code, told)
	require.Contains(t, out, " speaks MQTT 5. The gateway cannot use it with these settings.")
	require.Contains(t, told, "lets a client speak as another")
	require.Contains(t, out, "none: any client can speak as another")
	require.Contains(t, out, "none: any client can read what is for another")
	_, rules, found := strings.Cut(out, "Rules for mosquitto, where a device's user name is its id:\n\n")
	require.True(t, found)
	rules, _, _ = strings.Cut(rules, "\nRules for EMQX")

	code, out, told = checked(t, settings+", trust: none")
	require.Equal(t, 0, code, told)
	require.Contains(t, out, "heard only under ids registered with remote: true")
	require.Contains(t, out, " speaks MQTT 5. The gateway can use it with these settings.")

	m.Kill()
	m.Configure(lines + "acl_file " + m.File("acl", rules))
	m.Start()
	code, _, told = checked(t, strings.Replace(settings, "user: gateway", "user: homeassistant", 1)+", trust: none")
	require.Equal(t, exitError, code, told)
	require.Contains(t, told, `mqtt.remote: the broker's access rules do not let the gateway (user "homeassistant") write watchtower/`)
	require.Contains(t, told, "topic readwrite #")
	code, out, told = checked(t, settings)
	require.Equal(t, 0, code, told)
	require.Contains(t, out, "by the broker's rules, which tell the client (0x87)")

	code, out, told = checked(t, settings, "--json")
	require.Equal(t, 0, code, told)
	var report struct {
		Usable bool
		MQTT   string
		Forges bool `json:"device_forges"`
		Reads  bool `json:"device_reads"`
		Rules  map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.True(t, report.Usable)
	assert.Equal(t, "5", report.MQTT)
	assert.False(t, report.Forges || report.Reads)
	assert.Equal(t, rules, report.Rules["mosquitto"])
	kept, err := exec.Command("mosquitto_sub", "-h", "127.0.0.1", "-p", m.Address[strings.LastIndexByte(m.Address, ':')+1:], "-u", "gateway", "-P", "x", "-t", "#", "--retained-only", "-W", "1").CombinedOutput()
	require.Equal(t, "Timed out\n", string(kept), "it leaves nothing there: %v", err)
}

// A broker that would send the gateway its own messages is refused, with the reason.
func TestCheckRemoteRefusesBrokersThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	at := harness.FreeAddress(t)
	harness.StartNATS(t, 1, fmt.Sprintf("mqtt: {listen: %q}", at))
	code, _, told := checked(t, fmt.Sprintf("url: 'mqtt://%s', trust: none", at))
	assert.Equal(t, exitError, code)
	assert.Contains(t, told, "it would send the gateway its own messages")

	code, _, told = checked(t, fmt.Sprintf("url: 'mqtt://%s', trust: none", harness.FreeAddress(t)))
	assert.Equal(t, exitUnreachable, code)
	assert.Contains(t, told, "mqtt.remote.url: ")
	code, _, told = checked(t, "trust: none")
	assert.Equal(t, exitError, code)
	assert.Contains(t, told, "mqtt.remote.url: is not set")
	assert.NotContains(t, told, "--config")
	code, _, told = program(t, "check", "remote")
	assert.Equal(t, exitError, code)
	assert.Contains(t, told, "Name the gateway's configuration: --config FILE")
}
