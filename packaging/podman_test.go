//go:build packages

package packaging

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// engine runs commands where there is one hierarchy of control groups. The container has none of
// its own, and no limits that only a whole machine's root may set.
const engine = `set -e
mount --make-rprivate /
cd /
` + devices + `umount -R -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
podman() { timeout 60 /usr/bin/podman --root "$0/root" --runroot "$0/run" --storage-driver vfs --cgroup-manager cgroupfs --events-backend none "$@"; }
trap 'podman rm --force --volumes gateway >/dev/null' EXIT
podman run --detach --name gateway --cgroups disabled --network none --no-healthcheck --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$@" watchtower
until podman exec gateway /watchtower health >/dev/null 2>&1; do
  [ "$(podman inspect --format '{{.State.Running}}' gateway)" = true ] || { podman logs gateway; exit 1; }
  sleep 0.2
done
podman exec gateway /watchtower health --ready
podman exec gateway /watchtower secret-key
podman exec gateway /watchtower admin-key
podman exec gateway /watchtower broadcast 5 hi --name kitchen
podman exec gateway /watchtower broadcast 5 hi --data-dir /elsewhere && exit 1
podman stop gateway
podman start gateway
until podman exec gateway /watchtower health --ready >/dev/null 2>&1; do sleep 0.2; done
podman exec gateway /watchtower senders list
podman stop gateway
podman inspect --format 'ended with {{.State.ExitCode}}' gateway
`

// Podman runs the container with what the compose file says: as nobody, with a root that cannot be
// written and no capability, it serves, and its volume keeps what it knows.
func TestPodmanRunsTheContainer(t *testing.T) {
	i := build(t, "container", map[string]string{"watchtower": "../dist/watchtower"})
	service := read[struct {
		Services map[string]struct {
			ReadOnly    bool     `yaml:"read_only"`
			CapDrop     []string `yaml:"cap_drop"`
			SecurityOpt []string `yaml:"security_opt"`
			Environment map[string]string
			Volumes     []string
		}
	}](t, "container/compose.yaml").Services["watchtower"]
	args := []string{"-m", "sh", "-c", engine, i.store}
	if service.ReadOnly {
		args = append(args, "--read-only")
	}
	for flag, values := range map[string][]string{"--cap-drop": service.CapDrop, "--security-opt": service.SecurityOpt, "--volume": service.Volumes} {
		require.NotEmpty(t, values, flag)
		for _, v := range values {
			args = append(args, flag, strings.TrimSuffix(v, ":true"))
		}
	}
	for name, value := range service.Environment {
		args = append(args, "--env", name+"="+value)
	}
	cmd := exec.Command("unshare", args...) //nolint:gosec // the test's own
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	null, err := os.Stat("/dev/null")
	require.NoError(t, err)
	assert.Zero(t, null.Sys().(*syscall.Stat_t).Uid, "this machine's devices are as they were")
	for _, text := range []string{"is ready", "kitchen", "ended with 0"} {
		assert.Contains(t, string(out), text)
	}
}
