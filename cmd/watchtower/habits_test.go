package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ran is what a command did.
type ran struct {
	code     int
	out, err string
}

// run runs the program to its end.
func (s *served) run(in string, args ...string) ran {
	s.t.Helper()
	return s.start(in, args...)()
}

// start starts the program; the returned function waits for its end.
func (s *served) start(in string, args ...string) func() ran {
	s.t.Helper()
	var out, err bytes.Buffer
	cmd := s.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &err
	require.NoError(s.t, cmd.Start())
	return func() ran {
		_ = cmd.Wait() // the exit code says it
		return ran{cmd.ProcessState.ExitCode(), out.String(), err.String()}
	}
}

// follows starts a join, and returns once it has joined.
func (s *served) follows(args ...string) <-chan string {
	s.t.Helper()
	lines := s.shell("exec " + s.command().Path + " join " + strings.Join(args, " "))
	expect(s.t, lines, "following channel")
	return lines
}

// all reads lines until their end.
func all(lines <-chan string) (out []string) {
	for line := range lines {
		out = append(out, line)
	}
	return out
}

func TestEnoughIsHeard(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	two := s.follows("5", "-C", "2", "--format", "'%c|%n|%y|%p|%x|100%%'", "--name", "ear")
	got := s.run("first\nsecond\nthird\n", "broadcast", "-l", "5", "--name", "kitchen", "--ttl", "1m")
	require.Zero(t, got.code, got.err)
	assert.Equal(t, 3, strings.Count(got.out, "sent "))
	assert.Equal(t, []string{"5|kitchen|broadcast|first|6669727374|100%", "5|kitchen|broadcast|second|7365636f6e64|100%"}, all(two))

	late := s.run("", "join", "5", "-C", "4", "-W", "0.5", "--since", "all", "--format", "%p")
	assert.Equal(t, ran{exitTooFew, "first\nsecond\nthird\n", ""}, ran{late.code, late.out, ""})
	assert.Contains(t, late.err, "3 of 4 messages came in time")
	whole := s.run("", "join", "5", "-C", "3", "-W", "10", "--since", "all", "-F", "hex")
	assert.Equal(t, ran{0, "6669727374\n7365636f6e64\n7468697264\n", ""}, ran{whole.code, whole.out, ""})
	some := s.run("", "join", "5", "-W", "100ms")
	assert.Equal(t, ran{0, "", ""}, ran{some.code, some.out, ""}, "without -C nothing is missing")

	for args, want := range map[string]string{
		"join 5 --format %q":               `--format: "%q" is none of`,
		"join 5 --format x%":               `--format: "%" is none of`,
		"join 5 -W soon":                   "--within must be a number of seconds",
		"join 5 -C -1":                     "--count must not be negative",
		"join 5 --exec true --json":        "--exec prints what the command prints",
		"join 5 --json --format hex":       "--json is --format json",
		"join 5 --udp --since 1m":          "--since works over HTTP only",
		"broadcast 5 --ttl 0 x":            "--ttl must be at least a second",
		"broadcast 5 --repeat 0 x":         "--repeat must be at least 1",
		"broadcast 5 -l x":                 "give one of MESSAGE, --file and --lines",
		"reply 9":                          "give either a message or --exec",
		"-c home serve":                    "-c names a gateway to speak to",
		"-c home join 5 --url gateway.lan": "give one of --context and --url",
		"members 5,6":                      "members lists one channel",
	} {
		got := s.run("", strings.Fields(args)...)
		assert.Equal(t, exitUsage, got.code, args)
		assert.Contains(t, got.err, want, args)
	}
}

func TestACommandForEachMessage(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	heard := s.follows("5", "-C", "3", "--exec", `'read x; echo "$WATCHTOWER_CHANNEL $WATCHTOWER_SENDER_NAME $WATCHTOWER_TYPE ${#WATCHTOWER_ID} $x"; test "$x" != two'`, "--name", "ear")
	file := filepath.Join(t.TempDir(), "said")
	require.NoError(t, os.WriteFile(file, []byte("three"), 0o600))
	for _, args := range [][]string{{"one"}, {"two"}, {"--file", file}} {
		got := s.run("", append([]string{"broadcast", "5", "--name", "kitchen"}, args...)...)
		require.Zero(t, got.code, got.err)
	}
	lines := all(heard)
	require.Len(t, lines, 4)
	assert.Equal(t, "5 kitchen broadcast 26 one", lines[0])
	assert.Equal(t, "5 kitchen broadcast 26 two", lines[1])
	assert.Contains(t, lines[2], "exit status 1", "a command that fails is told of")
	assert.Equal(t, "5 kitchen broadcast 26 three", lines[3])
}

