package gateway_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"watchtower/config"
)

// testSegmentationOffload has a receiver who takes what was merged as it comes,
// which on the way through one machine is before it is taken apart.
func testSegmentationOffload(t *testing.T) {
	for _, on := range []bool{true, false} {
		r := start(t, func(c *config.Config) { c.UDP.SegmentationOffload = on })
		addr, err := net.ResolveUDPAddr("udp", r.at.UDP)
		require.NoError(t, err)
		conn, err := net.DialUDP("udp", nil, addr)
		require.NoError(t, err)
		defer conn.Close()
		ask := func(request []byte) []byte {
			_, err := conn.Write(request)
			require.NoError(t, err)
			b := make([]byte, 100)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patient)))
			n, err := conn.Read(b)
			require.NoError(t, err)
			return b[:n]
		}
		id := binary.LittleEndian.Uint32(ask(basicFrame("K", byte(len(key)), key))[1:])
		require.Equal(t, basicFrame("A", uint32(5)), ask(basicFrame("J", id, uint32(5))))
		takeMerged(t, conn)

		const size, burst = 15 + 64, 100
		speaker := r.wire("tcp")
		room := make([]byte, 1<<16)
		merged := false
		for deadline := time.Now().Add(patient); !merged && time.Now().Before(deadline); {
			for range burst {
				speaker.broadcast(5, bytes.Repeat([]byte("x"), size-15))
			}
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patient)))
			for came := 0; came < burst; {
				n, err := conn.Read(room)
				require.NoError(t, err, "after %d of %d", came, burst)
				require.Zero(t, n%size)
				merged, came = merged || n > size, came+n/size
			}
			if !on {
				break
			}
		}
		assert.Equal(t, on, merged)
	}
}

// takeMerged makes the system deliver merged datagrams as one.
func takeMerged(t *testing.T, conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}))
	require.NoError(t, failed)
}
