package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// house is a network of namespaces with a switch between them. It is in a namespace of its
// own, where this process is root and has its own /run.
type house struct {
	*testing.T
	dir string
}

// newHouse makes one in a process that harness.Unshare started.
func newHouse(t *testing.T) *house {
	h := &house{t, t.TempDir()}
	h.must("mount", "-t", "tmpfs", "none", "/run")
	h.must("ip", "link", "add", "name", "switch", "type", "bridge")
	h.must("ip", "link", "set", "switch", "up")
	return h
}

// must runs a program, and returns what it prints.
func (h *house) must(args ...string) string {
	h.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(h, err, "%v: %s", args, out)
	return string(out)
}

// machine is a namespace in that network.
type machine struct {
	h         *house
	name, dir string
	bus       string
	seen      string // what browse returned last
}

func (m *machine) String() string { return m.seen }

// machine makes one with the address 10.79.0.n.
func (h *house) machine(name string, n int) *machine {
	m := &machine{h: h, name: name, dir: filepath.Join(h.dir, name)}
	require.NoError(h, os.Mkdir(m.dir, 0o755))
	h.must("ip", "netns", "add", name)
	h.must("ip", "-n", name, "link", "set", "lo", "up")
	m.plug("lan", fmt.Sprintf("10.79.0.%d/24", n), fmt.Sprintf("fd79::%d/64", n))
	return m
}

// plug gives the machine an interface at the switch.
func (m *machine) plug(name string, addresses ...string) {
	end := name + m.name
	m.h.must("ip", "link", "add", "name", end, "type", "veth", "peer", "name", name, "netns", m.name)
	m.h.must("ip", "link", "set", end, "master", "switch", "up")
	for _, a := range addresses {
		args := []string{"ip", "-n", m.name, "addr", "add", a, "dev", name}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		} else {
			args = append(args, "brd", "+")
		}
		m.h.must(args...)
	}
	m.h.must("ip", "-n", m.name, "link", "set", name, "up")
}

// start starts a program there, and returns what it logs.
func (m *machine) start(env []string, args ...string) (log *safeBuffer, end func()) {
	m.h.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", m.name}, args...)...)
	cmd.Env, cmd.Dir = append(env, "PATH="+os.Getenv("PATH")+":/usr/sbin"), m.dir
	log = &safeBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(m.h, cmd.Start())
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	m.h.Cleanup(end)
	return log, end
}

// avahi starts avahi-daemon, with a bus of its own. To the daemon this user is avahi.
func (m *machine) avahi() {
	m.bus = "unix:path=" + filepath.Join(m.dir, "bus")
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/:/bin/sh\navahi:x:0:0::/:/bin/false\n",
		"group":  "root:x:0:\navahi:x:0:\n",
		"bus.conf": `<busconfig><type>system</type><listen>` + m.bus + `</listen><auth>EXTERNAL</auth><policy context="default">` +
			`<allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/><allow send_requested_reply="true"/></policy></busconfig>`,
		"avahi.conf": "[server]\nhost-name=" + m.name + "\nuse-ipv4=yes\nuse-ipv6=yes\n",
	} {
		require.NoError(m.h, os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600))
	}
	env := []string{"DBUS_SYSTEM_BUS_ADDRESS=" + m.bus}
	m.start(env, "dbus-daemon", "--config-file=bus.conf", "--nofork", "--nopidfile")
	m.h.Eventually(func() bool { _, err := os.Stat(filepath.Join(m.dir, "bus")); return err == nil })
	log, _ := m.start(env, "unshare", "-m", "sh", "-c", "mount --bind passwd /etc/passwd && mount --bind group /etc/group && mkdir -p /run/avahi-daemon &&"+
		"mount -t tmpfs none /run/avahi-daemon && exec avahi-daemon -f avahi.conf --no-drop-root --no-chroot --no-rlimits")
	m.h.Eventually(func() bool { return strings.Contains(log.String(), "Server startup complete") }, log)
}

