package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"watchtower/bench/target"
)

// mosquitto starts a broker on a port of its own, and returns its process id. As another user than this process it would outlive it.
func mosquitto() (address string, pid int, stop func(), err error) {
	if address, err = target.FreePort(); err != nil {
		return "", 0, nil, err
	}
	dir, err := os.MkdirTemp("", "watchtower-bench")
	if err != nil {
		return "", 0, nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, nil, err
	}
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte("user root\nlistener "+port+" "+host+"\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n"), 0o600); err != nil {
		return "", 0, nil, err
	}
	cmd := exec.Command("/usr/sbin/mosquitto", "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = os.RemoveAll(dir) }
	for range 100 {
		if c, err := net.Dial("tcp", address); err == nil {
			return address, cmd.Process.Pid, stop, c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", 0, nil, fmt.Errorf("mosquitto does not listen on %s", address)
}
