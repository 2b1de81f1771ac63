//go:build packages

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// debian is a small Debian that is this test's own. Without a boot no systemd runs there.
type debian struct {
	*testing.T
	root string
}

func newDebian(t *testing.T) debian {
	from := os.Getenv("DEBIAN")
	require.NotEmpty(t, from, "make test-packages says where the Debian is")
	root := filepath.Join(t.TempDir(), "debian")
	out, err := exec.Command("cp", "-a", from, root).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return debian{t, root}
}

// command is a command of that Debian.
func (d debian) command(args ...string) *exec.Cmd {
	cmd := exec.Command("chroot", append([]string{d.root}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "DEBIAN_FRONTEND=noninteractive", "HOME=/root"}
	return cmd
}

func (d debian) run(args ...string) string {
	d.Helper()
	out, err := d.command(args...).CombinedOutput()
	require.NoError(d, err, "%v: %s", args, out)
	return string(out)
}

// made makes the package of a version, of a kind, and returns its path.
func (d debian) made(version, kind, file string) string {
	d.Helper()
	cmd := exec.Command(".ci/package", "amd64", "dist/watchtower", version, kind)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	require.NoError(d, err, "%s", out)
	return filepath.Join("..", "dist", file)
}

// configures writes a configuration that only listens for HTTP, at an address.
func (d debian) configures(listen string) (own string) {
	d.Helper()
	own = "http: {listen: '" + listen + "'}\nudp: {listen: ''}\ntcp: {listen: ''}\nmqtt: {listen: ''}\nmdns: false\n"
	require.NoError(d, os.WriteFile(filepath.Join(d.root, "etc/watchtower/watchtower.yaml"), []byte(own), 0o640))
	return own
}

// install installs the deb of a version.
func (d debian) install(version string) string {
	d.Helper()
	file := "watchtower_" + version + "_amd64.deb"
	d.made(version, "deb", file)
	b, err := os.ReadFile(filepath.Join("..", "dist", file))
	require.NoError(d, err)
	require.NoError(d, os.WriteFile(filepath.Join(d.root, file), b, 0o644))
	return d.run("dpkg", "-i", "/"+file)
}

// serve runs what the service runs, as its user, and returns once a broadcast succeeds.
func (d debian) serve() (stop func()) {
	d.Helper()
	user := d.run("stat", "-c", "%u", "/var/lib/watchtower")
	require.NotEqual(d, "0\n", user)
	as := []string{"setpriv", "--reuid=watchtower", "--regid=watchtower", "--init-groups", "env", "STATE_DIRECTORY=/var/lib/watchtower"}
	cmd := d.command(append(as, "/usr/bin/watchtower", "serve", "--config", "/etc/watchtower/watchtower.yaml")...)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(d, cmd.Start())
	require.Eventually(d, func() bool {
		out, err := d.command(append(as, "watchtower", "broadcast", "5", "hi", "--data-dir", "/var/lib/watchtower", "--name", "kitchen", "--json")...).CombinedOutput()
		return err == nil && strings.Contains(string(out), `"id"`)
	}, 20*time.Second, 100*time.Millisecond)
	return func() {
		require.NoError(d, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(d, cmd.Wait(), log.String())
	}
}

// state makes what systemd makes before the service starts.
func (d debian) state() {
	d.Helper()
	d.run("install", "-d", "-o", "watchtower", "-g", "watchtower", "-m", "0700", "/var/lib/watchtower")
}

// backsUp does what the service of backups does, while the gateway runs, and looks at what it made.
func (d debian) backsUp() {
	d.Helper()
	assert.True(d, d.there("/usr/lib/systemd/system/watchtower-backup.timer"))
	unit := d.run("cat", "/usr/lib/systemd/system/watchtower-backup.service")
	d.run("install", "-d", "-o", "watchtower", "-g", "watchtower", "-m", "0700", "/var/lib/watchtower-backups")
	commands := regexp.MustCompile(`(?m)^ExecStart=/bin/sh -c '(.*)'$`).FindAllStringSubmatch(unit, -1)
	require.Len(d, commands, 2)
	for range 2 { // a week later it is replaced
		for _, command := range commands {
			text := strings.NewReplacer("%%", "%", "$$", "$").Replace(command[1])
			d.run("setpriv", "--reuid=watchtower", "--regid=watchtower", "--init-groups", "sh", "-c", "umask 0077; "+text)
		}
	}
	made := strings.Fields(d.run("sh", "-c", "cd /var/lib/watchtower-backups && stat -c '%n %U %a' *"))
	require.Len(d, made, 6)
	assert.Regexp(d, `^[A-Z][a-z]+day\.tar$`, made[0])
	assert.Equal(d, strings.TrimSuffix(made[0], "tar")+"yaml", made[3])
	assert.Equal(d, []string{"watchtower", "600", "watchtower", "600"}, slices.Delete(slices.Delete(made, 3, 4), 0, 1))
	back := d.run("sh", "-c", "setpriv --reuid=watchtower --regid=watchtower --init-groups watchtower restore /var/lib/watchtower-backups/*.tar --data-dir /tmp/back")
	assert.Contains(d, back, "restored into /tmp/back")
}

func (d debian) there(path string) bool {
	_, err := os.Lstat(filepath.Join(d.root, path))
	return err == nil
}

// The deb is installed, serves, is upgraded with its data and configuration, removed and
// purged.
func TestTheDebLives(t *testing.T) {
	d := newDebian(t)
	require.NoError(t, os.Remove(filepath.Join(d.root, "usr/bin/systemd-sysusers"))) // as where there is no systemd
	d.install("0.1.0")
	assert.Equal(t, "root watchtower 640\n", d.run("stat", "-c", "%U %G %a", "/etc/watchtower/watchtower.yaml"))
	assert.Contains(t, d.run("watchtower", "version"), "watchtower ")
	assert.Contains(t, d.run("watchtower", "config", "check", "/etc/watchtower/watchtower.yaml"), "no faults")
	assert.True(t, d.there("/usr/share/man/man1/watchtower-join.1.gz"))
	assert.True(t, d.there("/usr/share/watchtower/prometheus/alerts.yaml") && d.there("/usr/share/watchtower/grafana/watchtower.json"))
	assert.Contains(t, d.run("bash", "-n", "/usr/share/bash-completion/completions/watchtower")+"fine", "fine")

	alerts := d.run("cat", "/usr/share/watchtower/prometheus/alerts.yaml")
	named := regexp.MustCompile(`/usr/share/[a-z/.-]*[a-z]`).FindAllString(alerts, -1)
	require.NotEmpty(t, named)
	for _, path := range named {
		assert.True(t, d.there(path), path)
	}

	config := filepath.Join(d.root, "etc/watchtower/watchtower.yaml")
	own := d.configures("127.0.0.1:18280")
	d.state()
	stop := d.serve()
	d.backsUp()
	stop()
	senders, err := os.ReadDir(filepath.Join(d.root, "var/lib/watchtower"))
	require.NoError(t, err)
	require.NotEmpty(t, senders)
	id := d.run("cat", "/var/lib/watchtower/cli.json")

	out := d.install("0.2.0")
	assert.NotContains(t, out, "error")
	kept, err := os.ReadFile(config)
	require.NoError(t, err)
	assert.Equal(t, own, string(kept))
	stop = d.serve()
	assert.Equal(t, id, d.run("cat", "/var/lib/watchtower/cli.json"), "the same sender, without registering again")
	stop()

	d.run("dpkg", "-r", "watchtower")
	assert.False(t, d.there("/usr/bin/watchtower"))
	assert.True(t, d.there("/var/lib/watchtower"), "removing keeps the state")
	assert.True(t, d.there("/etc/watchtower/watchtower.yaml"))
	d.run("dpkg", "-P", "watchtower")
	for _, path := range []string{"/var/lib/watchtower", "/etc/watchtower", "/usr/share/doc/watchtower", "/usr/lib/systemd/system/watchtower.service", "/usr/lib/systemd/system/watchtower-backup.timer"} {
		assert.False(t, d.there(path), path)
	}
	assert.True(t, d.there("/var/lib/watchtower-backups"), "a backup is for what goes wrong")
	_, err = d.command("getent", "passwd", "watchtower").Output()
	assert.Error(t, err, "the user is gone")
}
