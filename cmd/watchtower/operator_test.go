package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// try runs the program beside the gateway.
func (s *served) try(args ...string) (code int, out, err string) {
	cmd := s.command(args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func TestTheAdminKey(t *testing.T) {
	s := serveProgram(t, t.TempDir(), anyPort...)
	key := s.file("admin.key")
	assert.Contains(t, s.banner, "admin key       "+key+"  (generated; kept in ")
	code, out, err := s.try("admin-key")
	require.Zero(t, code, err)
	assert.Equal(t, key+"\n", out)
	require.Zero(t, s.end(syscall.SIGTERM))
	assert.NotContains(t, s.log.String(), key)

	again := serveProgram(t, s.home, anyPort...)
	assert.NotContains(t, again.banner, key)
	assert.Regexp(t, "admin key       not shown; to see it: .* admin-key\n", again.banner)

	require.Zero(t, again.end(syscall.SIGTERM))

	const own = "a key of the operator's own"
	configured := serveProgram(t, s.home, append(anyPort, "--admin-key", own)...)
	code, out, err = s.try("admin-key")
	require.Zero(t, code, err)
	assert.Equal(t, own+"\n", out, "the one in force, not the one that was generated")
	code, _, err = s.try("senders", "list")
	require.Zero(t, code, err)
	code, _, err = s.try("backup", filepath.Join(t.TempDir(), "house.tar"))
	require.Zero(t, code, err)
	require.Zero(t, configured.end(syscall.SIGTERM))

	code, out, err = s.try("admin-key", "--data-dir", t.TempDir())
	assert.Equal(t, exitError, code)
	assert.Empty(t, out)
	assert.Contains(t, err, "there is no admin key in")
}

func TestTheSecretKeyOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	key := s.file("secret.key")
	code, out, err := s.try("secret-key")
	require.Zero(t, code, err)
	assert.Equal(t, key+"\n", out)
	require.Zero(t, s.end(syscall.SIGTERM))
	_, out, _ = s.try("secret-key", "--json")
	assert.JSONEq(t, `{"secret_key":"`+key+`"}`, out, "also while it does not run")

	s = serveProgram(t, s.home, append(slices.Clone(anyPort), "--secret-key", "correct horse battery")...)
	_, out, _ = s.try("secret-key")
	assert.Equal(t, "correct horse battery\n", out, "the one in force")
	require.Zero(t, s.end(syscall.SIGTERM))

	s = serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--open")...)
	code, out, err = s.try("secret-key")
	assert.Equal(t, exitError, code)
	assert.Empty(t, out)
	assert.Contains(t, err, "the gateway is open")

	code, _, err = s.try("secret-key", "--data-dir", t.TempDir())
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "there is no secret key in")
}

// On a machine with the packages' service the error names its directory, unless one was named.
func TestAKeyOfTheService(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.service, p.environ = t.TempDir(), []string{"HOME=" + p.dir}
	for _, command := range []string{"secret-key", "admin-key"} {
		code, _, err := p.run(command)
		assert.Equal(t, exitError, code)
		assert.Contains(t, err, "that of the service is "+p.service)
		_, _, err = p.run(command, "--data-dir", t.TempDir())
		assert.NotContains(t, err, "that of the service")
	}
}

func TestSendersOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	secret := s.file("secret.key")
	var lamp struct {
		ID    uint32
		Token string
	}
	_, body := s.post("/register", fmt.Sprintf(`{"secret_key":%q,"name":"lamp"}`, secret))
	require.NoError(t, json.Unmarshal([]byte(body), &lamp))
	for i := range 3 {
		s.post("/register", fmt.Sprintf(`{"secret_key":%q,"name":"door%d"}`, secret, i))
	}
	id := fmt.Sprint(lamp.ID)
	run := func(args ...string) string {
		code, out, err := s.try(append([]string{"senders"}, args...)...)
		require.Zero(t, code, "%v: %s", args, err)
		assert.Empty(t, err)
		return out
	}
	list := run("list")
	assert.Regexp(t, `^ID +NAME +STATE +VIA +CHANNELS +SEEN +PROTECTED\n`, list)
	assert.Regexp(t, `(?m)^`+id+` +lamp +away +- +0 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +no$`, list)
	assert.Equal(t, 5, strings.Count(list, "\n"))
	assert.Equal(t, 4, strings.Count(run("list", "--find", "door", "--state", "away"), "\n"))
	var all struct{ Senders []listedSender }
	require.NoError(t, json.Unmarshal([]byte(run("list", "--json")), &all))
	assert.Len(t, all.Senders, 4)

	var one listedSender
	require.NoError(t, json.Unmarshal([]byte(run("show", "lamp", "--json")), &one))
	assert.Equal(t, lamp.ID, one.ID)
	assert.Contains(t, run("rename", "lamp", "light"), "light")
	assert.Contains(t, run("show", id), "light")
	assert.Regexp(t, `light .* yes`, run("protect", "light"))
	status, _ := s.post("/register", fmt.Sprintf(`{"secret_key":%q,"name":"light"}`, secret))
	assert.Equal(t, 401, status)
	assert.Regexp(t, `light .* no`, run("protect", "light", "--off"))
	token := strings.TrimSpace(run("token", "light"))
	status, _ = s.post("/register", fmt.Sprintf(`{"secret_key":%q,"name":"light"}`, secret), "Authorization", "Bearer "+token)
	assert.Equal(t, 200, status)
	assert.Equal(t, id+" is forgotten\n", run("forget", "light"))
	for _, c := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"show", "light"}, exitError, "there is no sender light"},
		{[]string{"rename", "door0", "door1"}, exitError, "is the name of sender"},
		{[]string{"rename", "door0", "a b"}, exitError, "must be 1 to 64"},
		{[]string{"list", "--via", "zigbee"}, exitError, "via: must be a protocol"},
		{[]string{"list", "--admin-key", "guess"}, exitError, "is not the gateway's admin key"},
		{[]string{"list", "--url", "http://127.0.0.1:1"}, exitError, "give --admin-key"},
		{[]string{"list", "--data-dir", t.TempDir()}, exitUnreachable, "no gateway runs"},
		{[]string{"shwo"}, exitUsage, "shwo"},
		{[]string{"rename", "door0"}, exitUsage, "accepts 2 arg"},
	} {
		code, out, err := s.try(append([]string{"senders"}, c.args...)...)
		assert.Equal(t, c.code, code, c.args)
		assert.Empty(t, out, c.args)
		assert.Contains(t, err, c.err, c.args)
	}
	code, out, err := s.try("senders", "list", "--url", s.file("gateway.url"), "--admin-key", s.file("admin.key"))
	assert.Zero(t, code, err)
	assert.Contains(t, out, "door2")
	assert.Contains(t, s.log.String(), "operator forgot a sender")
	signedIn := regexp.MustCompile(`msg="operator signed in".* agent="watchtower/\S+ \(senders (\w+)\)"`).FindAllStringSubmatch(s.log.String(), -1)
	assert.NotEmpty(t, signedIn, s.log.String())
	assert.Equal(t, "list", signedIn[0][1], "the log tells the command line from a browser")
	assert.NotContains(t, s.log.String(), "ended a session", "one line, and none when the command ends")
}

