//go:build !race

package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// resident returns the resident memory of the process in bytes.
func (p *process) resident() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	for line := range strings.Lines(string(b)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	require.Fail(p.t, "no VmRSS")
	return 0
}

// settled is its memory once it has written everything to the disk: that takes no processor
// time any more.
func (p *process) settled() int {
	p.t.Helper()
	for quiet, last := 0, p.cpu(); quiet < 14; { // the start's memory is given back after three seconds, a load's after two
		time.Sleep(250 * time.Millisecond)
		now := p.cpu()
		if quiet++; now-last > 20*time.Millisecond {
			quiet = 0
		}
		last = now
	}
	return p.resident()
}

// connect5 is a client of MQTT 5 whose session outlives it by an hour.
func (p *process) connect5(id string) net.Conn {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.mqtt)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { conn.Close() })
	body := basicFrame("\x00\x04MQTT\x05\xc2\x00\x00\x05\x11\x00\x00\x0e\x10", byte(0), byte(len(id)), id, "\x00\x01x", byte(0), byte(len(key)), key)
	_, err = conn.Write(basicFrame(byte(0x10), byte(len(body)), body))
	require.NoError(p.t, err)
	head := make([]byte, 2)
	_, err = io.ReadFull(conn, head)
	require.NoError(p.t, err)
	_, err = io.ReadFull(conn, make([]byte, head[1]))
	require.NoError(p.t, err)
	return conn
}

// An idle connection, with a session on disk and a subscription, takes 20 KiB.
func TestAnIdleConnectionIsSmall(t *testing.T) {
	p := newProcess(t)
	p.args = []string{"--limits-connections-per-address", "10000"}
	p.start()
	p.connect5("first")
	before := p.settled()
	const n = 2000
	for i := range n {
		conn := p.connect5(fmt.Sprintf("client-%05d", i))
		topic := fmt.Sprintf("own/%05d/#", i)
		_, err := conn.Write(basicFrame(byte(0x82), byte(6+len(topic)), "\x00\x01\x00\x00", byte(len(topic)), topic, byte(1)))
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 6))
		require.NoError(t, err)
	}
	each := (p.settled() - before) / n
	t.Logf("%d bytes each", each)
	assert.LessOrEqual(t, each, 20<<10)
}

// 100,000 retained messages: written at 10,000 a second and more without
// holding up the publisher, idle for nothing, and there again in two seconds.
func TestAHundredThousandRetained(t *testing.T) {
	p := newProcess(t)
	p.start()
	conn := p.connect5("publisher")
	const n, window = 100_000, 100
	room := make(chan time.Time, window)
	slowest := make(chan time.Duration)
	go func() {
		var worst time.Duration
		r := bufio.NewReader(conn)
		for range n {
			if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
				break
			}
			worst = max(worst, time.Since(<-room))
		}
		slowest <- worst
	}()
	began := time.Now()
	w := bufio.NewWriter(conn)
	for i := range n {
		topic := fmt.Sprintf("tele/house_%06d/sensor/STATE", i)
		_, err := w.Write(basicFrame(byte(0x33), byte(2+len(topic)+3+40), byte(0), byte(len(topic)), topic, byte(i>>8&0x7f), byte(i)|1, byte(0), strings.Repeat("x", 40)))
		require.NoError(t, err)
		if len(room) == cap(room) || i == n-1 {
			require.NoError(t, w.Flush())
		}
		room <- time.Now()
	}
	require.NoError(t, w.Flush())
	worst := <-slowest
	took := time.Since(began)
	assert.Less(t, took, n/10_000*time.Second)
	assert.Less(t, worst, time.Second, "a publisher waits for no disk")
	p.settled()

	before := p.cpu()
	const idle = 3 * time.Second
	time.Sleep(idle)
	used := p.cpu() - before
	assert.LessOrEqual(t, used, idle/50, "2 %% of a processor at most, while nothing happens")

	p.kill()
	p.start()
	assert.Less(t, p.started, 2*time.Second)
	p.says("retained=100000")
	t.Logf("%d/s, the slowest after %s; idle %s of %s; started in %s, %d MB", int(n/took.Seconds()), worst, used, idle, p.started, p.resident()>>20)
}
