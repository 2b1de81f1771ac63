package arduino_test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/wire"
)

// town is a network with one device, a gateway, and another that answers questions only.
type town struct {
	testing.TB
	socket *net.UDPConn
	fork   sync.WaitGroup

	mu     sync.Mutex
	house  netip.Addr // the gateway's address there
	wrong  netip.Addr // the other's
	up     net.Conn   // to the gateway
	asked  int        // questions that were heard
	device netip.AddrPort
}

func newTown(t testing.TB, gateway string, house, wrong string) *town {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	w := &town{TB: t, socket: socket, house: netip.MustParseAddr(house), wrong: netip.MustParseAddr(wrong)}
	w.up, err = net.Dial("udp", gateway)
	require.NoError(t, err)
	w.fork.Go(w.out)
	w.fork.Go(w.in)
	t.Cleanup(func() {
		_ = socket.Close()
		_ = w.up.Close()
		w.fork.Wait()
	})
	return w
}

// out takes what the device sends.
func (w *town) out() {
	b := make([]byte, 2048)
	for {
		n, from, err := w.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		to, raw := netip.AddrFrom4([4]byte(b)), b[4:n]
		w.mu.Lock()
		w.device = from
		broadcast := to == netip.AddrFrom4([4]byte{255, 255, 255, 255})
		if broadcast {
			w.asked++
			if raw[0] == 'W' {
				w.deliver(w.wrong, wire.AppendWhere(nil, wire.Where{Version: 1, Gateway: 77}))
			}
		}
		if broadcast || to == w.house {
			_, _ = w.up.Write(raw)
		}
		w.mu.Unlock()
	}
}

// in takes what the gateway sends.
func (w *town) in() {
	b := make([]byte, 2048)
	for {
		n, err := w.up.Read(b)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.deliver(w.house, b[:n])
		w.mu.Unlock()
	}
}

func (w *town) deliver(from netip.Addr, raw []byte) {
	_, _ = w.socket.WriteToUDPAddrPort(append(from.AsSlice(), raw...), w.device) // the device may be gone
}

func (w *town) questions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// finder runs the sketch that looks for its gateway.
func finder(t testing.TB, w *town, key string, options ...string) *bufio.Scanner {
	program := once(t, "finds"+fmt.Sprint(options), func(out string) {
		hash := out + ".o"
		run(t, "gcc", append(slices.Clone(sanitized), "-c", filepath.Join(src, "wt_sip.c"), "-o", hash)...)
		args := append([]string{"-std=gnu++11"}, sanitized...)
		args = append(args, "-Wno-unused-function", "-I"+filepath.Join("testdata", "pc"), "-I"+filepath.Join("testdata", "esp"), fmt.Sprintf("-DSPEED=%d", speed))
		run(t, "g++", append(append(args, options...), filepath.Join("testdata", "finds.cpp"), hash, "-o", out)...)
	})
	_, port, err := net.SplitHostPort(w.socket.LocalAddr().String())
	require.NoError(t, err)
	return started(t, exec.Command(program, port, key))
}

// started starts a program that ends with the test, and returns its lines.
func started(t testing.TB, cmd *exec.Cmd) *bufio.Scanner {
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	return bufio.NewScanner(out)
}

func expectLine(t testing.TB, lines *bufio.Scanner, want string) {
	t.Helper()
	require.True(t, lines.Scan())
	require.Equal(t, want, lines.Text())
}

// The class finds its gateway by the first or second question, which is within two seconds.
// Another gateway, which does not know its key, makes no difference. It finds the gateway
// again after that got another address.
func TestTheClassFindsItsGateway(t *testing.T) {
	t.Parallel()
	udp, _, key := withKey(t, "lamp", nil)
	w := newTown(t, udp, "10.0.0.2", "10.0.0.9")
	lines := finder(t, w, key, "-DWATCHTOWER_KEEPALIVE=5")
	expectLine(t, lines, "r 0")
	assert.LessOrEqual(t, w.questions(), 8, "the first, or the second, and one with the cookie; more on a busy machine")
	expectLine(t, lines, "j 0")
	w.mu.Lock()
	w.house = netip.MustParseAddr("10.0.0.3")
	w.mu.Unlock()
	expectLine(t, lines, "p 15")
	expectLine(t, lines, "r 0")
	expectLine(t, lines, "j 0")
}

// The class for basic frames tries each gateway that answers in turn, or takes the one with
// the right number.
func TestTheBasicClassFindsItsGateway(t *testing.T) {
	t.Parallel()
	udp, _ := startGateway(t, nil)
	w := newTown(t, udp, "10.0.0.2", "10.0.0.9")
	lines := finder(t, w, secret, "-DBASIC")
	expectLine(t, lines, "K 0")
	expectLine(t, lines, "J 0")
	assert.LessOrEqual(t, w.questions(), 3)

	w = newTown(t, udp, "10.0.0.2", "10.0.0.9")
	lines = finder(t, w, secret, "-DBASIC", fmt.Sprintf("-DWATCHTOWER_GATEWAY=0x%xu", numberOf(t, udp)))
	expectLine(t, lines, "K 0")
	assert.LessOrEqual(t, w.questions(), 2)
}

// numberOf asks a gateway for its number.
func numberOf(t testing.TB, udp string) uint32 {
	c, err := net.Dial("udp", udp)
	require.NoError(t, err)
	defer c.Close()
	question, err := wire.AppendRequest(nil, wire.Request{Op: wire.OpWhere})
	require.NoError(t, err)
	_, err = c.Write(question)
	require.NoError(t, err)
	b := make([]byte, 100)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(harness.Patience)))
	n, err := c.Read(b)
	require.NoError(t, err)
	where, err := wire.ParseWhere(b[:n])
	require.NoError(t, err)
	return where.Gateway
}

const lampAt = "WATCHTOWER_TEST_LAMP" // names the program, in the process that has a network of its own

// The example for a PC finds a gateway by a real broadcast, and the module for Python does. This
// is in a network namespace that has one interface.
func TestAPCFindsItsGateway(t *testing.T) {
	t.Parallel()
	if !harness.Unshared() {
		harness.Unshare(t, nil, lampAt+"="+lamp(t))
		return
	}
	for _, args := range []string{"link add lan type veth peer name end", "addr add 10.79.0.1/24 brd + dev lan", "link set lan up", "link set end up", "route add default dev lan"} {
		run(t, "ip", strings.Fields(args)...)
	}
	udp, _, key := withKey(t, "lamp", func(c *config.Config) { c.UDP.Listen, c.MDNS = ":0", false })
	_, port, err := net.SplitHostPort(udp)
	require.NoError(t, err)
	lines := started(t, exec.Command(os.Getenv(lampAt), "-", port, key))
	expectLine(t, lines, "r 0")
	expectLine(t, lines, "j 0")
	for _, made := range []string{`Device(None, "lamp", "` + key + `"`, `Basic(None, "` + secret + `"`} { // so does Python
		cmd := exec.Command("/usr/bin/python3", "-c", "from watchtower_device import *; "+made+", port="+port+").join(5); print('joined')")
		cmd.Env = []string{"PYTHONPATH=" + modules}
		expectLine(t, started(t, cmd), "joined")
	}
}
