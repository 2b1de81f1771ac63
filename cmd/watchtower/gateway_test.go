package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

const (
	patient = 15 * time.Second // longest that a test waits for something that has to happen
	lenient = time.Minute      // the same where several programs start, for a machine that is busy
)

// served is the program itself, serving in a process of its own.
type served struct {
	t      *testing.T
	home   string
	cmd    *exec.Cmd
	banner string
	log    *safeBuffer
	once   sync.Once
	ended  error
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var anyPort = []string{"--http", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"}

// serveProgram starts the program, and returns once it has said what to try.
func serveProgram(t *testing.T, home string, args ...string) *served {
	t.Helper()
	s := &served{t: t, home: home, log: &safeBuffer{}}
	s.cmd = s.command(args...)
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	s.cmd.Stderr = s.log
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	in := bufio.NewReader(out)
	for strings.Count(s.banner, "\n\n") < 4 { // title, listeners, what to try, the commands
		line, err := in.ReadString('\n')
		s.banner += line
		require.NoError(t, err, "%s%s", s.banner, s.log)
	}
	return s
}

// command is the program with its home in a directory of the test's.
func (s *served) command(args ...string) *exec.Cmd {
	cmd := exec.Command(harness.Program(s.t, "cmd/watchtower"), args...)
	cmd.Env = append(environ(s.home), "PATH="+os.Getenv("PATH"))
	return cmd
}

// end sends a signal, and returns the exit code.
func (s *served) end(sig syscall.Signal) int {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(sig)
		s.ended = s.cmd.Wait()
	})
	return s.cmd.ProcessState.ExitCode()
}

func (s *served) dataDir() string { return filepath.Join(s.home, ".local/state/watchtower") }

func (s *served) file(name string) string {
	b, err := os.ReadFile(filepath.Join(s.dataDir(), name))
	require.NoError(s.t, err)
	return strings.TrimSpace(string(b))
}

// post posts JSON to the gateway.
func (s *served) post(path, body string, header ...string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest("POST", s.file("gateway.url")+path, strings.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return res.StatusCode, string(b)
}

// shell runs a command as it was copied, and gives its output line by line.
func (s *served) shell(command string) <-chan string {
	s.t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = append(environ(s.home), "PATH="+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(s.t, cmd.Start())
	lines := make(chan string, 1000)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			lines <- in.Text()
		}
	})
	s.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		reading.Wait()
		_ = cmd.Wait()
	})
	return lines
}

// expect reads lines until one has the text.
func expect(t *testing.T, lines <-chan string, text string) {
	t.Helper()
	limit := time.After(patient)
	var got []string
	for {
		select {
		case line, ok := <-lines:
			if strings.Contains(line, text) {
				return
			}
			require.True(t, ok, "it ended without %q: %q", text, got)
			got = append(got, line)
		case <-limit:
			require.Fail(t, "no "+text, "%q", got)
		}
	}
}

var tried = regexp.MustCompile(`(?m)^  (\S.*)$`)

