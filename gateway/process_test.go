package gateway_test

import (
	"bytes"
	"fmt"
	nethttp "net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// process is the real program in a process of its own, which can be killed.
type process struct {
	t          testing.TB
	path       string
	dir        string
	args       []string // besides
	key        string   // the secret key; empty: the one in its directory
	change     func(*exec.Cmd)
	http, mqtt string
	cmd        *exec.Cmd
	out        *syncBuffer
	started    time.Duration // how long the last start took, to the first answer
}

// newProcess finds two free ports, which stay the same over every start.
func newProcess(t testing.TB) *process {
	t.Helper()
	p := &process{t: t, path: harness.Program(t, "cmd/watchtower"), dir: t.TempDir(), key: key}
	for _, at := range []*string{&p.http, &p.mqtt} {
		*at = harness.FreeAddress(t)
	}
	t.Cleanup(p.kill)
	return p
}

// command is the program as it is started.
func (p *process) command() *exec.Cmd {
	args := []string{"--data-dir", p.dir, "--http", p.http, "--mqtt", p.mqtt, "--udp", "", "--tcp", ""}
	if p.key != "" {
		args = append(args, "--secret-key", p.key)
	}
	cmd := exec.Command(p.path, append(args, p.args...)...)
	if p.change != nil {
		p.change(cmd)
	}
	return cmd
}

// start starts the program, and returns once it answers.
func (p *process) start() {
	p.t.Helper()
	p.out = &syncBuffer{}
	p.cmd = p.command()
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	began := time.Now()
	require.NoError(p.t, p.cmd.Start())
	for {
		resp, err := nethttp.Get("http://" + p.http + "/healthz")
		if err == nil {
			resp.Body.Close()
			p.started = time.Since(began)
			return
		}
		require.Less(p.t, time.Since(began), lenient, "it does not answer: %s", p.out)
		time.Sleep(2 * time.Millisecond)
	}
}

// says waits until the program has logged the text. Its output comes through a pipe, later
// than its answers.
func (p *process) says(text string) {
	p.t.Helper()
	eventually(p.t, "it says "+text, func() bool { return strings.Contains(p.out.String(), text) })
}

// kill ends it by SIGKILL.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// cpu is the processor time that the process has used.
func (p *process) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var user, system int64
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	require.NoError(p.t, err)
	return time.Duration(user+system) * 10 * time.Millisecond // a tick is 1/100 s
}