// A command leaves no session behind.
func TestACommandSignsOut(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--log-level", "debug")...)
	for range 3 {
		code, _, err := s.try("senders", "list")
		require.Zero(t, code, err)
	}
	for _, event := range []string{"operator signed in", "operator signed out"} {
		count := func() int { return strings.Count(s.log.String(), event) }
		require.Eventually(t, func() bool { return count() >= 3 }, patient, patient/1000, "what the process wrote comes by a pipe: %s", s.log.String())
		assert.Equal(t, 3, count(), event)
	}
}

// A closed terminal, or systemctl reload.
func TestHangup(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "w.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("channels:\n  5: {name: Watering}\n")
	s := serveProgram(t, home, append(slices.Clone(anyPort), "--config", file)...)
	hangup := func(event string) {
		t.Helper()
		before := strings.Count(s.log.String(), event)
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
		require.Eventually(t, func() bool { return strings.Count(s.log.String(), event) > before }, patient, patient/1000, s.log.String())
	}
	hangup("configuration reloaded")
	write("channels:\n  5: {name: Garden}\ntcp: {queue: 7}\n")
	hangup("configuration reloaded")
	assert.Regexp(t, `needs_restart="?\[tcp.queue\]"? reloaded="?\[channels.5\]`, s.log.String())
	write("channels: {0: {name: x}}\nloq: {}\n")
	hangup("configuration not reloaded")
	assert.Contains(t, s.log.String(), "did you mean log?")
	write("log: {level: error}\n")
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	status, _ := s.post("/register", fmt.Sprintf(`{"secret_key":%q}`, s.file("secret.key")))
	assert.Equal(t, 200, status, "it goes on")
	assert.Zero(t, s.end(syscall.SIGTERM), s.log.String())
	assert.NoFileExists(t, filepath.Join(s.dataDir(), "gateway.key"))
	assert.NoFileExists(t, filepath.Join(s.dataDir(), "gateway.admin"))
}

func TestABackupOnTheCommandLine(t *testing.T) {
	s := serveProgram(t, t.TempDir(), anyPort...)
	file := filepath.Join(t.TempDir(), "house.tar")
	code, out, err := s.try("backup", file, "--json")
	require.Zero(t, code, err)
	assert.JSONEq(t, fmt.Sprintf(`{"backup":%q}`, file), out)
	code, _, err = s.try("backup", file)
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "--force replaces it")
	code, _, err = s.try("backup", filepath.Join(file, "below"))
	assert.Equal(t, exitError, code)
	assert.NotEmpty(t, err)
	code, _, err = s.try("backup", "--admin-key", "wrong, and long enough", file+"2")
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "not the gateway's admin key")
	assert.NoFileExists(t, file+"2")
	code, _, err = s.try("backup")
	assert.Equal(t, exitUsage, code)
	assert.NotEmpty(t, err)
	code, _, err = s.try("restore", file)
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "another gateway uses this data directory")
	require.Zero(t, s.end(syscall.SIGTERM))

	code, _, err = s.try("backup", file+"2")
	assert.Equal(t, exitUnreachable, code)
	assert.Contains(t, err, "no gateway runs")
	code, _, err = s.try("restore", file+"2")
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "no such file")
	code, out, err = s.try("restore", file)
	require.Zero(t, code, err)
	assert.Contains(t, out, "restored into "+s.dataDir())
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*"))
	assert.Empty(t, left)
}