// commands are those that the banner says to try.
func (s *served) commands() []string {
	_, try, _ := strings.Cut(s.banner, "another terminal")
	var out []string
	for _, m := range tried.FindAllStringSubmatch(try, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestFirstStartSaysWhatWorks(t *testing.T) {
	for _, path := range []string{"mosquitto_sub", "curl"} {
		_, err := exec.LookPath(path)
		require.NoError(t, err, "%s is missing: make setup installs it", path)
	}
	for name, args := range map[string][]string{
		"fresh":              nil,
		"open":               {"--open"},
		"with a key":         {"--secret-key", `it's "odd" $HOME \ key`},
		"another directory":  {"--data-dir", "odd dir's"},
		"another base topic": {"--mqtt-base-topic", "home/tower"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			args := slices.Clone(args)
			if i := slices.Index(args, "odd dir's"); i >= 0 {
				args[i] = filepath.Join(home, args[i])
			}
			s := serveProgram(t, home, append(slices.Clone(anyPort), args...)...)
			commands := s.commands()
			require.Len(t, commands, 3, s.banner)
			if name == "fresh" {
				assert.Contains(t, s.banner, s.file("secret.key"))
				info, err := os.Stat(filepath.Join(s.dataDir(), "secret.key"))
				require.NoError(t, err)
				assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			}
			sub, follow := s.shell(commands[0]), s.shell(commands[1])
			// Both have joined when a broadcast reaches both; until then say it again.
			done := make(chan struct{})
			go func() {
				defer close(done)
				expect(t, sub, "hello")
				expect(t, follow, `"message":"hello"`)
			}()
			require.Eventually(t, func() bool {
				out := s.shell(commands[2])
				for line := range out {
					assert.Contains(t, line, "sent ")
				}
				select {
				case <-done:
					return true
				case <-time.After(50 * time.Millisecond):
					return false
				}
			}, patient, time.Millisecond)
			assert.Zero(t, s.end(syscall.SIGTERM), s.log.String())
		})
	}
}

func TestALaterStartHidesTheKey(t *testing.T) {
	home := t.TempDir()
	s := serveProgram(t, home, anyPort...)
	key := s.file("secret.key")
	require.Zero(t, s.end(syscall.SIGINT))
	assert.NotContains(t, s.log.String(), key)
	again := serveProgram(t, home, anyPort...)
	assert.NotContains(t, again.banner, key)
	assert.Equal(t, key, again.file("gateway.key"))
}

func TestATakenPort(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	for i, protocol := range []string{"http", "udp", "tcp", "mqtt"} {
		addr := tcp.Addr().String()
		if protocol == "udp" {
			addr = udp.LocalAddr().String()
		}
		args := slices.Clone(anyPort)
		args[2*i+1] = addr
		code, out, err := program(t, args...)
		assert.Equal(t, exitError, code)
		assert.Empty(t, out)
		assert.Contains(t, err, addr)
		assert.Contains(t, err, protocol+".listen")
		assert.Contains(t, err, "--"+protocol+" HOST:PORT")
		assert.Contains(t, err, "--"+protocol+` ""`)
		assert.Equal(t, 1, strings.Count(strings.TrimSpace(err), "\n")+1-strings.Count(err, "level="), err)

		file := filepath.Join(t.TempDir(), "gateway.yaml")
		require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf("%s: {listen: %q}\n", protocol, addr)), 0o600))
		args = append(slices.Clone(anyPort[:2*i]), anyPort[2*i+2:]...)
		code, _, err = program(t, append(args, "--config", file)...)
		assert.Equal(t, exitError, code)
		assert.Contains(t, err, fmt.Sprintf("%s.listen: cannot listen on %s: it is in use", protocol, addr))
		assert.Regexp(t, fmt.Sprintf(`In %s give \S+ another port, as in %s: {listen: "127\.0\.0\.1:\d+"}, or turn it off by listen: ""`, regexp.QuoteMeta(file), protocol), err)
		assert.NotContains(t, err, "--"+protocol, "a service has no flags")
	}
}

func TestTwoGatewaysInOneDirectory(t *testing.T) {
	s := serveProgram(t, t.TempDir(), anyPort...)
	out, err := s.command(anyPort...).CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "another gateway")
	assert.NotEmpty(t, s.file("gateway.url"), "the first one's files stay")
}

