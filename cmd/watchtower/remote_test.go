package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// A client of a foreign broker is registered, listed as such, and the broker's fault is told.
func TestAForeignBrokerOnTheCommandLine(t *testing.T) {
	m := harness.StartMosquitto(t, "allow_anonymous true")
	s := serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--mqtt-remote-url", m.URL(), "--mqtt-remote-trust", "none", "--gateway-name", "attic")...)
	s.untilSaid(" is ready\n", "health", "--ready")
	code, out, err := s.try("register", "--name", "plug", "--remote")
	require.Zero(t, code, err)
	assert.Contains(t, out, "name  plug\n")
	code, _, err = s.try("register", "--remote")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, err, "--remote needs --name")
	code, _, err = s.try("register", "--name", "lamp")
	require.Zero(t, code, err)
	code, out, err = s.try("senders", "list")
	require.Zero(t, code, err)
	assert.Regexp(t, `(?m)^ID +NAME .* REMOTE$`, out)
	assert.Regexp(t, `(?m)^\d+ +plug .* yes$`, out)
	assert.Regexp(t, `(?m)^\d+ +lamp .* no$`, out)
	m.Kill()
	assert.Contains(t, s.untilSaid("but without", "health", "--ready"), " is ready, but without the foreign broker: the foreign broker (mqtt.remote.url): ")
	assert.Contains(t, s.untilSaid("remote_fault", "health", "--ready", "--json"), `"ready":true`)
}

// A file to check is named as other commands have it, too.
func TestConfigCheckTakesTheFileAsOthersDo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	require.NoError(t, os.WriteFile(file, []byte("udp: {listen: ':3034'}\n"), 0o600))
	for _, args := range [][]string{{file}, {"--config", file}} {
		code, out, told := program(t, append([]string{"config", "check"}, args...)...)
		require.Zero(t, code, told)
		assert.Equal(t, file+": no faults\n", out)
	}
	for _, args := range [][]string{{}, {file, "--config", file}, {file, file}} {
		code, _, told := program(t, append([]string{"config", "check"}, args...)...)
		assert.Equal(t, exitUsage, code, strings.Join(args, " "))
		assert.NotEmpty(t, told)
	}
}

// Who leaves the configuration file out by mistake is told which one the last start had, once.
func TestAStartWithoutTheFileOfTheLastOne(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	file := filepath.Join(home, "w.yaml")
	require.NoError(t, os.WriteFile(file, []byte("gateway: {name: home}\n"), 0o600))
	starts := func(args ...string) (log string) {
		s := serveProgram(t, home, append(args, anyPort...)...)
		s.untilSaid(" is ready\n", "health", "--ready")
		require.Zero(t, s.end(syscall.SIGTERM))
		return s.log.String()
	}
	assert.NotContains(t, starts("serve", "--config", file), "no configuration file")
	said := starts("serve")
	assert.Contains(t, said, "this start has no configuration file, and the last one had one")
	assert.Contains(t, said, file)
	assert.NotContains(t, starts("serve"), "no configuration file", "it was no mistake")
}
