package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Mosquitto is a real mosquitto, as a process: a broker that is not the gateway's. StartBroker has
// another one in its place.
type Mosquitto struct {
	testing.TB
	Address string // host:port
	Dir     string // of its files
	lines   string
	command func(host, port string) *exec.Cmd // nil: mosquitto's
	process *exec.Cmd
}

// StartMosquitto starts a broker, which ends with the test. Lines are its configuration, besides
// where it listens.
func StartMosquitto(t testing.TB, lines string) *Mosquitto {
	t.Helper()
	m := &Mosquitto{TB: t, Address: FreeAddress(t), Dir: t.TempDir(), lines: lines}
	m.Start()
	t.Cleanup(func() { m.Kill() })
	return m
}

// StartBroker starts another broker by a command, whose files are in dir.
func StartBroker(t testing.TB, command func(host, port, dir string) *exec.Cmd) *Mosquitto {
	t.Helper()
	m := &Mosquitto{TB: t, Address: FreeAddress(t), Dir: t.TempDir()}
	m.command = func(host, port string) *exec.Cmd { return command(host, port, m.Dir) }
	m.Start()
	t.Cleanup(func() { m.Kill() })
	return m
}

// StartAedes starts an aedes, which speaks MQTT 3.1.1 only. It forgets all at its end.
func StartAedes(t testing.TB) *Mosquitto {
	t.Helper()
	return StartBroker(t, func(host, port, _ string) *exec.Cmd {
		return exec.Command("node", installed(t, "testdata/node/broker.js"), host, port)
	})
}

// URL is the setting mqtt.remote.url.
func (m *Mosquitto) URL() string { return "mqtt://" + m.Address }

// File writes a file of the broker's, and returns its path.
func (m *Mosquitto) File(name, text string) string {
	path := filepath.Join(m.Dir, name)
	require.NoError(m, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Configure changes its configuration from the next start on.
func (m *Mosquitto) Configure(lines string) { m.lines = lines }

// Start starts it, and waits until it listens.
func (m *Mosquitto) Start() {
	m.Helper()
	host, port, err := net.SplitHostPort(m.Address)
	require.NoError(m, err)
	if m.command == nil {
		m.command = m.mosquitto
	}
	m.process = m.command(host, port)
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := os.OpenFile(filepath.Join(m.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // mosquitto's own log, too
	require.NoError(m, err)
	defer func() { _ = said.Close() }()
	m.process.Stdout, m.process.Stderr = said, said
	require.NoError(m, m.process.Start())
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", m.Address)
		if err == nil {
			_ = c.Close()
			return
		}
		log, _ := os.ReadFile(filepath.Join(m.Dir, "log"))
		require.True(m, time.Now().Before(until), "the broker does not listen (make setup installs it, or make setup-long): %v\n%s", err, log)
	}
}

func (m *Mosquitto) mosquitto(host, port string) *exec.Cmd {
	file := m.File("mosquitto.conf", fmt.Sprintf("listener %s %s\nuser root\nlog_dest file %s\n%s\n", port, host, filepath.Join(m.Dir, "log"), m.lines))
	return exec.Command("/usr/sbin/mosquitto", "-c", file)
}

// Signal sends it a signal.
func (m *Mosquitto) Signal(s syscall.Signal) { require.NoError(m, m.process.Process.Signal(s)) }

// Kill ends it at once.
func (m *Mosquitto) Kill() { m.end(syscall.SIGKILL) }

// Stop has it end by itself, so that it writes its database.
func (m *Mosquitto) Stop() { m.end(syscall.SIGTERM) }

func (m *Mosquitto) end(s syscall.Signal) {
	if m.process != nil {
		_ = m.process.Process.Signal(s)
		_ = m.process.Wait()
		m.process = nil
	}
}