func TestStoppingWithEverythingOpen(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--open", "--allow-callbacks", "127.0.0.1")...)
	hung := make(chan struct{}, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		hung <- struct{}{}
		<-r.Context().Done()
	}))
	defer receiver.Close()
	_, body := s.post("/register", "")
	var who struct{ ID uint32 }
	require.NoError(t, json.Unmarshal([]byte(body), &who))
	status, answer := s.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":%q}`, who.ID, receiver.URL))
	require.Equal(t, 200, status, answer)
	follow := s.shell(fmt.Sprintf("curl -sN '%s/channels/join?channels=5&sender=%d'; echo ended with $?", s.file("gateway.url"), who.ID))
	var idle []net.Conn
	for _, what := range []string{"TCP", "MQTT"} {
		addr := regexp.MustCompile(`(?m)^  ` + what + ` +(?:mqtt://)?(\S+)$`).FindStringSubmatch(s.banner)
		require.NotNil(t, addr, s.banner)
		conn, err := net.Dial("tcp", addr[1])
		require.NoError(t, err)
		idle = append(idle, conn)
	}
	expect(t, follow, "") // the first heartbeat: it has joined
	for range 3 {
		s.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"x"}`, who.ID))
	}
	expect(t, follow, `"message":"x"`)
	<-hung
	begin := time.Now()
	assert.Zero(t, s.end(syscall.SIGTERM), s.log.String())
	assert.Less(t, time.Since(begin), 10*time.Second)
	assert.Equal(t, 1, strings.Count(s.log.String(), "stopping"), "said once: %s", s.log)
	expect(t, follow, "ended with 0")
	for _, conn := range idle {
		conn.Close()
	}
	_, err := os.Stat(filepath.Join(s.dataDir(), "gateway.url"))
	assert.True(t, os.IsNotExist(err), "it leaves no word of itself")
}

// What was answered survives kill -9: ids, names, tokens, callbacks.
func TestKill9(t *testing.T) {
	home := t.TempDir()
	got := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}))
	defer receiver.Close()
	args := append(slices.Clone(anyPort), "--open", "--allow-callbacks", "127.0.0.1")
	type sender struct {
		ID    uint32
		Token string
	}
	var all []sender
	for round := range 5 {
		s := serveProgram(t, home, args...)
		for i, old := range all { // everything that was ever answered still holds
			status, body := s.post("/register", fmt.Sprintf(`{"name":"page%d"}`, i), "Authorization", "Bearer "+old.Token)
			require.Equal(t, 200, status, body)
			var now sender
			require.NoError(t, json.Unmarshal([]byte(body), &now))
			require.Equal(t, old.ID, now.ID)
			all[i].Token = now.Token
		}
		if round > 0 {
			first := all[0]
			status, body := s.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"round %d"}`, first.ID, round), "Authorization", "Bearer "+first.Token)
			require.Equal(t, 200, status, body)
			for seen := false; !seen; {
				select {
				case m := <-got:
					seen = strings.Contains(m, fmt.Sprintf("round %d", round))
				case <-time.After(patient):
					require.Fail(t, "the callback is forgotten")
				}
			}
		}
		for range 3 {
			status, body := s.post("/register", fmt.Sprintf(`{"name":"page%d","protected":true}`, len(all)))
			require.Equal(t, 200, status, body)
			var one sender
			require.NoError(t, json.Unmarshal([]byte(body), &one))
			all = append(all, one)
		}
		if round == 0 {
			status, body := s.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":%q}`, all[0].ID, receiver.URL), "Authorization", "Bearer "+all[0].Token)
			require.Equal(t, 200, status, body)
		}
		s.end(syscall.SIGKILL)
	}
}

func TestLogSettings(t *testing.T) {
	s := serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--log-level", "debug", "--log-format", "json")...)
	s.post("/register", "")
	require.Zero(t, s.end(syscall.SIGTERM))
	debug := false
	for line := range strings.Lines(s.log.String()) {
		var event struct{ Level, Msg string }
		require.NoError(t, json.Unmarshal([]byte(line), &event), line)
		debug = debug || event.Level == "debug"
	}
	assert.True(t, debug, s.log.String())
	quiet := serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--log-level", "error")...)
	require.Zero(t, quiet.end(syscall.SIGTERM))
	assert.Empty(t, quiet.log.String())
}
