package arduino_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/device"
	"watchtower/internal/harness"
)

// simulated is an ATmega328P with a sketch, on a radio.
type simulated struct {
	testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	ends sync.WaitGroup
	done chan struct{}

	mu  sync.Mutex
	log bytes.Buffer // what the sketch wrote to GPIOR1, or to the monitor
	pin bool         // the level of pin 7
}

// simulate turns a processor on. It ends with the test, or earlier by off.
func simulate(t testing.TB, r *radio, elf, eeprom string, more ...string) *simulated {
	program := once(t, "simulator", func(out string) {
		run(t, "gcc", "-O2", "-Wall", "-Wextra", "-Werror", filepath.Join("testdata", "simulator.c"), "-o", out, "-lsimavr")
	})
	s := &simulated{TB: t, done: make(chan struct{})}
	s.cmd = exec.Command(program, append([]string{elf, eeprom, fmt.Sprint(r.speed)}, more...)...)
	var err error
	s.in, err = s.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	s.ends.Go(func() { s.read(r, bufio.NewReader(out)) })
	s.ends.Go(func() { s.write(r) })
	t.Cleanup(s.off)
	return s
}

// write gives the processor its datagrams and its time, until it is off. So while this process gets
// no turn, on a busy machine, the processor does not wait in vain for the gateway, which is in it.
func (s *simulated) write(r *radio) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	given := time.Now()
	for {
		var b []byte
		select {
		case <-ticker.C:
			d := min(time.Since(given), 20*time.Millisecond) // after a longer time without a turn it is not made up for
			given = time.Now()
			b = []byte{'T', 1, 0, byte(max(d, time.Millisecond).Milliseconds())}
		case raw := <-r.Down:
			b = append([]byte{'D', byte(len(raw)), byte(len(raw) >> 8)}, raw...)
		case <-s.done:
			return
		}
		_, _ = s.in.Write(b) // fails once it is off
	}
}

// read takes what the processor says, until it is off.
func (s *simulated) read(r *radio, out *bufio.Reader) {
	defer close(s.done)
	var head [3]byte
	for {
		if _, err := io.ReadFull(out, head[:]); err != nil {
			return
		}
		b := make([]byte, le.Uint16(head[1:]))
		if _, err := io.ReadFull(out, b); err != nil {
			return
		}
		if head[0] == 'F' {
			r.Up(b)
			continue
		}
		s.mu.Lock()
		if head[0] == 'P' {
			s.pin = b[0] == 1
		} else {
			s.log.Write(b)
		}
		s.mu.Unlock()
	}
}

// off turns the processor off, and returns when it has kept its EEPROM.
func (s *simulated) off() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.in.Close()
	s.ends.Wait()
	assert.NoError(s, s.cmd.Wait())
}

// press sets GPIOR0, for which a sketch waits.
func (s *simulated) press() {
	_, err := s.in.Write([]byte{'B', 1, 0, 1})
	require.NoError(s, err)
}

// sees sets the level of pin 2.
func (s *simulated) sees(high bool) {
	level := map[bool]byte{true: 1}[high]
	_, err := s.in.Write([]byte{'I', 1, 0, level})
	require.NoError(s, err)
}

// lines returns the whole lines that the sketch told.
func (s *simulated) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Split(strings.ReplaceAll(s.log.String(), "\r\n", "\n"), "\n")
	return all[:len(all)-1]
}

// count is how many lines begin with a text.
func (s *simulated) count(text string) (n int) {
	for _, l := range s.lines() {
		if strings.HasPrefix(l, text) {
			n++
		}
	}
	return n
}

// conversation says n messages to the processor's sketch, each after the sketch's own came,
// and checks that all arrived once each and in order. Between may be nil.
func conversation(t *testing.T, s *simulated, e *device.Client, n int, between func(i int)) {
	ctx := context.Background()
	var said, told []string
	for i := range n {
		assert.Equal(t, fmt.Sprint(i+1), string(heard(t, e).Data), "%v", s.lines())
		text := fmt.Sprintf("heard %d", i)
		require.NoError(t, e.Broadcast(ctx, device.Text, []byte(text), channel))
		said = append(said, text)
		if between != nil {
			between(i)
		}
		s.hears(func() bool { return s.count("heard") > i-40 })
	}
	s.hears(func() bool { return s.count("heard") >= n && s.count("!b00") >= n })
	for _, l := range s.lines() {
		if strings.HasPrefix(l, "heard") {
			told = append(told, l)
		}
	}
	assert.Equal(t, said, told)
	assert.Empty(t, e.Messages())
	assert.Zero(t, s.count("!b15"), "nothing was lost")
}

// hears waits until something is so, as long as lines come.
func (s *simulated) hears(is func() bool) {
	s.Helper()
	for before := -1; !is(); {
		now := len(s.lines())
		require.Greater(s, now, before, "no more lines come: %v", s.lines())
		before = now
		late := time.Now().Add(4 * harness.Patience)
		for tick := time.NewTicker(time.Millisecond); !is() && len(s.lines()) == now && time.Now().Before(late); {
			<-tick.C
		}
	}
}

// A sketch on a simulated ATmega328P speaks with a whole gateway over a bad network: a
// hundred messages each way arrive once each and in order.
func TestSimulated(t *testing.T) {
	t.Parallel()
	udp, tcp := startGateway(t, nil)
	e := listener(t, tcp)
	r := newRadio(t, udp, 20)
	s := simulate(t, r, firmware(t, "simulated", "-DNUMBERS=100"), filepath.Join(t.TempDir(), "eeprom"))
	conversation(t, s, e, 100, nil)
}
