// Package target runs a gateway of its own for a measurement, at its default limits
// unless told otherwise, on ports of its own.
package target

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// SecretKey is the secret key of every target.
const SecretKey = "a key of the measured gateway"

// Gateway is a process with nothing configured but its ports and its key.
type Gateway struct {
	HTTP, MQTT, Wire string // host:port; TCP and UDP have the same
	cmd              *exec.Cmd
	dir              string
}

// startTimeout is the longest time until the gateway answers.
const startTimeout = 15 * time.Second

// Start starts a gateway with further arguments, and waits until it answers.
func Start(ctx context.Context, program string, more ...string) (*Gateway, error) {
	if err := raiseDescriptors(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "watchtower-bench")
	if err != nil {
		return nil, err
	}
	g := &Gateway{dir: dir}
	for _, at := range []*string{&g.HTTP, &g.MQTT, &g.Wire} {
		if *at, err = FreePort(); err != nil {
			return nil, err
		}
	}
	g.cmd = exec.Command(program, append([]string{"--data-dir", dir, "--secret-key", SecretKey, "--log-level", "error",
		"--http", g.HTTP, "--mqtt", g.MQTT, "--tcp", g.Wire, "--udp", g.Wire}, more...)...)
	g.cmd.Stderr = os.Stderr
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	for begun := time.Now(); ctx.Err() == nil && time.Since(begun) < startTimeout; {
		resp, err := http.Get("http://" + g.HTTP + "/readyz")
		if err == nil {
			return g, resp.Body.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	g.Stop()
	return nil, errors.New("the gateway does not answer")
}

// Joined waits until the gateway is connected to its foreign broker, which it was given.
func (g *Gateway) Joined(ctx context.Context) error {
	for ctx.Err() == nil {
		resp, err := http.Get("http://" + g.HTTP + "/readyz")
		if err != nil {
			return err
		}
		b, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		if !bytes.Contains(b, []byte("remote_fault")) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the gateway does not connect to its foreign broker")
}

// Stop kills the gateway, and removes its data.
func (g *Gateway) Stop() {
	_ = g.cmd.Process.Kill() // it has ended, or does now
	_ = g.cmd.Wait()
	_ = os.RemoveAll(g.dir)
}

// raiseDescriptors lets this process, and the gateway with it, have as many
// connections as the system allows.
func raiseDescriptors() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	if l.Max < 20_000 {
		return fmt.Errorf("the system allows %d descriptors, and 20,000 are needed: ulimit -Hn", l.Max)
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}

// FreePort returns a port of 127.0.0.1 that is free for TCP just now.
func FreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// PID returns the gateway's process id.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// memory reads a line of /proc/PID/status, in bytes.
func (g *Gateway) memory(line string) (bytes uint64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(b)) {
		var kib uint64
		if _, err := fmt.Sscanf(l, line+": %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// Resident returns the gateway's resident memory in bytes.
func (g *Gateway) Resident() uint64 { return g.memory("VmRSS") }

// Peak returns the most resident memory that the gateway had, in bytes.
func (g *Gateway) Peak() uint64 { return g.memory("VmHWM") }

// Register registers a sender over HTTP.
func (g *Gateway) Register() (id uint32, token string, err error) {
	body, err := json.Marshal(map[string]string{"secret_key": SecretKey})
	if err != nil {
		return 0, "", err
	}
	resp, err := http.Post("http://"+g.HTTP+"/register", "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	var reg struct {
		ID    uint32
		Token string
	}
	if err := json.NewDecoder(resp.Body).Decode(&reg); err != nil {
		return 0, "", fmt.Errorf("registering: %s: %w", resp.Status, err)
	}
	return reg.ID, reg.Token, nil
}
