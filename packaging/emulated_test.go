//go:build packages

package packaging

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the table of docs/raspberry-pi.md anew")

const emulatedKey = "a-key-of-the-test"

// machine types that a released program runs on. A processor that is not this machine's is
// emulated. The ARM1176 is that of the first Raspberry Pi and of the Zero.
var machineTypes = []struct {
	name     string
	env      []string
	emulator []string
}{
	{"amd64", []string{"GOARCH=amd64"}, nil},
	{"arm64", []string{"GOARCH=arm64"}, []string{"qemu-aarch64-static"}},
	{"armv6", []string{"GOARCH=arm", "GOARM=6"}, []string{"qemu-arm-static", "-cpu", "arm1176"}},
}

// emulated is a gateway on one of them.
type emulated struct {
	*testing.T
	cmd  *exec.Cmd
	log  *strings.Builder
	http string
	mqtt string
	udp  string

	clients []mqtt.Client
}

// The released programs of a Raspberry Pi start, speak each protocol and remember, and take as
// little memory as docs/raspberry-pi.md says.
func TestTheProgramsOfARaspberryPi(t *testing.T) {
	client, err := filepath.Abs("../dist/watchtower")
	require.NoError(t, err)
	table := "| Program | Size | Empty | 100 MQTT clients | 1,000 MQTT clients |\n|---|---|---|---|---|\n"
	for _, m := range machineTypes {
		program, data := filepath.Join(t.TempDir(), "watchtower"), t.TempDir()
		build := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w", "-o", program, "../cmd/watchtower")
		build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), m.env...)
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
		info, err := os.Stat(program)
		require.NoError(t, err)
		assert.LessOrEqual(t, info.Size(), int64(mostBytes), m.name)

		run := append(append([]string{}, m.emulator...), program)
		g := emulate(t, run, data)
		id := g.speaks(client)
		g.stop()
		g = emulate(t, run, data)
		assert.Equal(t, id, g.speaks(client), "%s: a name keeps its sender id", m.name)
		g.stop()

		g = emulate(t, run, data)
		row := fmt.Sprintf("| %s | %.1f MB | %s", m.name, float64(info.Size())/1e6, g.holds())
		for _, n := range []int{100, 900} {
			g.connects(n)
			row += " | " + g.holds()
		}
		table += row + " |\n"
		g.stop()
	}
	t.Log("\n" + table)
	writeTable(t, "../docs/raspberry-pi.md", table)
}

func emulate(t *testing.T, program []string, data string) *emulated {
	t.Helper()
	var ports [3]string
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ports[i] = l.Addr().String()
		require.NoError(t, l.Close())
	}
	g := &emulated{T: t, http: ports[0], mqtt: ports[1], udp: ports[2]}
	args := append(program[1:len(program):len(program)], "--http", g.http, "--mqtt", g.mqtt, "--udp", g.udp, "--tcp", g.udp, "--mdns=false",
		"--data-dir", data, "--secret-key", emulatedKey, "--limits-connections-per-address", "2000")
	g.cmd = exec.Command(program[0], args...)
	g.log = &strings.Builder{}
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	t.Cleanup(func() {
		if t.Failed() {
			_ = g.cmd.Process.Kill()
			_ = g.cmd.Wait() // it may have ended before
			t.Log(g.log)
		}
	})
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, g.cmd.Start())
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://" + g.http + "/healthz")
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil
	}, time.Minute, 50*time.Millisecond, "%v", program)
	return g
}

