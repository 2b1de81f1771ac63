package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const secretKey = "a key of the attacked gateway"

// target is the gateway that is attacked: a process of its own on ports of its
// own, with nothing configured but those and its key.
type target struct {
	http, mqtt, wire string // host:port; TCP and UDP have the same
	cmd              *exec.Cmd
	dir              string
}

func startGateway(ctx context.Context, program string) (*target, error) {
	if err := raiseDescriptors(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "attack")
	if err != nil {
		return nil, err
	}
	g := &target{dir: dir}
	for _, at := range []*string{&g.http, &g.mqtt, &g.wire} {
		if *at, err = freePort(); err != nil {
			return nil, err
		}
	}
	g.cmd = exec.Command(program, "--data-dir", dir, "--secret-key", secretKey, "--log-level", "error",
		"--http", g.http, "--mqtt", g.mqtt, "--tcp", g.wire, "--udp", g.wire)
	g.cmd.Stderr = os.Stderr
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		resp, err := http.Get("http://" + g.http + "/readyz")
		if err == nil {
			return g, resp.Body.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	g.stop()
	return nil, errors.New("the gateway does not answer")
}

func (g *target) stop() {
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

// freePort returns a port of 127.0.0.1 that is free for TCP just now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// memory reads a line of /proc/PID/status, in bytes.
func (g *target) memory(line string) (bytes uint64) {
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

func (g *target) resident() uint64 { return g.memory("VmRSS") }
func (g *target) peak() uint64     { return g.memory("VmHWM") }

// register registers a sender over HTTP.
func (g *target) register() (id uint32, token string, err error) {
	body, err := json.Marshal(map[string]string{"secret_key": secretKey})
	if err != nil {
		return 0, "", err
	}
	resp, err := http.Post("http://"+g.http+"/register", "application/json", bytes.NewReader(body))
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

// from is a dialer from one of the addresses of this machine's loopback network:
// the nth of those that attack. 127.0.0.1 is the device's.
func from(n int) *net.Dialer {
	return &net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 66, byte(n%200+1))},
		Timeout:   5 * time.Second,
	}
}
