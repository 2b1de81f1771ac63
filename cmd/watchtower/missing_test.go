package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// missing returns the senders that the gateway misses.
func (s *served) missing() string {
	s.t.Helper()
	status, answer := s.post("/operator/session", `{"key":"`+s.file("admin.key")+`"}`, "Content-Type", "application/json")
	require.Equal(s.t, 200, status, answer)
	var session struct{ Token string }
	require.NoError(s.t, json.Unmarshal([]byte(answer), &session))
	req, err := http.NewRequest("GET", s.file("gateway.url")+"/operator/senders?missing=true", nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+session.Token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return string(b)
}

// A command that has said or asked something is not missed, and ends no join of its name. A
// join that is killed is missed.
func TestNobodyMissesACommandThatIsDone(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	ear := s.command("join", "5", "--name", "ear")
	out, err := ear.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, ear.Start())
	t.Cleanup(func() { _ = ear.Process.Kill() })
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err)
	for _, args := range [][]string{{"broadcast", "5", "one"}, {"broadcast", "5", "two", "--name", "ear"}, {"send", "5", "ear", "three"}, {"members", "5"}} {
		got := s.run("", args...)
		require.Zero(t, got.code, got.err)
	}
	s.run("", "request", "5", "four", "-W", "2s")
	assert.Equal(t, "{\"senders\":[]}\n", s.missing())
	assert.Contains(t, s.run("", "members", "5").out, "ear")
	require.NoError(t, ear.Process.Kill())
	_ = ear.Wait() // it was killed
	assert.Eventually(t, func() bool { return strings.Contains(s.missing(), `"name":"ear"`) }, 10*time.Second, 50*time.Millisecond)
}

// hears starts a join of a name, and returns what it prints once it follows. Its home is another
// machine's.
func (s *served) hears(home, name string, args ...string) (cmd *served, out *bufio.Scanner) {
	s.t.Helper()
	ear := &served{t: s.t, home: home, log: &safeBuffer{}}
	ear.cmd = ear.command(append([]string{"join", "5", "--name", name, "--url", s.file("gateway.url"), "--secret-key", s.file("secret.key")}, args...)...)
	pipe, err := ear.cmd.StdoutPipe()
	require.NoError(s.t, err)
	ear.cmd.Stderr = ear.log
	require.NoError(s.t, ear.cmd.Start())
	s.t.Cleanup(func() { ear.end(syscall.SIGKILL) })
	require.Eventually(s.t, func() bool { return strings.Contains(ear.log.String(), "following") }, 10*time.Second, 10*time.Millisecond)
	return ear, bufio.NewScanner(pipe)
}

// A join that is ended by Ctrl-C, or has heard enough, is not missed.
func TestNobodyMissesAJoinThatIsEnded(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	stopped, _ := s.hears(t.TempDir(), "stopped", "--json")
	full, out := s.hears(t.TempDir(), "full", "-C", "1", "--format", "%p")
	require.Zero(t, s.run("", "broadcast", "5", "hi").code)
	require.True(t, out.Scan())
	assert.Equal(t, "hi", out.Text())
	assert.Zero(t, full.end(0), full.log.String())
	assert.Zero(t, stopped.end(syscall.SIGINT), stopped.log.String())
	assert.Equal(t, "{\"senders\":[]}\n", s.missing())
}

// Two machines that join by one name end each other's short tokens, once. Both go on to hear.
func TestTwoOfOneNameHear(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	one, hears := s.hears(t.TempDir(), "twin", "--format", "%p")
	other, alsoHears := s.hears(t.TempDir(), "twin", "--format", "%p")
	for _, word := range []string{"a", "b", "c"} {
		require.Zero(t, s.run("", "broadcast", "5", word).code)
		for _, out := range []*bufio.Scanner{hears, alsoHears} {
			require.True(t, out.Scan(), "%s%s", one.log, other.log)
			assert.Equal(t, word, out.Text())
		}
	}
	for _, ear := range []*served{one, other} {
		assert.LessOrEqual(t, strings.Count(ear.log.String(), "\n"), 6, ear.log.String())
	}
}
