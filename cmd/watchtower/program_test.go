package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// program runs this program in a process of its own.
func program(t *testing.T, args ...string) (code int, out, err string) {
	var stdout, stderr strings.Builder
	cmd := exec.Command(harness.Program(t, "cmd/watchtower"), args...)
	cmd.Env = environ(t.TempDir())
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(bad, []byte("upd: {listen: x}\nopen: 5\n"), 0o600))
	tls := filepath.Join(t.TempDir(), "tls.yaml")
	require.NoError(t, os.WriteFile(tls, []byte("tls: {certificate: none.pem, key: none.key}\nhttp: {tls_listen: ':8443'}\n"), 0o600))
	for _, c := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"config", "check", tls}, exitError, "tls.certificate, tls.key: open none.pem"},
		{[]string{"version"}, 0, ""},
		{[]string{"--version"}, 0, ""},
		{[]string{"broadcast", "5"}, exitUsage, "nothing to say"},
		{[]string{"--help"}, 0, ""},
		{[]string{"serve", "--help"}, 0, ""},
		{[]string{"config", "print"}, 0, ""},
		{[]string{"help", "senders", "list"}, 0, ""},
		{[]string{"help", "frob"}, exitUsage, "frob"},
		{[]string{"help", "senders", "frob"}, exitUsage, "frob"},
		{[]string{"brodcast"}, exitUsage, "Did you mean this? broadcast"},
		{[]string{"--htp"}, exitUsage, "unknown flag: --htp (watchtower --help says more)"},
		{[]string{"serve", "now"}, exitUsage, `"now"`},
		{[]string{"join"}, exitUsage, "requires at least 1 arg"},
		{[]string{"join", "kitchen"}, exitUsage, `a channel must be a number from 1 to 4294967295, or several with commas; is "kitchen"`},
		{[]string{"send", "5", "0", "x"}, exitUsage, "a receiver must be"},
		{[]string{"config", "bogus"}, exitUsage, "bogus"},
		{[]string{"config", "check"}, exitUsage, "give one file"},
		{[]string{"config", "check", bad}, exitError, "the configuration has 2 faults:\n  upd: unknown key, did you mean udp? ("},
		{[]string{"config", "check", "none.yaml"}, exitError, "none.yaml: no such file"},
		{[]string{"--udp", "nowhere"}, exitError, "udp.listen: must be host:port"},
		{[]string{"serve", "--open", "--secret-key", "x"}, exitError, "open: cannot be true while secret_key is set"},
		{[]string{"channels"}, exitUnreachable, "no gateway runs"},
	} {
		code, out, err := program(t, c.args...)
		assert.Equal(t, c.code, code, "%v: %s", c.args, err)
		assert.NotContains(t, err, "Usage:", c.args)
		assert.Contains(t, err, c.err, c.args)
		if c.code == 0 {
			assert.NotEmpty(t, out)
			assert.Empty(t, err)
		} else {
			assert.Empty(t, out)
		}
	}
}

func TestEveryShownFlagIsAlsoServes(t *testing.T) {
	root := rootCommand(newPlace(t).surroundings)
	serve, _, err := root.Find([]string{"serve"})
	require.NoError(t, err)
	assert.Contains(t, root.UsageString(), "--http string")
	assert.NotContains(t, root.UsageString(), "--callbacks-retries")
	assert.Contains(t, serve.UsageString(), "--callbacks-retries")
}

func TestConfigPrint(t *testing.T) {
	p := newPlace(t)
	p.environ = append(p.environ, "WATCHTOWER_SECRET_KEY=hunter22", "WATCHTOWER_LOG_LEVL=debug")
	code, out, err := p.run("config", "print", "--udp", ":4000")
	require.Zero(t, code, err)
	assert.Contains(t, out, "udp:\n  # where UDP listens, host:port; empty: off\n  listen: \":4000\"\n")
	assert.NotContains(t, out, "hunter22")
	assert.Equal(t, "watchtower: WATCHTOWER_LOG_LEVL is no setting, WATCHTOWER_LOG_LEVEL is\n", err)
	file := filepath.Join(p.dir, "w.yaml")
	_, out, _ = p.run("config", "print", "--secrets")
	assert.Contains(t, out, "secret_key: \"hunter22\"\n")
	require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
	code, out, err = p.run("config", "check", file)
	require.Zero(t, code, err)
	assert.Equal(t, file+": no faults\n", out)
	assert.Equal(t, "watchtower: warning: secret_key: has 8 characters: with fewer than 12 it can be guessed\n", err)

	p.environ = append(p.environ, "WATCHTOWER_CONFIG="+file+".none")
	code, _, err = p.run("config", "print")
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "w.yaml.none")
}

func TestSignals(t *testing.T) {
	log := logrus.New()
	log.SetOutput(newPlace(t).err)
	exited := make(chan int, 1)
	ctx, stop := untilSignal(context.Background(), log, func(code int) { exited <- code })
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, self.Signal(syscall.SIGTERM))
	<-ctx.Done()
	require.NoError(t, self.Signal(os.Interrupt))
	assert.Equal(t, exitInterrupted, <-exited)
}
