package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// systemd finds no fault in the service, and next to nothing that it may do besides its work.
func TestTheServiceMayDoLittle(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "systemd/watchtower.service").CombinedOutput()
	require.NoError(t, err, "%s", out)
	level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(string(out))
	require.NotNil(t, level, "%s", out)
	exposed, err := strconv.ParseFloat(level[1], 64)
	require.NoError(t, err)
	assert.LessOrEqual(t, exposed, 2.0, "%s", out)

	unit, err := os.ReadFile("systemd/watchtower.service")
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), "watchtower")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755))
	here := filepath.Join(t.TempDir(), "watchtower.service") // with a program that is there
	text := strings.ReplaceAll(string(unit), "/usr/bin/watchtower", program)
	text = strings.Replace(text, "Documentation=man:watchtower(1)\n", "", 1)
	require.NoError(t, os.WriteFile(here, []byte(text), 0o644))
	out, err = exec.Command("systemd-analyze", "verify", "--man=no", here).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Empty(t, string(out))
}

// The scripts are a shell's, and what the packages name is in the project or made.
func TestPackagesNameWhatThereIs(t *testing.T) {
	t.Parallel()
	var packages struct {
		Contents []struct{ Src string }
		Scripts  map[string]string
	}
	b, err := os.ReadFile("nfpm.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &packages))
	assert.Len(t, packages.Scripts, 3)
	for _, script := range packages.Scripts {
		out, err := exec.Command("sh", "-n", filepath.Join("..", script)).CombinedOutput()
		assert.NoError(t, err, "%s", out)
	}
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	for _, c := range packages.Contents {
		made := strings.TrimPrefix(c.Src, "dist/package/")
		assert.NotEqual(t, "", filepath.Base(made))
		if c.Src != "" {
			assert.Contains(t, string(makefile), strings.TrimSuffix(strings.TrimSuffix(made, ".gz"), "*.1"), "make dist/package makes it")
		}
	}
}

// The container's root is the program alone, and the program runs there as nobody.
func TestTheContainerNeedsTheProgramOnly(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("container/Containerfile")
	require.NoError(t, err)
	copied := regexp.MustCompile(`(?m)^COPY .*$`).FindAllString(string(b), -1)
	assert.Equal(t, []string{"COPY --chmod=0755 watchtower /watchtower", "COPY --chown=65532:65532 data /data"}, copied)
	assert.Contains(t, string(b), "FROM scratch\n")
	var compose struct {
		Services map[string]struct {
			ReadOnly bool `yaml:"read_only"`
		}
	}
	b, err = os.ReadFile("container/compose.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &compose))
	assert.True(t, compose.Services["watchtower"].ReadOnly)
}