func (g *emulated) stop() {
	g.Helper()
	for _, c := range g.clients {
		c.Disconnect(0)
	}
	require.NoError(g, g.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(g, g.cmd.Wait())
}

// speaks has what is said over HTTP heard over MQTT and in session frames, and returns the id of
// the name that said it.
func (g *emulated) speaks(client string) (id string) {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.Context(), time.Minute)
	defer cancel()
	own := "--data-dir=" + g.TempDir() // the client's identities
	env := append(os.Environ(), "WATCHTOWER_SECRET_KEY="+emulatedKey, "WATCHTOWER_URL=http://"+g.http, "XDG_STATE_HOME="+strings.TrimPrefix(own, "--data-dir="))
	hears := func(command ...string) *bufio.Reader {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Env = env
		out, err := cmd.StdoutPipe()
		require.NoError(g, err)
		cmd.Stderr = cmd.Stdout
		require.NoError(g, cmd.Start())
		g.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return bufio.NewReader(out)
	}
	until := func(r *bufio.Reader, want string) string {
		g.Helper()
		for {
			line, err := r.ReadString('\n')
			require.NoError(g, err, want)
			if strings.Contains(line, want) {
				return line
			}
		}
	}
	topics := make(chan string, 8)
	g.subscribe(func(_ mqtt.Client, m mqtt.Message) { topics <- m.Topic() })
	overUDP := hears(client, "join", "--udp="+g.udp, "--name", "lamp", "5")
	until(overUDP, "following")
	say := exec.CommandContext(ctx, client, "broadcast", "--name", "kitchen", "5", "dinner is ready")
	say.Env = env
	out, err := say.CombinedOutput()
	require.NoError(g, err, "%s", out)
	until(overUDP, "dinner is ready")
	select {
	case topic := <-topics:
		return filepath.Base(topic)
	case <-ctx.Done():
		require.FailNow(g, "nothing is heard over MQTT")
		return ""
	}
}

// subscribe connects an MQTT client with a subscription.
func (g *emulated) subscribe(heard mqtt.MessageHandler) {
	g.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + g.mqtt).SetUsername("ear").SetPassword(emulatedKey).
		SetConnectTimeout(time.Minute).SetAutoReconnect(false))
	for _, token := range []func() mqtt.Token{c.Connect, func() mqtt.Token { return c.Subscribe("watchtower/channels/5/broadcast/+", 0, heard) }} {
		done := token()
		require.True(g, done.WaitTimeout(time.Minute))
		require.NoError(g, done.Error())
	}
	g.clients = append(g.clients, c)
}

// connects connects MQTT clients.
func (g *emulated) connects(n int) {
	g.Helper()
	for range n {
		g.subscribe(func(mqtt.Client, mqtt.Message) {})
	}
}

// holds tells the memory that Go holds, and what is resident if nothing emulates, eight seconds
// after the last client came: three seconds after its start a gateway gives back what that needed.
// It asks once, because each answer is garbage.
func (g *emulated) holds() string {
	g.Helper()
	settled := time.Now().Add(8 * time.Second)
	require.Eventually(g, func() bool { return time.Now().After(settled) }, time.Minute, time.Second)
	return g.held()
}

func (g *emulated) held() string {
	g.Helper()
	answer, err := http.Get("http://" + g.http + "/metrics")
	require.NoError(g, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(g, err)
	value := func(name string) float64 {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(b)
		require.NotNil(g, m, name)
		v, err := strconv.ParseFloat(string(m[1]), 64)
		require.NoError(g, err)
		return v / (1 << 20)
	}
	const ballast = 12 // MiB of address space that is never touched
	text := fmt.Sprintf("%.0f MiB", value("go_memstats_sys_bytes")-value("go_memstats_heap_released_bytes")-ballast)
	if resident := value("process_resident_memory_bytes"); resident > 0 {
		text += fmt.Sprintf(" (%.0f resident)", resident)
	}
	return text
}

// writeTable replaces the only table of a page if that is asked for.
func writeTable(t *testing.T, page, table string) {
	t.Helper()
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	whole := regexp.MustCompile(`(?m)(^\|.*\|\n)+`)
	require.Len(t, whole.FindAll(b, -1), 1)
	if *update {
		require.NoError(t, os.WriteFile(page, whole.ReplaceAllLiteral(b, []byte(table)), 0o644))
	}
}
