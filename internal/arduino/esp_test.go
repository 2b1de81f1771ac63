package arduino_test

import (
	"context"
	"encoding/hex"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/device"
	"watchtower/wire/frame"
)

// espMain runs a sketch at the network of a port.
const espMain = `
int main(int, char **args) {
	townPort = atoi(args[1]);
	setup();
	for (;;) {
		udp.wait();
		loop();
	}
}
`

// changes are what the library's page says that a sketch has for a board, in place of what.
func changes(t testing.TB, board string) (all map[string]string) {
	page, err := os.ReadFile(filepath.Join("..", "..", "arduino", "README.md"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "| Instead of | ESP8266 | ESP32 |\n|---|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	all = map[string]string{}
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		require.Len(t, cells, 3, line)
		to := cells[1]
		if board == "ESP32" && cells[2] != "the same" {
			to = cells[2]
		}
		all[strings.Trim(cells[0], "`")] = strings.Trim(to, "`")
	}
	return all
}

// With what the library's page changes for an ESP8266 and an ESP32, the example Valve is a valve
// there: it finds its gateway, opens and closes, and says so. The board is a PC, with the names that
// the boards' own headers have.
func TestTheValveOnAnESP(t *testing.T) {
	t.Parallel()
	for board, pin := range map[string]string{"ESP8266": "5", "ESP32": "16"} {
		t.Run(board, func(t *testing.T) {
			t.Parallel()
			udp, tcp, key := withKey(t, "valve", nil)
			e := listener(t, tcp)
			_, port, err := net.SplitHostPort(newTown(t, udp, "10.0.0.2", "10.0.0.9").socket.LocalAddr().String())
			require.NoError(t, err)
			lines := started(t, exec.Command(espProgram(t, "Valve", board, key), port))
			for _, want := range []string{"pin " + pin, pin + " LOW", "valve: closed", "valve: connected"} {
				expectLine(t, lines, want)
			}
			require.Equal(t, "valve: closed", string(heard(t, e).Data))
			for _, word := range []string{"open", "close"} {
				require.NoError(t, e.Broadcast(context.Background(), device.Text, []byte(word), channel))
				level, state := pin+" HIGH", "valve: open"
				if word == "close" {
					level, state = pin+" LOW", "valve: closed"
				}
				expectLine(t, lines, level)
				expectLine(t, lines, state)
				require.Equal(t, state, string(heard(t, e).Data))
			}
		})
	}
}

// espProgram builds an example with a key, as its maker changes it for a board.
func espProgram(t testing.TB, example, board, key string) (program string) {
	b, err := os.ReadFile(filepath.Join("..", "..", "arduino", "examples", example, example+".ino"))
	require.NoError(t, err)
	text := string(b)
	for from, to := range changes(t, board) {
		require.Equal(t, 1, strings.Count(text, from), from)
		text = strings.Replace(text, from, to, 1)
	}
	var own frame.Key
	_, err = hex.Decode(own[:], []byte(key))
	require.NoError(t, err)
	text = regexp.MustCompile(`(?m)^const unsigned char device_key.*$`).ReplaceAllString(text, own.C())
	dir := t.TempDir()
	sketch, hash, program := filepath.Join(dir, "sketch.cpp"), filepath.Join(dir, "hash.o"), filepath.Join(dir, "sketch")
	require.NoError(t, os.WriteFile(sketch, []byte(text+espMain), 0o600))
	run(t, "gcc", append(slices.Clone(sanitized), "-c", filepath.Join(src, "wt_sip.c"), "-o", hash)...)
	args := append([]string{"-std=gnu++11"}, sanitized...)
	run(t, "g++", append(args, "-Wno-unused-function", "-I"+filepath.Join("testdata", "pc"), "-I"+filepath.Join("testdata", "esp"), "-include", "Arduino.h", sketch, hash, "-o", program)...)
	return program
}
