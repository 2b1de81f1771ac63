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

// systemd finds no fault in the services, and next to nothing that they may do besides their work.
func TestTheServicesMayDoLittle(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"watchtower.service", "watchtower-backup.service"} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "systemd/"+unit).CombinedOutput()
		require.NoError(t, err, "%s", out)
		level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(string(out))
		require.NotNil(t, level, "%s", out)
		exposed, err := strconv.ParseFloat(level[1], 64)
		require.NoError(t, err)
		assert.LessOrEqual(t, exposed, 2.0, "%s", out)
	}

	program, dir := filepath.Join(t.TempDir(), "watchtower"), t.TempDir()
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755))
	verify := []string{"verify", "--man=no"}
	units, err := os.ReadDir("systemd")
	require.NoError(t, err)
	for _, unit := range units {
		b, err := os.ReadFile("systemd/" + unit.Name())
		require.NoError(t, err)
		here := filepath.Join(dir, unit.Name()) // with a program that is there
		text := strings.ReplaceAll(string(b), "/usr/bin/watchtower", program)
		text = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(text, "")
		require.NoError(t, os.WriteFile(here, []byte(text), 0o644))
		verify = append(verify, here)
	}
	assert.Len(t, units, 3)
	out, err := exec.Command("systemd-analyze", verify...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Empty(t, string(out))
}

// The page for operators shows what Prometheus has to know, which is the packages' file.
func TestTheScrapeConfigurationIsThePages(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("prometheus/prometheus.yaml")
	require.NoError(t, err)
	page, err := os.ReadFile("../docs/for-operators.md")
	require.NoError(t, err)
	_, settings, found := strings.Cut(string(file), "rule_files:")
	require.True(t, found)
	assert.Contains(t, string(page), "```yaml\nrule_files:"+settings+"```\n")
	alerts, err := os.ReadFile("prometheus/alerts.yaml")
	require.NoError(t, err)
	assert.Contains(t, string(alerts), `{job="watchtower"}`)
	assert.Contains(t, settings, "job_name: watchtower\n")
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
