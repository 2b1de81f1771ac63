package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// goScript stands for Go in a reader's shell: what the pages let it build has been built.
const goScript = `#!/bin/sh
bin=$(dirname "$0")
case "$1 $2 $3 $4" in
"run ./"*) name=$(basename "$2"); shift 2; exec "$bin/$name" "$@" ;;
"build ./cmd/watchtower  ") exec ln -sf "$bin/watchtower" watchtower ;;
"build -o "*) exec ln -sf "$bin/watchtower" "$3" ;;
esac
echo "go $*: the test does not know it" >&2
exit 1
`

// reader is somebody in a clone of the project who types what a page says, with a home and a
// gateway of their own, at the usual ports.
type reader struct {
	t       *testing.T
	page    string
	bin     string // what is built
	folder  string // the clone
	home    string
	gateway *typing
	staying []*typing
	hearing []*typing // of these, those that hear all that is said
}

// typing is a command that has been typed.
type typing struct {
	code  string
	cmd   *exec.Cmd
	said  *safeBuffer
	ended chan struct{}
	once  sync.Once
}

// What the process is told that reads a page.
const (
	builtAt = "WATCHTOWER_TEST_BUILT" // the folder of what is built
	readAt  = "WATCHTOWER_TEST_PAGE"
)

// The commands of every page do what it says, one after the other, in a clone of the project. Each
// page has a network of its own, where the usual ports are free.
func TestEveryCommandOfThePages(t *testing.T) {
	t.Parallel()
	if harness.Unshared() {
		page := pageOf(t, os.Getenv(readAt))
		t.Run(page.path, func(t *testing.T) { newReader(t, page.path, os.Getenv(builtAt)).reads(page) })
		return
	}
	bin, commands := builds(t), 0
	for _, page := range pages(t) {
		n := page.runs()
		if n == 0 {
			continue
		}
		commands += n
		t.Run(page.path, func(t *testing.T) {
			t.Parallel()
			harness.Unshare(t, nil, builtAt+"="+bin, readAt+"="+page.path)
		})
	}
	assert.Greater(t, commands, 40)
}

// builds returns a folder with what a reader of the pages builds, and what stands for Go.
func builds(t *testing.T) (bin string) {
	bin = t.TempDir()
	require.NoError(t, os.Symlink(harness.Program(t, "cmd/watchtower"), filepath.Join(bin, "watchtower")))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(goScript), 0o700))
	for _, path := range []string{"examples/device", "examples/callback", "examples/garden"} {
		require.NoError(t, os.Symlink(harness.Program(t, path), filepath.Join(bin, filepath.Base(path))))
	}
	return bin
}

func newReader(t *testing.T, page, bin string) *reader {
	r := &reader{t: t, page: page, bin: bin, folder: t.TempDir(), home: t.TempDir()}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	for _, name := range []string{"cmd", "examples", "arduino", "sdk", "docs"} {
		require.NoError(t, os.Symlink(filepath.Join(root, name), filepath.Join(r.folder, name)))
	}
	require.NoError(t, os.Symlink(filepath.Join(bin, "watchtower"), filepath.Join(r.folder, "watchtower"))) // as the README has it
	t.Cleanup(r.ends)
	return r
}

// reads types all that the page says.
func (r *reader) reads(page pageAt) {
	r.starts("watchtower")
	for _, f := range page.fences {
		if name := fileOf(f); name != "" {
			file := filepath.Join(r.folder, name)
			require.NoError(r.t, os.MkdirAll(filepath.Dir(file), 0o700))
			require.NoError(r.t, os.WriteFile(file, []byte(f.code), 0o600))
		}
		if !f.runs() {
			continue
		}
		switch f.word {
		case "gateway":
			r.starts(f.code)
		case "stays", "hears":
			c := r.stays(f.code)
			if f.word == "hears" {
				r.hearing = append(r.hearing, c)
			}
		default:
			c := r.types(f.code)
			c.waits(r.t)
			require.Zero(r.t, c.cmd.ProcessState.ExitCode(), "%s:%d: %s%s", r.page, f.line, f.code, c.said)
			r.isHeard(f.code)
		}
	}
	r.leavesNothing()
}

// leavesNothing checks that git status shows nothing new in a clone where the page was followed.
func (r *reader) leavesNothing() {
	left, err := os.ReadDir(r.folder)
	require.NoError(r.t, err)
	for _, file := range left {
		if file.Type() != os.ModeSymlink || file.Name() == "watchtower" {
			assert.NoError(r.t, exec.Command("git", "-C", "../..", "check-ignore", "-q", "--no-index", file.Name()).Run(), ".gitignore does not know %s", file.Name())
		}
	}
}

