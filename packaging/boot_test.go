//go:build packages

package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// machine is a Debian whose first process is systemd, in namespaces of its own.
type machine struct {
	debian
	unshare *exec.Cmd
	first   string // the process of systemd, as it is called outside
}

// devices makes a folder dev, whose devices are no nodes of this machine's: crun gives the one that
// it has as standard input to the container's user.
const devices = `mount -t tmpfs -o mode=0755 tmpfs dev
for d in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do mknod -m 666 dev/${d%%:*} c $(echo "${d#*:}" | tr : ' '); done
mkdir dev/pts dev/shm
ln -s pts/ptmx dev/ptmx
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
`

// boots mounts what systemd needs, changes the root, and becomes systemd. The kernel's settings
// are read-only: they are those of all.
const boots = `set -e
mount --make-rprivate /
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
` + devices + `mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
ip link set lo up
mkdir -p old
pivot_root . old
umount -l old
exec /usr/bin/env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
`

// boot boots a Debian, and returns when it is up.
func boot(t *testing.T, d debian) *machine {
	t.Helper()
	m := &machine{debian: d, unshare: exec.Command("unshare", "-mpfuinC", "--kill-child", "sh", "-c", boots, d.root)} //nolint:gosec // the test's own
	log, err := os.Create(filepath.Join(t.TempDir(), "console"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = log.Close() })
	m.unshare.Stdout, m.unshare.Stderr = log, log
	require.NoError(t, m.unshare.Start())
	t.Cleanup(m.off)
	require.Eventually(t, func() bool {
		pid := m.unshare.Process.Pid
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		m.first = strings.TrimSpace(string(children))
		if err != nil || m.first == "" {
			return false
		}
		out, _ := m.in("systemctl", "is-system-running").Output() // fails until it answers, and where it is degraded
		said := strings.TrimSpace(string(out))
		return said == "running" || said == "degraded" // without a console, for one
	}, time.Minute, 100*time.Millisecond, "it does not boot: %s", log.Name())
	return m
}

// off cuts the power.
func (m *machine) off() {
	_ = m.unshare.Process.Kill()
	_ = m.unshare.Wait()
}

// in is a command that runs there.
func (m *machine) in(args ...string) *exec.Cmd {
	enter := []string{"-t", m.first, "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}
	return exec.Command("nsenter", append(enter, args...)...)
}

func (m *machine) does(args ...string) string {
	m.Helper()
	out, err := m.in(args...).CombinedOutput()
	if err != nil {
		journal, _ := m.in("journalctl", "--no-pager", "--unit", "watchtower*").CombinedOutput()
		require.NoError(m, err, "%v: %s\n%s", args, out, journal)
	}
	return string(out)
}

// gets installs the deb of a version, and returns what is said.
func (m *machine) gets(version string) string {
	m.Helper()
	file := "watchtower_" + version + "_amd64.deb"
	b, err := os.ReadFile(m.made(version, "deb", file))
	require.NoError(m, err)
	require.NoError(m, os.WriteFile(filepath.Join(m.root, file), b, 0o644))
	return m.does("dpkg", "-i", "/"+file)
}

// shows is a property of the service.
func (m *machine) shows(property string) string {
	m.Helper()
	return strings.TrimSpace(m.does("systemctl", "show", "--property", property, "--value", "watchtower"))
}

// runs checks that the service runs, and shows the journal if it does not.
func (m *machine) runs(why string) {
	m.Helper()
	if m.shows("ActiveState") != "active" {
		require.Fail(m, "it does not run: "+why, "%s", m.does("journalctl", "--no-pager", "--unit", "watchtower*"))
	}
}

// speaks says something by the gateway.
func (m *machine) speaks() string {
	m.Helper()
	return m.does("watchtower", "broadcast", "5", "hi", "--name", "kitchen", "--data-dir", "/var/lib/watchtower", "--json")
}

// The deb's service runs under a real systemd, with all that the unit forbids it. It starts at
// boot, takes settings while it runs, is restarted when it is stuck, backed up, upgraded, removed.
func TestTheServiceStartsAtBoot(t *testing.T) {
	d := newDebian(t)
	m := boot(t, d)
	m.gets("0.1.0")
	m.runs("installing starts it")
	m.speaks()
	first := m.shows("MainPID")
	settings := filepath.Join(d.root, "etc/watchtower/watchtower.yaml")
	was, err := os.ReadFile(settings)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(settings, append(was, "\nupd: {}\n"...), 0o640))
	out, err := m.in("systemctl", "reload", "watchtower").CombinedOutput()
	assert.Error(t, err, "%s", out)
	assert.Equal(t, first, m.shows("MainPID"), "a fault of the settings ends nothing")
	require.NoError(t, os.WriteFile(settings, append(was, "\nchannels: {5: {name: Garden}}\n"...), 0o640))
	m.does("systemctl", "reload", "watchtower")
	require.Eventually(t, func() bool {
		return strings.Contains(m.does("journalctl", "--unit", "watchtower", "--output", "cat"), "configuration reloaded")
	}, 20*time.Second, 100*time.Millisecond)

	m.does("systemctl", "start", "watchtower-backup.service")
	m.does("systemctl", "enable", "--now", "watchtower-backup.timer")
	assert.Contains(t, m.does("systemctl", "list-timers", "--no-pager"), "watchtower-backup.timer")
	assert.Len(t, strings.Fields(m.does("ls", "/var/lib/watchtower-backups")), 2)

	m.does("watchtower", "backup", "/root/before.tar", "--data-dir", "/var/lib/watchtower")
	m.gets("0.2.0")
	m.runs("it was upgraded")
	assert.NotEqual(t, first, m.shows("MainPID"), "an upgrade restarts it")
	m.restores()
	m.goesBack("0.1.0", "/root/before.tar")
	assert.Contains(t, m.does("watchtower", "senders", "list", "--data-dir", "/var/lib/watchtower"), "kitchen")
	m.gets("0.2.0")
	m.off()

	m = boot(t, d)
	m.runs("it starts with the machine")
	assert.Contains(t, m.does("watchtower", "senders", "list", "--data-dir", "/var/lib/watchtower"), "kitchen")
	m.stuck()
	m.does("dpkg", "-r", "watchtower")
	assert.Equal(t, "inactive", m.shows("ActiveState"))
	assert.NotContains(t, m.does("systemctl", "list-timers", "--all", "--no-pager"), "watchtower")
	m.does("dpkg", "-P", "watchtower")
	assert.False(t, d.there("/var/lib/watchtower"))
}

