package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A backup of Home Assistant has the files that the add-on does not exclude. With those alone it
// is the same gateway again.
func TestTheAddOnComesBackFromABackup(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../packaging/homeassistant/config.yaml")
	require.NoError(t, err)
	var addOn struct {
		Pre     string   `yaml:"backup_pre"`
		Exclude []string `yaml:"backup_exclude"`
	}
	require.NoError(t, yaml.Unmarshal(b, &addOn))
	b, err = os.ReadFile("../../packaging/homeassistant/Dockerfile")
	require.NoError(t, err)
	require.Contains(t, string(b), `CMD ["serve", "--restore", "/data/backup.tar"]`)
	start := func(data string) *served {
		options := filepath.Join(data, "options.json")
		require.NoError(t, os.WriteFile(options, []byte(`{"channels":[{"channel":5,"name":"Home"}],"gateway":{},"log":{"level":"info"}}`), 0o600))
		args := []string{"serve", "--restore", filepath.Join(data, "backup.tar"), "--config", options, "--data-dir", data, "--http", "127.0.0.1:0", "--udp", "", "--tcp", "", "--mqtt", ""}
		return serveProgram(t, t.TempDir(), args...)
	}
	data, restored := t.TempDir(), t.TempDir()
	s := start(data)
	say := []string{"broadcast", "5", "hi", "--name", "kitchen", "--json", "--data-dir"}
	code, _, said := s.try(append(say, data)...)
	require.Zero(t, code, said)
	for range 2 { // the second replaces the first
		pre := strings.Fields(strings.ReplaceAll(addOn.Pre, "/data", data))
		require.Equal(t, "/watchtower", pre[0])
		code, _, said = s.try(pre[1:]...)
		require.Zero(t, code, said)
	}
	kept := copyExcept(t, data, restored, addOn.Exclude)
	assert.Contains(t, kept, "backup.tar")
	for _, secret := range []string{"watchtower.db", "broker.db", "secret.key"} {
		assert.NotContains(t, kept, secret)
		assert.FileExists(t, filepath.Join(data, secret))
	}
	require.Zero(t, s.end(syscall.SIGTERM))

	s = start(restored)
	assert.Contains(t, s.log.String(), "backup restored")
	for _, same := range []string{"secret.key", "admin.key"} {
		a, err := os.ReadFile(filepath.Join(data, same))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(restored, same))
		require.NoError(t, err)
		assert.Equal(t, string(a), string(b))
	}
	code, out, said := s.try("senders", "list", "--json", "--data-dir", restored)
	require.Zero(t, code, said)
	assert.Contains(t, out, "kitchen")
	require.Zero(t, s.end(syscall.SIGTERM))
	s = start(restored)
	assert.NotContains(t, s.log.String(), "backup restored", "a gateway that is there stays")
}

// copyExcept copies the files of a directory whose names fit no pattern, and returns those.
func copyExcept(t *testing.T, from, to string, patterns []string) (copied []string) {
	t.Helper()
	files, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, f := range files {
		excluded := false
		for _, p := range patterns {
			fits, err := filepath.Match(p, f.Name())
			require.NoError(t, err)
			excluded = excluded || fits
		}
		if excluded {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, f.Name()))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, f.Name()), b, 0o600))
		copied = append(copied, f.Name())
	}
	return copied
}
