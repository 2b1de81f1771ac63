package udp

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/datagram"
	"watchtower/internal/harness"
)

func socket(t testing.TB, address string) *net.UDPConn {
	addr, err := net.ResolveUDPAddr("udp", address)
	require.NoError(t, err)
	c, err := net.ListenUDP("udp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func addressOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func testBatch(t testing.TB, conn *net.UDPConn) (*batch, *bridge.Counters, map[int]int) {
	log := harness.Silent()
	log.SetLevel(logrus.DebugLevel)
	counters, lost := &bridge.Counters{}, map[int]int{}
	socket, err := datagram.Of(conn)
	require.NoError(t, err)
	b := &batch{
		conn: conn, out: socket.Writer(true), waiting: &sync.Mutex{}, counters: counters, log: log.WithField("protocol", "udp"),
		lost: func(tag int) { lost[tag]++ },
	}
	return b, counters, lost
}

func TestABadDestinationCostsNobodyElseTheirs(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", ":0"} {
		t.Run(listen, func(t *testing.T) {
			b, counters, lost := testBatch(t, socket(t, listen))
			receiver := socket(t, "127.0.0.1:0")
			good := addressOf(receiver)
			bad := netip.AddrPortFrom(good.Addr(), 0) // port 0: the system refuses it
			sent := 0
			for i := range 3 * 64 {
				to := good
				if i%3 == 0 || i > 180 {
					to = bad
				} else {
					sent++
				}
				b.add([]byte{byte(i)}, to, i%2)
			}
			b.flush()
			b.flush()
			assert.EqualValues(t, 3*64-sent, counters.Dropped(Protocol, Unsendable))
			assert.Equal(t, 3*64-sent, lost[0]+lost[1])
			assert.NotZero(t, lost[0])
			assert.NotZero(t, lost[1])
			last := -1
			for range sent {
				require.NoError(t, receiver.SetReadDeadline(time.Now().Add(5*time.Second)))
				var p [8]byte
				n, err := receiver.Read(p[:])
				require.NoError(t, err)
				require.Equal(t, 1, n)
				assert.Greater(t, int(p[0]), last)
				last = int(p[0])
			}
		})
	}
}

func TestADeadlineThatHasPassedLosesNothing(t *testing.T) {
	conn := socket(t, "127.0.0.1:0")
	b, counters, _ := testBatch(t, conn)
	receiver := socket(t, "127.0.0.1:0")
	for i := range 10 {
		require.NoError(t, conn.SetWriteDeadline(time.Unix(1, 0)), "as one set by another write")
		b.add([]byte{byte(i)}, addressOf(receiver), 0)
		b.flush()
	}
	assert.Zero(t, counters.Dropped(Protocol, Unsendable))
	for i := range 10 {
		require.NoError(t, receiver.SetReadDeadline(time.Now().Add(5*time.Second)))
		var p [8]byte
		_, err := receiver.Read(p[:])
		require.NoError(t, err)
		assert.EqualValues(t, i, p[0])
	}
}

func TestAClosedSocketLosesTheBatchAndNoTime(t *testing.T) {
	conn := socket(t, "127.0.0.1:0")
	b, counters, lost := testBatch(t, conn)
	to := addressOf(conn)
	conn.Close()
	for range 100 {
		b.add([]byte("x"), to, 7)
	}
	b.flush()
	assert.EqualValues(t, 100, counters.Dropped(Protocol, Unsendable))
	assert.Equal(t, map[int]int{7: 100}, lost)
}

// BenchmarkBareBatches is what BenchmarkFanOut is compared with: only the system calls,
// for as many receivers.
func BenchmarkBareBatches(b *testing.B) {
	for _, members := range []int{1, 50, 500} {
		b.Run(strconv.Itoa(members), func(b *testing.B) {
			conn := socket(b, "127.0.0.1:0")
			require.NoError(b, conn.SetWriteBuffer(socketBuffer))
			out, _, _ := testBatch(b, conn)
			to := make([]netip.AddrPort, members)
			for i := range to {
				to[i] = addressOf(socket(b, "127.0.0.1:0"))
			}
			frame := make([]byte, 79)
			b.ResetTimer()
			for b.Loop() {
				for _, a := range to {
					out.add(frame, a, 0)
				}
			}
			out.flush()
			b.ReportMetric(float64(b.N*members)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}
