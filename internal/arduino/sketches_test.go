package arduino_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/device"
	"watchtower/internal/harness"
	"watchtower/wire/frame"
)

// The hash in assembler is SipHash-2-4, of each length that it has to take.
func TestHashOnAVR(t *testing.T) {
	t.Parallel()
	elf := once(t, "hash.elf", func(out string) {
		run(t, "avr-gcc", "-mmcu=atmega328p", "-Os", "-Wall", "-Wextra", "-Werror", filepath.Join("testdata", "hash.c"), filepath.Join(src, "wt_sip.S"), "-o", out)
	})
	udp, _ := startGateway(t, nil)
	s := simulate(t, newRadio(t, udp, 0), elf, filepath.Join(t.TempDir(), "eeprom"))
	s.waits("all are there", func() bool { return s.count("") == 100 && len(s.lines()[99]) == 16 })
	var key frame.Key
	for i := range key {
		key[i] = byte(i)
	}
	var text []byte
	for n, line := range s.lines() {
		assert.Equal(t, hex.EncodeToString(binary.LittleEndian.AppendUint64(nil, key.Sum(text))), line, "%d bytes", n)
		text = append(text, byte(n))
	}
	assert.Equal(t, "310e0edd47db6f72", s.lines()[0], "the first vector of SipHash's authors")
}