// browse returns the services of a type that avahi finds, as lines: interface, family,
// instance, host, address, port, text.
func (m *machine) browse(kind string) string {
	ctx, cancel := context.WithTimeout(m.h.Context(), patient)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", m.name, "avahi-browse", "-rtpk", kind)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+m.bus)
	out, err := cmd.CombinedOutput()
	if ctx.Err() == nil { // it may wait without an end for a service that left meanwhile
		require.NoError(m.h, err, "%s", out)
	}
	m.seen = regexp.MustCompile(`\\\d{3}`).ReplaceAllStringFunc(string(out), func(code string) string {
		n, _ := strconv.Atoi(code[1:])
		return string(rune(n))
	})
	return m.seen
}

// Eventually waits for a condition that may take a second to look at.
func (h *house) Eventually(is func() bool, why ...fmt.Stringer) {
	h.Helper()
	for late := time.Now().Add(4 * patient); !is(); time.Sleep(20 * time.Millisecond) {
		require.True(h, time.Now().Before(late), "it does not happen: %s", why)
	}
}

// gateway starts a gateway, and waits until it serves.
func (m *machine) gateway(args ...string) (log *safeBuffer, end func()) {
	m.h.Helper()
	log, end = m.start(environ(m.h.TempDir()), append([]string{harness.Program(m.h, "cmd/watchtower"), "serve"}, args...)...)
	m.h.Eventually(func() bool { return strings.Contains(log.String(), "msg=serving") }, log)
	return log, end
}

// find runs watchtower find.
func (m *machine) find(args ...string) (out string, code int) {
	cmd := exec.Command("ip", append([]string{"netns", "exec", m.name, harness.Program(m.h, "cmd/watchtower"), "find"}, args...)...)
	cmd.Env = environ(m.dir)
	b, _ := cmd.CombinedOutput() // the exit code says it
	return string(b), cmd.ProcessState.ExitCode()
}

// twoHouses reports whether avahi finds two gateways of one name.
func (m *machine) twoHouses() bool {
	got := m.browse("_watchtower._udp")
	for _, name := range []string{"house", `house \(2\)`} {
		if !regexp.MustCompile(`(?m)^=;lan;IPv4;Watchtower ` + name + `;_watchtower._udp;local;watchtower-[0-9a-f]{8}.local;10.79.0.[12];3033;`).MatchString(got) {
			return false
		}
	}
	return true
}

// Gateways are found by avahi and by their own program, also two of one name, until they say
// goodbye. One that is not announced is found by its answer to a broadcast.
func TestFound(t *testing.T) {
	t.Parallel()
	if !harness.Unshared() {
		harness.Unshare(t, []string{"-m"})
		return
	}
	h := newHouse(t)
	home, cellar, shed, away := h.machine("home", 1), h.machine("cellar", 2), h.machine("shed", 3), h.machine("away", 9)
	out, code := away.find("--timeout", "100ms")
	assert.Equal(t, exitError, code)
	assert.Regexp(t, "^watchtower: no gateway answered within 100ms: none runs in this network, .*\n$", out)
	out, code = away.find("--timeout", "100ms", "--json")
	assert.Equal(t, exitError, code)
	assert.Contains(t, out, `{"gateways":[]}`)

	away.avahi()
	home.gateway("--gateway-name", "house")
	_, end := cellar.gateway("--gateway-name", "house", "--mqtt", "127.0.0.1:1883", "--http", "10.79.0.2:8081")
	shed.gateway("--gateway-name", "hut", "--tcp", "", "--mdns=false")
	h.Eventually(away.twoHouses, away)
	out, code = away.find("--timeout", "500ms")
	assert.Zero(t, code, out)
	assert.Regexp(t, `^NAME +ADDRESS +HTTP +MQTT +UDP +TCP +VERSION +ID +FOUND BY\n`+
		`- +10.79.0.3 +- +- +3033 +- +- +[0-9a-f]{8} +broadcast\n`+
		`(house +10.79.0.(1 +8080 +1883|2 +8081 +-) +3033 +3033 +0.1.0 +[0-9a-f]{8} +mdns, broadcast\n){2}$`, out)
	end()
	h.Eventually(func() bool { return !strings.Contains(away.browse("_watchtower._udp"), "10.79.0.2") }, away)
	assert.Contains(t, away.seen, "10.79.0.1", "it goes on")
}