// goesBack installs the version before, as docs/for-operators.md says.
func (m *machine) goesBack(version, backup string) {
	m.Helper()
	m.does("systemctl", "stop", "watchtower")
	m.gets(version)
	assert.Equal(m, "inactive", m.shows("ActiveState"), "a service that was stopped is not started by an installation")
	m.does("watchtower", "restore", backup, "--data-dir", "/var/lib/watchtower")
	m.does("systemctl", "start", "watchtower")
	m.runs("it is the version before")
	assert.Equal(m, version, m.does("dpkg-query", "-W", "-f", "${Version}", "watchtower"))
}

// restores checks that the service can read what root does in its directory.
func (m *machine) restores() {
	m.Helper()
	m.does("watchtower", "backup", "/root/house.tar", "--force", "--data-dir", "/var/lib/watchtower")
	m.does("systemctl", "stop", "watchtower")
	m.does("watchtower", "restore", "/root/house.tar", "--data-dir", "/var/lib/watchtower")
	m.does("systemctl", "start", "watchtower")
	m.runs("root has restored it")
	m.speaks()
	assert.Empty(m, m.does("find", "/var/lib/watchtower", "!", "-user", "watchtower"))
}

// Where another program has a port, installing says which and what to write, and so do the journal
// and the command line. Once it is written, the service starts, soon after it has given up, too.
func TestTheServiceIsToldOfATakenPort(t *testing.T) {
	d := newDebian(t)
	m := boot(t, d)
	m.does("systemd-run", "--unit", "other", "--property", "ExecStartPre=/bin/true", "perl", "-MIO::Socket::INET", "-e", `my $s = IO::Socket::INET->new(LocalPort => 1883, Listen => 1) or die; sleep`)
	require.Eventually(t, func() bool {
		return strings.Contains(m.does("cat", "/proc/net/tcp"), fmt.Sprintf(":%04X 00000000:0000 0A", 1883))
	}, 20*time.Second, 100*time.Millisecond)
	said := m.gets("0.1.0")
	const why = `mqtt.listen: cannot listen on :1883: it is in use, by another program or a connection of one. In /etc/watchtower/watchtower.yaml give MQTT another port, as in mqtt: {listen: ":1884"}, or turn it off by listen: ""`
	assert.Contains(t, said, "watchtower: "+why)
	assert.Contains(t, said, "systemctl restart watchtower")
	require.Eventually(t, func() bool { return m.shows("ActiveState") == "failed" }, 2*time.Minute, 500*time.Millisecond)
	assert.Contains(t, m.does("journalctl", "--no-pager", "--unit", "watchtower", "--output", "cat"), why)
	out, err := m.in("watchtower", "health", "--data-dir", "/var/lib/watchtower").CombinedOutput()
	assert.Error(t, err)
	assert.Contains(t, string(out), "journalctl -u watchtower says why")

	require.NoError(t, os.WriteFile(filepath.Join(d.root, "etc/watchtower/watchtower.yaml"), []byte("mqtt: {listen: \":1884\"}\n"), 0o640))
	require.Eventually(t, func() bool { return m.in("systemctl", "restart", "watchtower").Run() == nil }, 20*time.Second, 500*time.Millisecond)
	m.runs("it has another port")
	m.speaks()
}

// stuck checks that a gateway that does nothing is restarted, after seconds instead of a minute.
func (m *machine) stuck() {
	m.Helper()
	m.does("sh", "-c", `mkdir -p /run/systemd/system/watchtower.service.d && printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/watchtower.service.d/soon.conf`)
	m.does("systemctl", "daemon-reload")
	m.does("systemctl", "restart", "watchtower")
	pid := m.shows("MainPID")
	m.does("sh", "-c", "kill -STOP "+pid)
	require.Eventually(m, func() bool { return m.shows("NRestarts") == "1" && m.shows("ActiveState") == "active" }, 30*time.Second, 100*time.Millisecond)
	assert.NotEqual(m, pid, m.shows("MainPID"))
	m.speaks()
}
