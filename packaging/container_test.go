//go:build packages

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The container's root, by chroot: nothing but the program and the volume, and the user of the
// Containerfile.
func TestTheContainerServes(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	b, err := os.ReadFile("../dist/watchtower")
	require.NoError(t, err)
	assert.LessOrEqual(t, len(b), 25<<20)
	require.NoError(t, os.WriteFile(filepath.Join(root, "watchtower"), b, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(root, "data"), 0o700))
	require.NoError(t, os.Chown(filepath.Join(root, "data"), 65532, 65532))
	inside := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/watchtower", args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		cmd.Dir, cmd.Env = "/", []string{"WATCHTOWER_DATA_DIR=/data"}
		return cmd
	}
	assert.Error(t, inside("health").Run())
	var log strings.Builder
	cmd := inside("--http", "127.0.0.1:18281", "--udp", "", "--tcp", "", "--mqtt", "", "--mdns=false")
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return inside("health", "--ready").Run() == nil }, 20*time.Second, 100*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), log.String())
}