func TestRequestsAreAnswered(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	nobody := s.run("", "request", "9", "ping", "-W", "300ms")
	assert.Equal(t, ran{exitTooFew, "", ""}, ran{nobody.code, nobody.out, ""}, nobody.err)
	assert.Contains(t, nobody.err, "no answer came in time")
	program := "exec " + s.command().Path
	expect(t, s.shell(program+" reply 9 pong --name plain"), "following channel")
	expect(t, s.shell(program+` reply 9 --name clever --exec 'tr a-z A-Z'`), "following channel")
	got := s.run("", "request", "9", "clever", "what is it")
	assert.Equal(t, ran{0, "WHAT IS IT\n", ""}, ran{got.code, got.out, ""}, got.err)
	got = s.run("", "request", "9", "plain", "ping", "--format", "%n: %p")
	assert.Equal(t, ran{0, "plain: pong\n", ""}, ran{got.code, got.out, ""}, got.err)
	got = s.run("", "request", "9", "ping")
	assert.Zero(t, got.code, got.err)
	assert.Contains(t, []string{"pong\n", "PING\n"}, got.out)
	got = s.run("", "request", "9", "nobody", "ping")
	assert.Equal(t, exitError, got.code)
	assert.Contains(t, got.err, "nobody")
}

// Two replies by the same name do not answer each other without end.
func TestRepliesOfOneNameAreSilentAfterwards(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	program := "exec " + s.command().Path
	for range 2 {
		expect(t, s.shell(program+" reply 9 pong"), "following channel")
	}
	got := s.run("", "request", "9", "ping")
	assert.Equal(t, ran{0, "pong\n", ""}, ran{got.code, got.out, ""}, got.err)
	heard := s.run("", "join", "9", "--since", "all", "-W", "1", "--format", "%y %p")
	assert.Regexp(t, "^broadcast ping\n(send pong\n){1,2}$", heard.out, "the second may come when the asker has gone")
}

func TestMembersAndKick(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	empty := s.run("", "members", "5")
	assert.Equal(t, ran{0, "", ""}, ran{empty.code, empty.out, ""})
	assert.Contains(t, empty.err, "nobody has joined")
	s.follows("5", "--name", "ear")
	assert.Regexp(t, `^ID +NAME +VIA\n\d+ +ear +http\n$`, s.run("", "members", "5").out)
	assert.Regexp(t, `^{"count":1,"members":\[{"id":\d+,"name":"ear","via":"http"}\]}\n$`, s.run("", "members", "5", "--json").out)
	names := s.run("", "__complete", "send", "5", "")
	assert.True(t, strings.HasPrefix(names.out, "ear\n"), names.out)
	channels := s.run("", "__complete", "join", "")
	assert.True(t, strings.HasPrefix(channels.out, "5\n"), channels.out)
	kicked := s.run("", "kick", "5", "ear")
	assert.Zero(t, kicked.code, kicked.err)
	assert.Regexp(t, `^\d+ has left channel 5\n$`, kicked.out)
	gone := s.run("", "kick", "5", "nobody")
	assert.Equal(t, exitError, gone.code)
}

// A JSON object as an argument is one on a stream, other text is text.
func TestJSONIsSaidAsJSON(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	for said, want := range map[string]string{`{"on":true}`: `{"on":true}`, ` [1]`: `[1]`, `{"on"`: `"{\"on\""`, "17": `"17"`, `"x"`: `"\"x\""`} {
		s.run("", "broadcast", "7", said)
		heard := s.run("", "join", "7", "--since", "all", "-W", "0.3", "--json")
		assert.Contains(t, heard.out, `"message":`+want+"}", said)
	}
}

// A short token is of the sender that is named, and holds for what was asked.
func TestATokenForAPage(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	token := strings.TrimSpace(s.run("", "token", "5", "--name", "wall").out)
	require.Regexp(t, `^wtp_\S+$`, token)
	status, answer := s.post("/broadcast", `{"channels":[5],"message":"x"}`, "Authorization", "Bearer "+token)
	assert.Equal(t, 403, status, answer)
	got := s.run("", "token", "5,6", "--name", "wall", "--speak", "--ttl", "1h", "--json")
	assert.Regexp(t, `^{"token":"wtp_[^"]+","expires":"[^"]+","scope":"hear\+speak","channels":\[5,6\]}\n$`, got.out, got.err)
	long := s.run("", "token", "5", "--ttl", "48h")
	assert.Equal(t, exitError, long.code)
	assert.Contains(t, long.err, "86400")
	assert.Equal(t, exitUsage, s.run("", "token", "5", "--ttl", "1ms").code)
}

