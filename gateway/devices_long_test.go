//go:build long

package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	session "watchtower/device"
	"watchtower/internal/harness"
)

// anHour is most of one: all long tests together take one.
const anHour = 50 * time.Minute

// Devices over UDP hear a channel on which something is said each second, for an hour,
// over none, over a radio that loses a fifth each way, and with a window of one, which
// carries less, over one that loses a tenth: all of it, in order.
func TestLongDevicesHearAnHour(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	radio, better := harness.NewRadio(t, r.at.UDP, 0.2), harness.NewRadio(t, r.at.UDP, 0.1)
	heard := map[string]func() []int{
		"join --udp":               followByProgram(t, r.at.UDP),
		"join --udp over a radio":  followByProgram(t, radio.Addr()),
		"device":                   r.followByDevice(r.at.UDP, 1),
		"device over a radio":      r.followByDevice(better.Addr(), 1),
		"device, a window of four": r.followByDevice(radio.Addr(), 4),
	}
	speaker := r.stream()
	var want []int
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(anHour); time.Now().Before(end); <-tick.C {
		speaker.broadcast(5, []byte(strconv.Itoa(len(want))))
		want = append(want, len(want))
	}
	for name, all := range heard {
		assert.Eventually(t, func() bool { return len(all()) >= len(want) }, time.Minute, 50*time.Millisecond, name)
		assert.Equal(t, want, all(), name)
	}
}

// followByDevice follows channel 5 by the package, and returns what returns what it heard.
func (r *running) followByDevice(address string, window int) func() []int {
	at := *r
	at.at.UDP = address
	d, _ := at.sessionDevice("udp", session.Options{Acknowledge: true, Window: window})
	var mu sync.Mutex
	var all []int
	done := make(chan struct{})
	var hearing sync.WaitGroup
	hearing.Go(func() {
		for {
			select {
			case m := <-d.inbox:
				n, err := strconv.Atoi(m.data)
				assert.NoError(r.t, err)
				mu.Lock()
				all = append(all, n)
				mu.Unlock()
			case <-done:
				return
			}
		}
	})
	r.t.Cleanup(func() { close(done); hearing.Wait() })
	return func() []int {
		mu.Lock()
		defer mu.Unlock()
		return append([]int(nil), all...)
	}
}

// followByProgram does the same by watchtower join --udp.
func followByProgram(t *testing.T, address string) func() []int {
	path := harness.Program(t, "cmd/watchtower")
	cmd := exec.Command(path, "join", "--data-dir", t.TempDir(), "--udp="+address, "--secret-key", key, "--json", "5")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	said, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var mu sync.Mutex
	var all []int
	var hearing sync.WaitGroup
	hearing.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var m struct{ Message any }
			assert.NoError(t, json.Unmarshal(lines.Bytes(), &m), lines.Text())
			n, err := strconv.Atoi(fmt.Sprint(m.Message))
			assert.NoError(t, err, lines.Text())
			mu.Lock()
			all = append(all, n)
			mu.Unlock()
		}
	})
	following := bufio.NewScanner(said)
	require.True(t, following.Scan())
	require.Contains(t, following.Text(), "following")
	hearing.Go(func() {
		for following.Scan() {
			t.Log(address, following.Text())
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		hearing.Wait()
		_ = cmd.Wait()
	})
	return func() []int {
		mu.Lock()
		defer mu.Unlock()
		return append([]int(nil), all...)
	}
}
