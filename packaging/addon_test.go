//go:build packages

package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The add-on's image is built as the Supervisor builds it, serves with its options, and writes its
// backup.
func TestTheAddOnServes(t *testing.T) {
	a := read[addOn](t, "homeassistant/config.yaml")
	i := build(t, "homeassistant", map[string]string{"watchtower-amd64": "../dist/watchtower"}, "--build-arg", "BUILD_ARCH=amd64", "--build-arg", "BUILD_VERSION="+a.Version)
	config := i.Docker.Config
	assert.Equal(t, []string{"serve", "--restore", "/data/backup.tar"}, config.Cmd)
	data := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(i.root, "data"), 0o755))
	options, err := json.Marshal(a.Options)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(data, "options.json"), options, 0o600))
	pre := read[struct {
		Command string `yaml:"backup_pre"`
	}](t, "homeassistant/config.yaml").Command

	script := `set -e
ip link set lo up
mount --bind "$0" "$0"
mount --bind "$1" "$0/data"
mount -o remount,bind,ro "$0"
chroot "$0" ` + strings.Join(append(config.Entrypoint, config.Cmd...), " ") + ` &
until chroot "$0" /watchtower health >/dev/null 2>&1; do kill -0 $!; sleep 0.1; done
chroot "$0" /watchtower health --ready
chroot "$0" ` + pre + `
kill $!
wait $!
`
	cmd := exec.Command("timeout", "60", "unshare", "-mn", "sh", "-c", script, i.root, data)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, config.Env...)
	for name, value := range a.Environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "is ready")
	assert.FileExists(t, filepath.Join(data, "backup.tar"))
	assert.NotContains(t, string(out), "level=error")
	for _, port := range []string{":8080", ":1883", ":3033"} {
		assert.Contains(t, string(out), port)
	}
}
