package remote

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"watchtower/bridge/outbound"
)

// connection has a mark, and the broker's end of it.
type connection struct {
	*mark
	broker net.Conn
	acks   int // that are due
}

func newConnection(t *testing.T) *connection {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	own, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	broker, err := l.Accept()
	require.NoError(t, err)
	m := &connection{broker: broker}
	m.mark = newMark(own, func() int { return m.acks })
	t.Cleanup(func() { m.end(); _ = own.Close(); _ = broker.Close(); _ = l.Close() })
	return m
}

// comes has the broker write so many bytes, and returns once so many wait.
func (m *connection) comes(t *testing.T, bytes, waiting int) {
	_, err := m.broker.Write(make([]byte, bytes))
	require.NoError(t, err)
	require.Eventually(t, func() (there bool) {
		outbound.Control(m.conn, func(fd uintptr) {
			n, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
			there = err == nil && n == waiting
		})
		return there
	}, 10*time.Second, time.Millisecond)
}

// wakes reports whether the reader is woken now.
func (m *connection) wakes() (is bool) {
	outbound.Control(m.conn, func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		is = err == nil && n == 1
	})
	return is
}

func TestAReaderIsWokenForSomeAcknowledgements(t *testing.T) {
	m := newConnection(t)
	m.acks = 20
	m.follow()
	m.comes(t, ackBytes, ackBytes)
	assert.False(t, m.wakes())
	m.comes(t, markMost-ackBytes, markMost)
	assert.True(t, m.wakes())
}

func TestAnEndWakesTheReader(t *testing.T) {
	m := newConnection(t)
	m.acks = 20
	m.follow()
	m.comes(t, ackBytes, ackBytes)
	require.NoError(t, m.broker.Close())
	require.Eventually(t, m.wakes, 10*time.Second, time.Millisecond)
}

// What a slow broker says is not kept from the reader.
func TestAMarkIsTakenBack(t *testing.T) {
	m := newConnection(t)
	m.acks = 20
	m.follow()
	m.comes(t, 1, 1)
	require.Eventually(t, m.wakes, 10*time.Second, time.Millisecond)
	m.acks = 1
	m.follow()
	assert.True(t, m.wakes())
}
