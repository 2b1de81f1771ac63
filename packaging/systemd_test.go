//go:build packages

package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// manager stands in for a running systemd, and writes down what it is asked. Its service is active.
const manager = "#!/bin/sh\necho \"$*\" >>/asked\n"

// pretends makes a Debian believe that systemd runs.
func (d debian) pretends() (asked func() []string) {
	d.Helper()
	require.NoError(d, os.WriteFile(filepath.Join(d.root, "usr/bin/systemctl"), []byte(manager), 0o755))
	require.NoError(d, os.MkdirAll(filepath.Join(d.root, "run/systemd/system"), 0o755))
	file := filepath.Join(d.root, "asked")
	return func() []string {
		b, err := os.ReadFile(file)
		require.NoError(d, err)
		require.NoError(d, os.Remove(file))
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

// With systemd the deb starts the service, restarts it after an upgrade if the new version takes
// the configuration, and stops it before it goes.
func TestTheDebAsksSystemd(t *testing.T) {
	d := newDebian(t)
	asked := d.pretends()
	d.install("0.1.0")
	assert.Equal(t, []string{"daemon-reload", "enable --now watchtower.service"}, asked())

	d.configures("127.0.0.1:18283")
	d.install("0.2.0")
	assert.Equal(t, []string{"daemon-reload", "is-active --quiet watchtower.service", "restart watchtower.service"}, dropReload(asked()))

	config := filepath.Join(d.root, "etc/watchtower/watchtower.yaml")
	require.NoError(t, os.WriteFile(config, []byte("upd: {listen: ''}\n"), 0o640))
	out := d.install("0.3.0")
	assert.Equal(t, []string{"daemon-reload", "is-active --quiet watchtower.service"}, dropReload(asked()))
	assert.Contains(t, out, "did you mean udp?")
	assert.Contains(t, out, "runs on as the version before: repair its configuration")

	d.run("dpkg", "-r", "watchtower")
	assert.Equal(t, []string{"disable --now watchtower-backup.timer watchtower.service", "daemon-reload"}, asked())
}

// dropReload leaves out the reload for the version before, which goes meanwhile.
func dropReload(asked []string) []string {
	for len(asked) > 1 && asked[0] == asked[1] {
		asked = asked[1:]
	}
	return asked
}
