//go:build packages

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rpm runs rpm on that Debian, whose programs its scripts find. It has no packages of rpm, so
// nothing can be depended on.
func (d debian) rpm(args ...string) string {
	d.Helper()
	out, err := exec.Command("rpm", append([]string{"--root", d.root}, args...)...).CombinedOutput()
	require.NoError(d, err, "%v: %s", args, out)
	return string(out)
}

// installRPM installs or upgrades to the rpm of a version.
func (d debian) installRPM(version string) string {
	d.Helper()
	file := d.made(version, "rpm", "watchtower-"+version+"-1.x86_64.rpm")
	return d.rpm("-U", "--nodeps", file)
}

// The rpm is installed, serves, is upgraded with its data and configuration, and removed.
func TestTheRPMLives(t *testing.T) {
	d := newDebian(t)
	out := d.installRPM("0.1.0")
	assert.NotContains(t, out, "warning")
	assert.Equal(t, "root watchtower 640\n", d.run("stat", "-c", "%U %G %a", "/etc/watchtower/watchtower.yaml"))
	assert.Contains(t, d.run("watchtower", "config", "check", "/etc/watchtower/watchtower.yaml"), "no faults")
	assert.True(t, d.there("/usr/share/man/man1/watchtower-join.1.gz"))
	assert.True(t, d.there("/usr/share/watchtower/prometheus/alerts.yaml") && d.there("/usr/share/watchtower/grafana/watchtower.json"))
	assert.True(t, d.there("/usr/lib/systemd/system/watchtower.service") && d.there("/usr/lib/systemd/system/watchtower-backup.timer"))

	own := d.configures("127.0.0.1:18282")
	d.state()
	d.serve()()
	id := d.run("cat", "/var/lib/watchtower/cli.json")

	d.installRPM("0.2.0")
	kept, err := os.ReadFile(filepath.Join(d.root, "etc/watchtower/watchtower.yaml"))
	require.NoError(t, err)
	assert.Equal(t, own, string(kept))
	assert.Equal(t, "root watchtower 640\n", d.run("stat", "-c", "%U %G %a", "/etc/watchtower/watchtower.yaml"))
	assert.True(t, d.there("/usr/bin/watchtower"), "the scripts of the version before take nothing away")
	stop := d.serve()
	assert.Equal(t, id, d.run("cat", "/var/lib/watchtower/cli.json"), "the same sender, without registering again")
	stop()

	d.rpm("-e", "--nodeps", "watchtower")
	assert.False(t, d.there("/usr/bin/watchtower"))
	assert.False(t, d.there("/usr/lib/systemd/system/watchtower.service"))
	assert.True(t, d.there("/var/lib/watchtower"), "removing keeps the state")
	saved, err := os.ReadFile(filepath.Join(d.root, "etc/watchtower/watchtower.yaml.rpmsave"))
	require.NoError(t, err)
	assert.Equal(t, own, string(saved))
}
