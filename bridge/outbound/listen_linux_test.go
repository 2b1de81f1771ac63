package outbound

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// option returns an option of a connection's socket.
func option(t *testing.T, nc net.Conn, level, name int) (value int) {
	Control(nc, func(fd uintptr) {
		var err error
		value, err = unix.GetsockoptInt(int(fd), level, name)
		require.NoError(t, err)
	})
	return value
}

// What package net and EndStuck would set for each connection, the system does.
func TestAConnectionHasTheOptionsOfItsListener(t *testing.T) {
	l, err := Listen("127.0.0.1:0", 7*time.Second)
	require.NoError(t, err)
	defer l.Close()
	usual, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer usual.Close()
	accepted := func(l net.Listener) net.Conn {
		peer, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { peer.Close() })
		nc, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	ours, nets := accepted(l), accepted(usual)
	EndStuck(nets, 7*time.Second)
	for name, o := range map[string][2]int{
		"keepalive":           {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		"keepalive, idle":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		"keepalive, interval": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		"keepalive, count":    {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		"user timeout":        {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		"no delay":            {unix.IPPROTO_TCP, unix.TCP_NODELAY},
	} {
		assert.Equal(t, option(t, nets, o[0], o[1]), option(t, ours, o[0], o[1]), name)
	}
	assert.Equal(t, 7000, option(t, ours, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT))
	assert.Equal(t, 1, option(t, ours, unix.SOL_SOCKET, unix.SO_KEEPALIVE))
}
