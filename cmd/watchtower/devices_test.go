package main

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	qr "github.com/piglig/go-qr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/device"
	"watchtower/wire/frame"
)

// A device's key on the command line, beside the gateway and without it, and what becomes
// of its session.
func TestDevicesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	run := func(args ...string) string {
		t.Helper()
		code, out, err := s.try(append([]string{"device"}, args...)...)
		require.Zero(t, code, "%v: %s", args, err)
		assert.Empty(t, err)
		return out
	}
	key := run("key", "lamp")
	require.Regexp(t, `^[0-9a-f]{32}\nconst unsigned char device_key\[16\] PROGMEM = \{0x.*\};\n$`, key)
	hex := key[:32]
	assert.JSONEq(t, fmt.Sprintf(`{"name":"lamp","generation":0,"device_key":%q}`, hex), run("key", "lamp", "--json"))
	assert.Equal(t, key, run("key", "lamp", "--data-dir", s.dataDir()))
	assert.NotEqual(t, key, run("key", "door"))
	code, shared, _ := s.try("device-key")
	require.Zero(t, code)
	assert.NotContains(t, shared, hex)

	udp := regexp.MustCompile(`(?m)^  UDP +(\S+)$`).FindStringSubmatch(s.banner)[1]
	own := frame.Key(unhex(t, hex))
	lamp, err := device.Dial(t.Context(), "udp", udp, device.Options{Key: &own, Own: true, Name: "lamp"})
	require.NoError(t, err)
	defer func() { _ = lamp.Close(ended()) }()
	list := run("list")
	assert.Regexp(t, `(?m)^`+fmt.Sprint(lamp.ID())+` +lamp +here +own +0 +\d{4}-`, list)
	assert.Contains(t, list, "keys of their own: accepted; sessions: own 1, previous 0, shared 0; no keys of an earlier master count\n")
	assert.Contains(t, run("rotate", "--until", "2d"), "there is a new master; keys of the earlier master count until 20")
	assert.Regexp(t, `lamp +here +previous +0`, run("list"))
	assert.NotEqual(t, key, run("key", "lamp"))
	assert.Equal(t, "the key of lamp counts no more, 1 sessions ended; device key lamp prints the next one\n", run("revoke", "lamp"))
	next := run("key", "lamp")
	var shown struct {
		Devices []listedDevice
		Revoked map[string]int
	}
	require.NoError(t, json.Unmarshal([]byte(run("list", "--json")), &shown))
	assert.Equal(t, map[string]int{"lamp": 1}, shown.Revoked)
	require.Len(t, shown.Devices, 1)
	assert.Equal(t, 1, shown.Devices[0].Generation)
	for _, wrong := range [][]string{{"key", "a lamp"}, {"key", strings.Repeat("x", 33)}, {"revoke", "ä"}} {
		code, out, err := s.try(append([]string{"device"}, wrong...)...)
		assert.Equal(t, exitError, code)
		assert.Empty(t, out)
		assert.Contains(t, err, "must be a device's name")
	}
	code, _, problem := s.try("device", "rotate", "--until", "soon")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, problem, "such as 30d")

	backup := filepath.Join(t.TempDir(), "house.tar")
	code, _, problem = s.try("backup", backup)
	require.Zero(t, code, problem)
	require.Zero(t, s.end(syscall.SIGTERM))
	assert.Equal(t, next, run("key", "lamp"), "of a gateway that is stopped")
	code, _, problem = s.try("device", "revoke", "lamp")
	assert.Equal(t, exitUnreachable, code)
	assert.Contains(t, problem, "no gateway runs")

	other := t.TempDir()
	code, _, problem = s.try("device", "key", "lamp", "--data-dir", other)
	assert.Equal(t, exitError, code)
	assert.Contains(t, problem, "no gateway was started with the data directory")
	code, _, problem = s.try("restore", backup, "--data-dir", other)
	require.Zero(t, code, problem)
	assert.Equal(t, next, run("key", "lamp", "--data-dir", other), "the backup has the master and the generations")
}

// A gateway that was killed left its address; its data directory is free.
func TestTheKeyOfAKilledGateway(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	code, before, err := s.try("device", "key", "lamp")
	require.Zero(t, code, err)
	s.end(syscall.SIGKILL)
	code, after, err := s.try("device", "key", "lamp")
	require.Zero(t, code, err)
	assert.Equal(t, before, after)
}

func unhex(t *testing.T, text string) (b []byte) {
	_, err := fmt.Sscanf(text, "%x", &b)
	require.NoError(t, err)
	return b
}

func TestParseUntil(t *testing.T) {
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"30d": now.Add(30 * 24 * time.Hour), "0s": now, "2026-12-31": time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC),
		"2026-12-31T10:00:00Z": time.Date(2026, 12, 31, 10, 0, 0, 0, time.UTC),
	} {
		at, err := parseUntil(text, now)
		require.NoError(t, err, text)
		assert.True(t, want.Equal(at), text)
	}
	for _, text := range []string{"", "30", "-1h", "tomorrow"} {
		_, err := parseUntil(text, now)
		assert.Error(t, err, text)
	}
}

// What the terminal shows is read again, as a camera would.
func TestQRCode(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 2)
	code, err := qrCode(text)
	require.NoError(t, err)
	const scale = 8
	lines := strings.Split(strings.TrimSuffix(code, "\n"), "\n")
	side := 0
	for y, line := range lines {
		require.True(t, strings.HasPrefix(line, blackOnWhite) && strings.HasSuffix(line, usualColours))
		row := []rune(strings.TrimSuffix(strings.TrimPrefix(line, blackOnWhite), usualColours))
		if y == 0 {
			side = len(row)
		}
		require.Len(t, row, side)
	}
	picture := image.NewRGBA(image.Rect(0, 0, side*scale, 2*len(lines)*scale))
	for y, line := range lines {
		row := []rune(strings.TrimSuffix(strings.TrimPrefix(line, blackOnWhite), usualColours))
		for x, r := range row {
			for half, dark := range []bool{r == '█' || r == '▀', r == '█' || r == '▄'} {
				c := color.White
				if dark {
					c = color.Black
				}
				for i := range scale * scale {
					picture.Set(x*scale+i%scale, (2*y+half)*scale+i/scale, c)
				}
			}
		}
	}
	read, err := qr.Decode(picture)
	require.NoError(t, err)
	assert.Equal(t, text, read)
	assert.LessOrEqual(t, len(lines), 24, "it fits a terminal with the lines before it")
}

func TestWhatIsATerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer f.Close()
	assert.False(t, isTerminal(&printer{to: f}))
	assert.False(t, isTerminal(&safeBuffer{}))
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
