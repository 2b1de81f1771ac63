package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// NATS are real NATS servers with JetStream, one or a cluster, as processes.
type NATS struct {
	testing.TB
	servers []*natsServer
	more    string // configuration of each server
}

type natsServer struct {
	name, client, route, dir string
	machine                  string // a namespace of networks; empty: this one
	process                  *exec.Cmd
	log                      *os.File
}

// StartNATS starts servers, which end with the test. More is text for their configuration.
func StartNATS(t testing.TB, servers int, more string) *NATS {
	t.Helper()
	n := &NATS{TB: t, more: more}
	for i := range servers {
		n.servers = append(n.servers, &natsServer{name: fmt.Sprintf("n%d", i), client: FreeAddress(t), route: FreeAddress(t), dir: t.TempDir()})
	}
	n.begin()
	return n
}

// begin starts all servers, which end with the test.
func (n *NATS) begin() {
	n.Helper()
	for i := range n.servers {
		n.Start(i)
	}
	n.Cleanup(func() {
		for i := range n.servers {
			n.Kill(i)
		}
	})
	for i := range n.servers {
		n.Listens(i)
	}
}

// URL is the setting cluster.url for all servers.
func (n *NATS) URL() string {
	var urls []string
	for _, s := range n.servers {
		urls = append(urls, "nats://"+s.client)
	}
	return strings.Join(urls, ",")
}

// Address is where a server listens.
func (n *NATS) Address(i int) string { return n.servers[i].client }

// Start starts a server that was ended. It has the data of before.
func (n *NATS) Start(i int) {
	n.Helper()
	s := n.servers[i]
	var routes []string
	for _, other := range n.servers {
		routes = append(routes, fmt.Sprintf("%q", "nats://"+other.route))
	}
	text := fmt.Sprintf("server_name: %s\nlisten: %s\njetstream: {store_dir: %q}\n%s\n", s.name, s.client, s.dir, n.more)
	if len(n.servers) > 1 {
		text += fmt.Sprintf("cluster: {name: test, listen: %s, routes: [%s], no_advertise: %v}\n", s.route, strings.Join(routes, ", "), s.machine != "")
	}
	file := filepath.Join(s.dir, "nats.conf")
	require.NoError(n, os.WriteFile(file, []byte(text), 0o600))
	var err error
	s.log, err = os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(n, err)
	command := []string{installed(n, "bin/nats-server"), "-c", file}
	if s.machine != "" {
		command = append([]string{"ip", "netns", "exec", s.machine}, command...)
	}
	s.process = exec.Command(command[0], command[1:]...)
	s.process.Stdout, s.process.Stderr = s.log, s.log
	require.NoError(n, s.process.Start())
}

// Listens waits until a server takes connections.
func (n *NATS) Listens(i int) {
	n.Helper()
	s := n.servers[i]
	for end := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", s.client)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			require.FailNow(n, "a NATS server does not listen", "%s", said)
		}
	}
}

// Signal sends a signal to a server: SIGSTOP, SIGCONT. After SIGSTOP it waits until the server stands
// still, which takes a moment on a busy machine.
func (n *NATS) Signal(i int, s syscall.Signal) {
	n.Helper()
	p := n.servers[i].process.Process
	require.NoError(n, p.Signal(s))
	if s == syscall.SIGSTOP && runtime.GOOS == "linux" {
		Eventually(n, func() bool { return stopped(p.Pid) }, "the server is not stopped")
	}
}

// stopped reports whether all threads of a process are stopped (proc_pid_stat(5)).
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // the pattern is right
	for _, file := range threads {
		stat, err := os.ReadFile(file)
		if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return len(threads) > 0
}

// Kill ends a server at once.
func (n *NATS) Kill(i int) { n.end(i, syscall.SIGKILL) }

// Stop ends a server in good order.
func (n *NATS) Stop(i int) { n.end(i, syscall.SIGTERM) }

func (n *NATS) end(i int, how syscall.Signal) {
	s := n.servers[i]
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(how)
	_ = s.process.Wait()
	_ = s.log.Close()
	s.process = nil
}

// installed finds what make setup installs into the project, or a file of it.
func installed(t testing.TB, path string) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for dir != "/" {
		if at := filepath.Join(dir, path); exists(at) {
			return at
		}
		if exists(filepath.Join(dir, "go.mod")) {
			break
		}
		dir = filepath.Dir(dir)
	}
	require.FailNow(t, path+" is missing: make setup installs it")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
