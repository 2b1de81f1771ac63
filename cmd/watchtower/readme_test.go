package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var block = regexp.MustCompile("(?s)```sh\n(.*?)```")

// readme returns the commands below a mark.
func readme(t *testing.T, mark string) (commands []string) {
	b, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), "<!-- "+mark+" -->")
	require.True(t, ok, mark)
	for _, m := range block.FindAllStringSubmatchIndex(rest, -1) {
		if between := rest[:m[0]]; strings.Contains(strings.TrimSpace(block.ReplaceAllString(between, "")), "\n\n") {
			break // prose begins
		}
		commands = append(commands, rest[m[2]:m[3]])
	}
	require.NotEmpty(t, commands)
	return commands
}

// A device finds its way back after the gateway was killed.
func TestTheDeviceExampleOutlivesTheGateway(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "device")
	out, err := exec.Command("go", "build", "-o", bin, "watchtower/examples/device").CombinedOutput()
	require.NoError(t, err, string(out))
	home := t.TempDir()
	s := serveProgram(t, home, append(slices.Clone(anyPort), "--open")...)
	udp := regexp.MustCompile(`(?m)^  UDP +(\S+)$`).FindStringSubmatch(s.banner)[1]
	device := s.shell(bin + " -ping 100ms -gateway " + udp)
	expect(t, device, "hello from a device")
	s.end(syscall.SIGKILL)
	args := slices.Clone(anyPort)
	args[3] = udp
	again := serveProgram(t, home, append(args, "--open")...)
	expect(t, device, "on channel 5") // I am … on channel 5
	for range again.shell(again.command().Path + " broadcast 5 'welcome back'") {
	}
	expect(t, device, "welcome back")
}

// The README's commands do what it says, on the ports that it says.
func TestReadme(t *testing.T) {
	bin := t.TempDir()
	for _, path := range []string{"cmd/watchtower", "examples/device", "examples/callback"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(bin, filepath.Base(path)), "watchtower/"+path).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	// `go run` builds and then runs: here it has been built.
	built := func(command string) string {
		return regexp.MustCompile(`go run \./(?:cmd|examples)/(\w+)`).ReplaceAllString(command, bin+"/$1")
	}
	s := serveProgram(t, t.TempDir(), "--allow-callbacks", "127.0.0.1", "--mdns=false")
	var listeners []<-chan string
	for _, c := range readme(t, "listen") {
		listeners = append(listeners, s.shell(built(c)))
	}
	callback := readme(t, "callback")
	require.Len(t, callback, 1)
	listeners = append(listeners, s.shell(built(callback[0])))
	require.Len(t, listeners, 5)

	say := readme(t, "say")
	require.Len(t, say, 2)
	heard := make(chan struct{})
	go func() { // each hears the first, whoever joined last
		defer close(heard)
		for _, l := range listeners {
			expect(t, l, "all your base")
		}
	}()
	require.Eventually(t, func() bool {
		for range s.shell(built(say[0])) { // to its end
		}
		select {
		case <-heard:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	}, patient, time.Millisecond)
	for range s.shell(built(say[1])) {
	}
	for _, l := range listeners {
		expect(t, l, "are belong")
	}
	assert.Zero(t, s.end(15), s.log.String())
}
