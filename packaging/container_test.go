//go:build packages

package packaging

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// image is a container's image, and where its root is.
type image struct {
	*testing.T
	store  string
	root   string
	Docker struct {
		Config struct {
			User        string
			Env         []string
			Entrypoint  []string
			Cmd         []string
			Volumes     map[string]struct{}
			Healthcheck struct{ Test []string }
		} `json:"config"`
	}
}

func (i *image) buildah(args ...string) string {
	i.Helper()
	own := []string{"--root", filepath.Join(i.store, "root"), "--runroot", filepath.Join(i.store, "run"), "--storage-driver", "vfs"}
	out, err := exec.Command("buildah", append(own, args...)...).Output()
	require.NoError(i, err, "%v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// build builds an image of a folder in this one, and files of others in it, by their names there.
func build(t *testing.T, from string, files map[string]string, args ...string) *image {
	i := &image{T: t, store: t.TempDir()}
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS(from)))
	for name, source := range files {
		b, err := os.ReadFile(source)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), b, 0o755))
	}
	i.buildah(append(append([]string{"bud", "--quiet", "--isolation", "chroot", "--format", "docker", "--tag", "watchtower"}, args...), folder)...)
	require.NoError(t, json.Unmarshal([]byte(i.buildah("inspect", "--type", "image", "watchtower")), i))
	i.root = i.buildah("mount", i.buildah("from", "watchtower"))
	t.Cleanup(func() { i.buildah("rm", "--all") })
	return i
}

// run is a command in the container, whose root is read-only and whose volume is data.
func (i *image) run(data string, command ...string) *exec.Cmd {
	script := `mount --bind "$0" "$0" && mount --bind "$1" "$0/data" && mount -o remount,bind,ro "$0" && user="$2" && root="$0" && shift 2 && exec chroot --userspec="$user" "$root" "$@"`
	cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, i.root, data, i.Docker.Config.User}, command...)...)
	cmd.Env = i.Docker.Config.Env
	return cmd
}

// The image is the program. It runs as nobody, writes nothing but its volume, and its health
// check tells whether it serves.
func TestTheContainerServes(t *testing.T) {
	i := build(t, "container", map[string]string{"watchtower": "../dist/watchtower"})
	config := i.Docker.Config
	user, err := strconv.Atoi(strings.Split(config.User, ":")[0])
	require.NoError(t, err)
	assert.NotZero(t, user)
	var size int64
	require.NoError(t, filepath.WalkDir(i.root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		size += info.Size()
		return err
	}))
	assert.LessOrEqual(t, size, int64(22_000_000), "25 MB for an image, and some room")
	require.Contains(t, config.Volumes, "/data")
	require.Equal(t, "CMD", config.Healthcheck.Test[0])
	health := config.Healthcheck.Test[1:]

	data := filepath.Join(t.TempDir(), "volume") // with the owner of /data, as engines make it
	require.NoError(t, os.Chmod(filepath.Dir(data), 0o755))
	out, err := exec.Command("cp", "-a", filepath.Join(i.root, "data"), data).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Error(t, i.run(data, health...).Run(), "nothing serves")
	var log strings.Builder
	serve := i.run(data, append(config.Entrypoint, "--http", "127.0.0.1:18281", "--udp", "", "--tcp", "", "--mqtt", "", "--mdns=false")...)
	serve.Stdout, serve.Stderr = &log, &log
	require.NoError(t, serve.Start())
	require.Eventually(t, func() bool { return i.run(data, health...).Run() == nil }, 20*time.Second, 100*time.Millisecond)
	require.NoError(t, serve.Process.Signal(syscall.SIGTERM))
	require.NoError(t, serve.Wait(), log.String())
	assert.FileExists(t, filepath.Join(data, "watchtower.db"))

	elsewhere := i.run(data, append(config.Entrypoint, "--data-dir", "/elsewhere")...)
	out, err = elsewhere.CombinedOutput()
	assert.Error(t, err)
	assert.Contains(t, string(out), "read-only file system")
}

// docker-compose takes the compose file.
func TestTheComposeFileIsValid(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("docker-compose", "-f", "container/compose.yaml", "config", "--quiet").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