// The nonces of the class for AVR never come twice, also after the power was off, and cost a write of
// the EEPROM for each start and each 256.
func TestNoncesOnAVR(t *testing.T) {
	t.Parallel()
	elf := once(t, "nonces.elf", func(out string) {
		run(t, "avr-gcc", "-mmcu=atmega328p", "-std=gnu99", "-Os", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-I"+src, filepath.Join("testdata", "nonces.c"), filepath.Join(src, "wt_sip.S"), "-o", out)
	})
	udp, _ := startGateway(t, nil)
	eeprom, seen := filepath.Join(t.TempDir(), "eeprom"), map[string]bool{}
	for start := range 2 {
		s := simulate(t, newRadio(t, udp, 0), elf, eeprom)
		s.waits("all are there", func() bool { return s.count("") == 600 })
		s.off()
		for _, line := range s.lines() {
			require.Len(t, line, 16)
			assert.False(t, seen[line], line)
			seen[line] = true
		}
		b, err := os.ReadFile(eeprom)
		require.NoError(t, err)
		assert.EqualValues(t, 3*start+2, le.Uint32(b[1020:]), "from 0 on: at first it is empty")
	}
}

// waits waits until something is so.
func (s *simulated) waits(what string, is func() bool) {
	s.Helper()
	late := time.After(10 * harness.Patience)
	for tick := time.NewTicker(time.Millisecond); !is(); <-tick.C {
		select {
		case <-late:
			require.Fail(s, "not so: "+what, "%v", s.lines())
		default:
		}
	}
}

// A sketch with the class for basic frames speaks and hears, over a serial line.
func TestSimulatedBasic(t *testing.T) {
	t.Parallel()
	udp, tcp := startGateway(t, nil)
	e := listener(t, tcp)
	s := simulate(t, newRadio(t, udp, 0), firmware(t, "basic", "-DNUMBERS=20", "-DBASIC"), filepath.Join(t.TempDir(), "eeprom"))
	for n := range 20 {
		m := heard(t, e)
		assert.Equal(t, fmt.Sprint(n+1), string(m.Data))
		require.NoError(t, e.Send(context.Background(), device.Text, fmt.Appendf(nil, "heard %d", n), []uint32{m.Sender}, channel))
	}
	for _, line := range []string{"!K00", "!J00", "1", "20", "heard 0", "heard 19"} {
		s.waits(line, func() bool { return slices.Contains(s.lines(), line) })
	}
	assert.Equal(t, 20, s.count("heard"))
}

// heard is the next message.
func heard(t testing.TB, e *device.Client) device.Message {
	t.Helper()
	select {
	case m := <-e.Messages():
		return m
	case <-time.After(10 * harness.Patience):
		require.Fail(t, "nothing is said")
		return device.Message{}
	}
}

// A sketch that sleeps with its radio off hears, once it is awake, what was said meanwhile,
// before its ping is answered. Only the last message comes after the answer if it gets lost twice.
func TestSimulatedSleep(t *testing.T) {
	t.Parallel()
	udp, tcp := startGateway(t, nil)
	e := listener(t, tcp)
	s := simulate(t, newRadio(t, udp, 20), firmware(t, "sleep", "-DNUMBERS=3", "-DSLEEP"), filepath.Join(t.TempDir(), "eeprom"))
	s.waits("it sleeps", func() bool { return s.count("!d00") == 1 })
	before := len(s.lines())
	want := []string{}
	for n := range 5 {
		want = append(want, fmt.Sprintf("heard %d", n))
		require.NoError(t, e.Broadcast(context.Background(), device.Text, []byte(want[n]), channel))
	}
	assert.Len(t, s.lines(), before, "it does not listen")
	s.press()
	s.waits("it is awake", func() bool { return len(s.lines()) >= before+6 && s.lines()[before+5] != "" })
	last := len(want) - 1
	assert.Contains(t, [][]string{append(slices.Clone(want), "!p00"), append(slices.Clone(want[:last]), "!p00", want[last])}, s.lines()[before:before+6])
	assert.Equal(t, 1, s.count("!r00"), "it has kept its session")
}

// valve is the example Valve, on a simulated Uno. Clock is slow or nothing.
func valve(t testing.TB, clock ...string) (s *simulated, tcp string) {
	udp, tcp, key := withKey(t, "valve", nil)
	return uno(t, "Valve", key, newRadio(t, udp, 0), clock...), tcp
}

// uno is an example on a simulated Uno with an Ethernet shield, as its maker uploads it: with the
// line that `watchtower device key` prints in place of the sketch's own.
func uno(t testing.TB, example, key string, r *radio, clock ...string) *simulated {
	text, err := os.ReadFile(filepath.Join("..", "..", "arduino", "examples", example, example+".ino"))
	require.NoError(t, err)
	return upload(t, example, text, key, r, clock...)
}

// upload is the same for an example that its maker has changed.
func upload(t testing.TB, example string, text []byte, key string, r *radio, clock ...string) *simulated {
	var own frame.Key
	_, err := hex.Decode(own[:], []byte(key))
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^const unsigned char device_key.*$`)
	require.Len(t, line.FindAll(text, -1), 1)
	dir := t.TempDir()
	sketch, o, elf := filepath.Join(dir, example+".ino"), filepath.Join(dir, "sketch.o"), filepath.Join(dir, "sketch.elf")
	require.NoError(t, os.WriteFile(sketch, line.ReplaceAll(text, []byte(own.C())), 0o600))
	compileSketch(t, sketch, o, append(slices.Clone(clock), "-I"+filepath.Join("testdata", "chip"))...)
	linkSketch(t, elf, o, arduinoCore(t, clock...))
	r.far = []byte{10, 0, 0, 2}
	return simulate(t, r, elf, filepath.Join(dir, "eeprom"), "0", "chip")
}

// The example Valve finds its gateway, opens and closes, and says so.
func TestValve(t *testing.T) {
	t.Parallel()
	s, tcp := valve(t)
	opensAndCloses(t, s, listener(t, tcp))
}

// opensAndCloses leaves the valve closed.
func opensAndCloses(t testing.TB, s *simulated, e *device.Client) {
	t.Helper()
	s.waits("it is connected", func() bool { return s.count("valve: connected") == 1 })
	assert.False(t, s.level())
	for i, open := range []bool{true, false, true, false} {
		word := map[bool]string{true: "open", false: "close"}[open]
		require.NoError(t, e.Broadcast(context.Background(), device.Text, []byte(word), channel))
		s.waits(word, func() bool { return s.level() == open && len(s.lines()) == 3+i })
		told(t, e, map[bool]string{true: "valve: open", false: "valve: closed"}[open])
	}
	want := []string{"valve: closed", "valve: connected", "valve: open", "valve: closed", "valve: open", "valve: closed"}
	s.waits("the monitor shows it", func() bool { return slices.Equal(want, s.lines()) })
}

// told waits until a text is said.
func told(t testing.TB, e *device.Client, text string) {
	t.Helper()
	for string(heard(t, e).Data) != text {
	}
}

// level is that of pin 7.
func (s *simulated) level() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pin
}