// types types a command.
func (r *reader) types(code string) *typing {
	c := &typing{code: code, cmd: exec.Command("sh", "-e", "-c", code), said: &safeBuffer{}, ended: make(chan struct{})}
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = r.folder, c.said, c.said
	c.cmd.Env = append(environ(r.home), "PATH="+r.bin+":"+os.Getenv("PATH"), "WATCHTOWER_MDNS=false")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.WaitDelay = lenient
	require.NoError(r.t, c.cmd.Start())
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // the exit code says it
	}()
	return c
}

// waits waits until the command has ended.
func (c *typing) waits(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(lenient):
		c.stops()
		require.Fail(t, "it does not end", "%s%s", c.code, c.said)
	}
}

// stops is Ctrl-C.
func (c *typing) stops() {
	c.once.Do(func() {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGINT)
		select {
		case <-c.ended:
		case <-time.After(lenient):
			_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
			<-c.ended
		}
	})
}

// until waits for a condition while the command runs.
func (c *typing) until(t *testing.T, what string, met func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		select {
		case <-c.ended:
			return true
		default:
			return met()
		}
	}, lenient, 10*time.Millisecond, "%s: %s%s", what, c.code, c.said)
	require.True(t, met(), "it has ended, and %s: %s%s", what, c.code, c.said)
}

// starts starts a gateway, after the one before.
func (r *reader) starts(code string) {
	r.ends()
	r.gateway = r.types("exec " + code) // no shell that dies of Ctrl-C
	r.gateway.until(r.t, "does not serve", func() bool { return strings.Contains(r.gateway.said.String(), "msg=serving") })
}

// said is what a command says.
var said = regexp.MustCompile(`(?:broadcast 5|send 5 \w+|-m) (?:"([^"]+)"|'([^']+)'|([^-\s]\S*))`)

// isHeard waits until all who hear have heard what a command has said.
func (r *reader) isHeard(code string) {
	for _, m := range said.FindAllStringSubmatch(code, -1) {
		text := m[1] + m[2] + m[3]
		for _, c := range r.hearing {
			c.until(r.t, "does not hear "+text, func() bool { return strings.Contains(c.said.String(), text) })
		}
	}
}

// stays types a command that stays, and waits until it has joined a channel.
func (r *reader) stays(code string) *typing {
	before := r.memberships()
	c := r.types(code)
	r.staying = append(r.staying, c)
	c.until(r.t, "has not joined", func() bool { return r.memberships() > before })
	return c
}

var joined = regexp.MustCompile(`(?m)^watchtower_members\{.*\} (\d+)$`)

// memberships counts what holds senders on channels.
func (r *reader) memberships() (n int) {
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", "http://localhost:8080/metrics", nil)
	require.NoError(r.t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	for _, m := range joined.FindAllStringSubmatch(string(b), -1) {
		one, err := strconv.Atoi(m[1])
		require.NoError(r.t, err)
		n += one
	}
	return n
}

// ends stops everything that still runs. What stays has not ended before.
func (r *reader) ends() {
	for _, c := range r.staying {
		select {
		case <-c.ended:
			assert.Fail(r.t, "it has ended", "%s: %s%s", r.page, c.code, c.said)
		default:
		}
		c.stops()
	}
	r.staying, r.hearing = nil, nil
	if r.gateway != nil {
		r.gateway.stops()
		assert.Zero(r.t, r.gateway.cmd.ProcessState.ExitCode(), "%s: %s", r.page, r.gateway.said)
		r.gateway = nil
	}
}

// A device finds its way back after the gateway was killed.
func TestTheDeviceExampleOutlivesTheGateway(t *testing.T) {
	bin := harness.Program(t, "examples/device")
	home := t.TempDir()
	s := serveProgram(t, home, append(slices.Clone(anyPort), "--open")...)
	udp := regexp.MustCompile(`(?m)^  UDP +(\S+)$`).FindStringSubmatch(s.banner)[1]
	device := s.shell(bin + " -ping 100ms -gateway " + udp)
	expect(t, device, "hello from a device")
	s.end(syscall.SIGKILL)
	args := slices.Clone(anyPort)
	args[3] = udp
	again := serveProgram(t, home, append(args, "--open")...)
	expect(t, device, "on channel 5") // I am … on channel 5
	for range again.shell(again.command().Path + " broadcast 5 'welcome back'") {
	}
	expect(t, device, "welcome back")
}
