package main

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A service manager is told that the gateway is ready, alive and stopping.
func TestAServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	require.NoError(t, manager.SetReadDeadline(time.Now().Add(patient)))
	told := func() string {
		b := make([]byte, 1024)
		n, err := manager.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	s := &served{t: t, home: t.TempDir(), log: &safeBuffer{}}
	s.cmd = s.command(append([]string{"serve"}, anyPort...)...)
	s.cmd.Env = append(s.cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=300000")
	s.cmd.Stderr = s.log
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	assert.Equal(t, "READY=1", told())
	for range 3 {
		assert.Equal(t, "WATCHDOG=1", told())
	}
	code := make(chan int)
	go func() { code <- s.end(syscall.SIGTERM) }()
	last := told()
	for last == "WATCHDOG=1" {
		last = told()
	}
	assert.Equal(t, "STOPPING=1", last)
	assert.Zero(t, <-code, s.log.String())
}
