package gateway_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// deaf stands between a gateway and a broker, and can keep the broker's acknowledgements to
// itself.
type deaf struct {
	address string
	on      atomic.Bool
}

func newDeaf(t testing.TB, to string) *deaf {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &deaf{address: l.Addr().String()}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			passing.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			passing.Go(func() { d.pass(near, far); _ = near.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); passing.Wait() })
	return d
}

// pass passes the broker's packets on.
func (d *deaf) pass(near io.Writer, far io.Reader) {
	const puback = 4 << 4
	r := bufio.NewReader(far)
	for {
		first, err := r.ReadByte()
		if err != nil {
			return
		}
		length, err := binary.ReadUvarint(r)
		if err != nil {
			return
		}
		packet := binary.AppendUvarint([]byte{first}, length)
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		if first == puback && d.on.Load() {
			continue
		}
		if _, err := near.Write(append(packet, body...)); err != nil {
			return
		}
	}
}

// A broker that takes messages and acknowledges none is a fault, and not ready in between.
func TestAForeignBrokerThatAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	d := newDeaf(t, m.Address)
	r := onRemote(t, m, func(c *config.Config) { c.MQTT.Remote.URL = "mqtt://" + d.address })
	fault := func() string {
		_, ready := r.call("GET", "/readyz", "", "")
		return ready
	}
	d.on.Store(true)
	r.wire("udp").broadcast(5, []byte("x"))
	require.Eventually(t, func() bool { return strings.Contains(fault(), "has acknowledged none") }, lenient, 5*time.Millisecond)
	for begun := time.Now(); time.Since(begun) < 20*short; time.Sleep(5 * time.Millisecond) {
		require.Contains(t, fault(), "has acknowledged none")
	}
	require.Contains(t, r.log.String(), "has acknowledged none")
	d.on.Store(false)
	require.Eventually(t, func() bool { return !strings.Contains(fault(), "remote_fault") }, lenient, 5*time.Millisecond)
}