// A gateway's two URLs are one to who speaks by them: a name has one token.
func TestAContextByAnotherURL(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	added := s.run(s.file("secret.key"), "context", "add", "home", strings.Replace(s.file("gateway.url"), "127.0.0.1", "localhost", 1), "--secret-key-file", "-")
	require.Zero(t, added.code, added.err)
	says := func(args ...string) map[string]bool {
		got := s.run("", append(args, "broadcast", "5", "hi")...)
		require.Zero(t, got.code, got.err)
		all, err := readIdentities(s.dataDir())
		require.NoError(t, err)
		tokens := map[string]bool{}
		for _, names := range all {
			for _, id := range names {
				tokens[id.Token] = true
			}
		}
		require.Len(t, tokens, 1, "%v: %v", args, all)
		return tokens
	}
	says()
	first := says("-c", "home")
	heard := s.follows("5", "-C", "4")
	for range 2 {
		assert.Equal(t, first, says(), "nothing is registered anew")
		assert.Equal(t, first, says("-c", "home"))
	}
	lines := all(heard)
	require.Len(t, lines, 4, "nothing ended its stream")
	for _, line := range lines {
		assert.Contains(t, line, ": hi")
	}
}

func TestContexts(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	url, key := s.file("gateway.url"), s.file("gateway.key")
	away := t.TempDir() // another machine: there is no data directory
	elsewhere := func(in string, args ...string) ran {
		var out, err bytes.Buffer
		cmd := exec.Command(s.command().Path, args...)
		cmd.Env = environ(away)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &err
		_ = cmd.Run() // the exit code says it
		return ran{cmd.ProcessState.ExitCode(), out.String(), err.String()}
	}
	got := elsewhere("", "context", "list")
	assert.Contains(t, got.err, "there are no contexts")
	got = elsewhere(key+"\n", "context", "add", "home", url+"/", "--secret-key-file", "-", "--name", "traveller")
	require.Zero(t, got.code, got.err)
	assert.Equal(t, fmt.Sprintf("watchtower -c home … is %s\n", url), got.out)
	info, err := os.Stat(filepath.Join(away, ".config", contextsFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	got = elsewhere("", "-c", "home", "broadcast", "5", "hi")
	assert.Zero(t, got.code, got.err)
	got = elsewhere("", "context", "list", "--json")
	assert.JSONEq(t, fmt.Sprintf(`{"contexts":[{"context":"home","url":%q,"name":"traveller"}]}`, url), got.out)
	for _, words := range [][]string{{"-c", ""}, {"members", "5", "-c", ""}, {"context", "remove", ""}} {
		completed := elsewhere("", append([]string{"__complete"}, words...)...)
		assert.True(t, strings.HasPrefix(completed.out, "home\n"), "%v: %s", words, completed.out)
	}
	assert.NotContains(t, got.out, key)

	made := s.run("", "register", "--name", "walker", "--json")
	token := strings.Split(strings.Split(made.out, `"token":"`)[1], `"`)[0]
	got = elsewhere("", "broadcast", "5", "hi", "--url", url, "--token", token)
	require.Zero(t, got.code, got.err)
	heard := s.run("", "join", "5", "--since", "all", "-C", "2", "-W", "10", "--format", "%n")
	assert.Equal(t, "traveller\nwalker\n", heard.out)
	got = elsewhere("", "broadcast", "5", "hi", "--url", url, "--token", token+"x")
	assert.Equal(t, exitError, got.code)

	got = elsewhere("", "-c", "hom", "join", "5")
	assert.Equal(t, ran{exitError, "", "watchtower: there is no context hom, there are home\n"}, got)
	assert.Zero(t, elsewhere("", "context", "remove", "home").code)
	assert.Equal(t, exitError, elsewhere("", "context", "remove", "home").code)
	got = elsewhere("", "channels", "--url", url, "--secret-key-file", "-")
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.err, "--secret-key-file: standard input has no secret in its first line")
	got = elsewhere("", "channels", "--url", url, "--secret-key-file", filepath.Join(away, "none"))
	assert.Equal(t, exitError, got.code)
	assert.Contains(t, got.err, "--secret-key-file: open")
}

func TestChat(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	require.Zero(t, s.run("", "broadcast", "5", "--name", "kitchen", "early").code)
	in, out := s.follows("5", "--name", "ear", "-C", "2", "--format", "'%n %p'"), s.run("hello\nand \x1b[2J\n", "chat", "5", "--name", "anna")
	assert.Zero(t, out.code, out.err)
	early := regexp.MustCompile(`^\d\d:\d\d kitchen: early\n`)
	for began := time.Now(); !early.MatchString(out.out); { // its input may end before what was said has come
		require.Less(t, time.Since(began), patient, out.out)
		out = s.run("again\n", "chat", "5", "--name", "anna")
	}
	assert.Equal(t, []string{"anna hello", "anna and \x1b[2J"}, all(in))
}

func TestVersion(t *testing.T) {
	t.Parallel()
	code, out, _ := program(t, "version")
	assert.Zero(t, code)
	assert.Regexp(t, `^watchtower \S+ \(commit \w+.*, go\S+ \w+/\w+\)\n$`, out)
	code, out, _ = program(t, "version", "--json")
	assert.Zero(t, code)
	assert.Regexp(t, `^{"changed":\w+,"commit":"\w+","go":"go.*","module":".*","platform":"\w+/\w+","version":".*"}\n$`, out)
}
