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
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// home is a path from which nobody can install anything (RFC 2606).
const home = "example.org/watchtower"

// Under a path with a host the module can be installed from a module proxy: nothing in it is in
// the way. The program tells which module it is.
func TestItIsInstalledFromAModuleProxy(t *testing.T) {
	source, proxy, bin := filepath.Join(t.TempDir(), "source"), t.TempDir(), t.TempDir()
	out, err := exec.Command("git", "-C", "..", "checkout-index", "--all", "--prefix", source+"/").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("../.ci/module", home, source).CombinedOutput()
	require.NoError(t, err, "%s", out)

	library, err := os.ReadFile(filepath.Join(source, "arduino/library.properties"))
	require.NoError(t, err)
	assert.Contains(t, string(library), "\nurl=https://"+home+"\n")

	v := module.Version{Path: home, Version: "v0.1.0"}
	at := filepath.Join(proxy, filepath.FromSlash(home), "@v")
	require.NoError(t, os.MkdirAll(at, 0o755))
	f, err := os.Create(filepath.Join(at, v.Version+".zip"))
	require.NoError(t, err)
	require.NoError(t, zip.CreateFromDir(f, v, source))
	require.NoError(t, f.Close())
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	require.NoError(t, err)
	assert.NotContains(t, string(mod), "\nreplace", "go install refuses it")
	for name, b := range map[string][]byte{".mod": mod, ".info": []byte(`{"Version":"v0.1.0"}`)} {
		require.NoError(t, os.WriteFile(filepath.Join(at, v.Version+name), b, 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(at, "list"), []byte(v.Version+"\n"), 0o644))

	known, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOPROXY").Output()
	require.NoError(t, err)
	env := strings.Split(strings.TrimSpace(string(known)), "\n")
	require.Len(t, env, 3)
	install := exec.Command(filepath.Join(env[0], "bin/go"), "install", home+"/cmd/watchtower@"+v.Version)
	install.Dir = t.TempDir()
	install.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOBIN="+bin, "GOMODCACHE="+t.TempDir(), "GONOSUMDB="+home, "GOFLAGS=-modcacherw",
		"GOPROXY=file://"+proxy+",file://"+filepath.Join(env[1], "cache/download")+","+env[2])
	out, err = install.CombinedOutput()
	require.NoError(t, err, "%s", out)

	out, err = exec.Command(filepath.Join(bin, "watchtower"), "version", "--json").Output()
	require.NoError(t, err)
	var told struct{ Version, Module string }
	require.NoError(t, json.Unmarshal(out, &told))
	assert.Equal(t, "0.1.0", told.Version)
	assert.Equal(t, home+"@v0.1.0", told.Module)
	out, err = exec.Command(filepath.Join(bin, "watchtower"), "config", "check", "linux/watchtower.yaml").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
