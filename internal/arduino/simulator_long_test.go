//go:build long

package arduino_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/device"
	"watchtower/internal/harness"
)

// A simulated processor whose port changes again and again loses nothing.
func TestLongMoves(t *testing.T) {
	const slow = 4 // the gateway proves one address a second, whatever its other times are
	udp, tcp := startGateway(t, func(c *config.Config) { c.Wire.RetryGap = time.Second / slow })
	e := listener(t, tcp)
	r := newRadio(t, udp, 20)
	r.speed = slow
	s := simulate(t, r, firmware(t, "long", "-DNUMBERS=100"), filepath.Join(t.TempDir(), "eeprom"))
	conversation(t, s, e, 100, func(i int) {
		if i%10 == 4 { // the next request proves the new address
			r.Move()
		}
	})
}

// A gateway that stops and starts loses at most what was under way, which is told, and says
// nothing twice.
func TestLongRestarts(t *testing.T) {
	at, dir := harness.FreeAddress(t), t.TempDir()
	change := func(c *config.Config) { c.UDP.Listen, c.DataDir = at, dir }
	_, tcp, stop := startStoppable(t, change)
	r := newRadio(t, at, 20)
	eeprom := filepath.Join(t.TempDir(), "eeprom")
	s := simulate(t, r, firmware(t, "restarts", "-DNUMBERS=60000"), eeprom)
	last := 0
	for restart := range 5 {
		e, end := listenerUntil(t, tcp)
		for range 20 {
			select {
			case m := <-e.Messages():
				n, err := strconv.Atoi(string(m.Data))
				require.NoError(t, err)
				assert.Greater(t, n, last)
				last = n
			case <-time.After(2 * harness.Patience):
				require.Fail(t, "it says nothing more", "%v", s.lines())
			}
		}
		end()
		if restart < 4 {
			stop()
			_, tcp, stop = startStoppable(t, change)
		}
	}
	assert.GreaterOrEqual(t, s.count("!r00"), 5)
	assert.LessOrEqual(t, s.count("!b15"), 4, "one for each restart")
	s.off()
	b, err := os.ReadFile(eeprom)
	require.NoError(t, err)
	assert.Zero(t, le.Uint32(b[1020:]), "it was never written before, and is written once for a start, not for each session")
}

// A power cut at any write of the EEPROM never leads to a nonce that was used before.
func TestLongPowerCuts(t *testing.T) {
	udp, _ := startGateway(t, nil)
	elf := firmware(t, "cuts", "-DNUMBERS=1")
	for _, counter := range []uint32{0, 0xfe, 0xff, 0xfffe, 0xffff, 0xffffff} {
		for cut := 1; cut <= 4; cut++ {
			eeprom := filepath.Join(t.TempDir(), fmt.Sprintf("%x-%d", counter, cut))
			b := make([]byte, 1024)
			le.PutUint32(b[1020:], counter)
			require.NoError(t, os.WriteFile(eeprom, b, 0o600))
			used := map[string]bool{}
			for _, more := range [][]string{nil, {fmt.Sprint(cut)}, nil, {fmt.Sprint(cut)}, nil} {
				for nonce := range powerOn(t, udp, elf, eeprom, more...) {
					assert.False(t, used[nonce], "counter %x, power cut at write %d", counter, cut)
					used[nonce] = true
				}
			}
			assert.GreaterOrEqual(t, len(used), 3)
		}
	}
}

// powerOn turns the processor on until it is registered or its power fails, and returns the
// nonces that it used.
func powerOn(t *testing.T, udp, elf, eeprom string, more ...string) map[string]bool {
	r := newRadio(t, udp, 0)
	nonces, mu := map[string]bool{}, sync.Mutex{}
	r.Watch = func(raw []byte) {
		mu.Lock()
		defer mu.Unlock()
		if raw[0] == 'r' {
			nonces[string(raw[19:27])] = true
		}
	}
	s := simulate(t, r, elf, eeprom, more...)
	require.Eventually(t, func() bool {
		select {
		case <-s.done:
			return true
		default:
			return s.count("!r00") > 0
		}
	}, harness.Patience, time.Millisecond)
	s.off()
	mu.Lock()
	defer mu.Unlock()
	return nonces
}

// Many times as many requests as in make test.
func TestLongCAndGoAgree(t *testing.T) {
	for seed := range uint64(2) {
		agree(t, 1500, seed)
	}
}

// A day passes on a bad network: nothing is lost, said twice, or forgotten.
func TestLongDay(t *testing.T) {
	w := newWorld(t, puppetProgram(t, "c", "quiet", "-DWT_ECHO=0"), 5, 20)
	w.joined()
	e := w.ear(channel)
	var said, heard []string
	for n := range 24 {
		e.say(fmt.Sprint("heard ", n))
		w.did(0, 'b', channel, 0, 1, fmt.Sprint("said ", n))
		said, heard = append(said, fmt.Sprint("said ", n)), append(heard, fmt.Sprint("heard ", n))
		w.pass(time.Hour, nil)
		assert.False(t, slices.Contains(w.p.over(), done{'r', 0}), "hour %d: a new session", n)
	}
	assert.Equal(t, said, e.all)
	var got []string
	for _, m := range w.p.heard() {
		got = append(got, m.data)
	}
	assert.Equal(t, heard, got)
}

// An hour of a simulated processor: it says and hears something again and again, and keeps its
// session. A day takes simavr a quarter of an hour at least; TestLongDay is one of the core's.
func TestLongSimulatedHour(t *testing.T) {
	udp, tcp := startGateway(t, nil)
	e := listener(t, tcp)
	r := newRadio(t, udp, 20)
	// A second takes it 3 ms, so it needs a longer keep-alive: what the gateway answers comes late.
	elf := firmware(t, "hour", append([]string{"-DNUMBERS=24", "-DPAUSE=150000ul", "-DWATCHTOWER_KEEPALIVE=600"}, slow...)...)
	s := simulate(t, r, elf, filepath.Join(t.TempDir(), "eeprom"))
	conversation(t, s, e, 24, nil)
	assert.Equal(t, 1, s.count("!r00"))
}

// The example Valve closes by itself when it has heard nothing for ten minutes.
func TestLongValve(t *testing.T) {
	s, tcp := valve(t, slow...)
	e := listener(t, tcp)
	opensAndCloses(t, s, e)
	require.NoError(t, e.Broadcast(context.Background(), device.Text, []byte("open"), channel))
	s.waits("it opens", s.level)
	s.waits("it closes", func() bool { return !s.level() })
	s.waits("it says why", func() bool {
		return slices.Equal([]string{"valve: open", "valve: closed, nothing heard for 10 minutes"}, s.lines()[6:])
	})
	told(t, e, "valve: open")
	told(t, e, "valve: closed")
}

// Many more random datagrams than in make test.
func TestLongAnythingComes(t *testing.T) {
	for _, options := range [][]string{nil, {"-DWT_HIDDEN=0"}, {"-DWT_SENSOR=1"}, {"-DWT_BUFFER=64"}, {"-DWT_BUFFER=180"}, {"-DWT_BUFFER=1200"}} {
		anything(t, 300_000, options...)
	}
}

// Many more attacks than in make test.
func TestLongAttacks(t *testing.T) { attacks(t, 2_000_000, 5) }
