//go:build release

package packaging

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A clean clone makes all files of a release.
func TestAReleaseFromACleanClone(t *testing.T) {
	clone := filepath.Join(t.TempDir(), "clone")
	out, err := exec.Command("git", "clone", "-q", "..", clone).CombinedOutput()
	require.NoError(t, err, "%s", out)
	release := exec.Command("make", "release-files")
	release.Dir = clone
	out, err = release.CombinedOutput()
	require.NoError(t, err, "%s", out)
	dist := filepath.Join(clone, "dist")
	left, err := exec.Command("git", "-C", clone, "status", "--porcelain").Output()
	require.NoError(t, err)
	assert.Empty(t, string(left), "what is made is ignored")

	commit, err := exec.Command("git", "-C", clone, "rev-parse", "HEAD").Output()
	require.NoError(t, err)
	out, err = exec.Command(filepath.Join(dist, "watchtower-0.1.0-linux-amd64"), "version").Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), "commit "+strings.TrimSpace(string(commit))+", go1.")

	wanted := []string{"watchtower-0.1.0-homeassistant.tar.gz"}
	for _, platform := range []string{"linux-amd64", "linux-arm64", "linux-armv6", "linux-armv7", "darwin-amd64", "darwin-arm64", "windows-amd64", "windows-arm64"} {
		name := "watchtower-0.1.0-" + platform
		binary := name
		if strings.HasPrefix(platform, "windows") {
			binary += ".exe"
		}
		info, err := os.Stat(filepath.Join(dist, binary))
		require.NoError(t, err)
		t.Logf("%s: %d bytes", binary, info.Size())
		assert.LessOrEqual(t, info.Size(), int64(mostBytes), binary)
		bill(t, filepath.Join(dist, name+".cdx.json"))
		wanted = append(wanted, binary, name+".cdx.json")
	}
	for _, arch := range []string{"amd64", "arm64", "armhf"} {
		wanted = append(wanted, "watchtower_0.1.0_"+arch+".deb")
	}
	for _, arch := range []string{"x86_64", "aarch64", "armv7hl", "armv6hl"} {
		wanted = append(wanted, "watchtower-0.1.0-1."+arch+".rpm")
	}
	older(t, filepath.Join(dist, "watchtower_0.1.0_armhf.deb"), filepath.Join(dist, "watchtower-0.1.0-linux-armv6"))
	files, err := os.ReadDir(dist)
	require.NoError(t, err)
	made := []string{}
	for _, f := range files {
		if f.Name() != "SHA256SUMS" {
			made = append(made, f.Name())
		}
	}
	assert.ElementsMatch(t, wanted, made)
	sums, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	require.NoError(t, err)
	assert.Len(t, strings.Split(strings.TrimSpace(string(sums)), "\n"), len(made))
	check := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	check.Dir = dist
	out, err = check.CombinedOutput()
	require.NoError(t, err, "%s", out)
	holds(t, filepath.Join(dist, "watchtower-0.1.0-homeassistant.tar.gz"), "config.yaml", "Dockerfile", "DOCS.md", "translations/en.yaml", "watchtower-amd64", "watchtower-aarch64")
}

// older checks that the deb for armhf has the program for ARMv6: the first Raspberry Pis have
// nothing newer.
func older(t *testing.T, deb, program string) {
	t.Helper()
	to := t.TempDir()
	out, err := exec.Command("dpkg-deb", "-x", deb, to).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("cmp", filepath.Join(to, "usr/bin/watchtower"), program).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// bill checks a software bill of materials.
func bill(t *testing.T, file string) {
	t.Helper()
	b := read[struct {
		BomFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version string }
	}](t, file)
	assert.Equal(t, "CycloneDX", b.BomFormat)
	assert.Equal(t, "v0.1.0", b.Metadata.Component.Version)
	names := map[string]string{}
	for _, c := range b.Components {
		names[c.Name] = c.Version
	}
	assert.NotEmpty(t, names["go.etcd.io/bbolt"])
	assert.NotEmpty(t, names["std"], "the standard library")
}

// holds checks that an archive has these files in the folder watchtower.
func holds(t *testing.T, file string, wanted ...string) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
	for _, w := range wanted {
		assert.Contains(t, names, "watchtower/"+w)
	}
}
