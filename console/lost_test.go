package console_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/bridge/store"
	"watchtower/config"
	devices "watchtower/device"
	"watchtower/internal/harness"
)

// look makes a call as an operator who may look, and returns a list of its answer.
func (r *running) look(path, list string) []any {
	r.Helper()
	r.signIn.Do(func() { // once: too many sessions of a user end the oldest, which a page may have
		r.token, _ = r.call("POST", "operator/session", "", map[string]any{"user": "lou", "password": password})["token"].(string)
	})
	all, _ := r.call("GET", "operator/"+path, r.token, nil)[list].([]any)
	return all
}

func (r *running) missing() []any { r.Helper(); return r.look("senders?missing=true", "senders") }

// relay passes datagrams on to an address, both ways, until it is blocked.
type relay struct {
	near    *net.UDPConn
	far     net.Conn
	mu      sync.Mutex
	blocked bool
	back    net.Addr // of the device
}

func newRelay(t testing.TB, to string) *relay {
	near, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	far, err := net.Dial("udp", to)
	require.NoError(t, err)
	r := &relay{near: near, far: far}
	var both sync.WaitGroup
	both.Go(func() {
		r.pass(func(b []byte) (n int, err error) {
			n, from, err := near.ReadFrom(b)
			r.mu.Lock()
			r.back = from
			r.mu.Unlock()
			return n, err
		}, far.Write)
	})
	both.Go(func() {
		r.pass(far.Read, func(b []byte) (int, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return near.WriteTo(b, r.back)
		})
	})
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
		both.Wait()
	})
	return r
}

func (r *relay) pass(read, write func([]byte) (int, error)) {
	for b := make([]byte, 2000); ; {
		n, err := read(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		blocked := r.blocked
		r.mu.Unlock()
		if !blocked {
			_, _ = write(b[:n])
		}
	}
}

// block lets nothing through from now on.
func (r *relay) block() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked = true
}

// A device behind a network that is blocked is silent, long before it is given up. The page
// says so, since when, and where it is.
func TestASilentDevice(t *testing.T) {
	t.Parallel()
	r := start(t)
	network := newRelay(t, r.g.Listening().At("udp"))
	d, err := devices.Dial(t.Context(), "udp", network.near.LocalAddr().String(), devices.Options{Secret: secretKey, Name: "pump", KeepAlive: 5 * time.Second})
	require.NoError(t, err)
	require.NoError(t, d.Join(t.Context(), 5, 7))
	p := r.as("lou", fmt.Sprintf("devices/%d", d.ID()))
	p.reads("here, last heard")
	p.reads(network.far.LocalAddr().String())
	p.reads("channel 5, 7")
	p.reads("nothing that the gateway knows of")
	network.block()
	harness.Eventually(t, func() bool { return len(r.missing()) == 1 })
	p.goes("devices")
	p.reads("Missing: 1 silent device")
	p.reads("silent for")
	p.reads("here, but silent, last heard")
	p.goes("")
	p.reads("It works, but somebody is missing.")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = d.Close(ended)
}

// A device without a name is remembered for a while when it has fallen silent.
func TestADeviceWithoutANameIsGone(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Wire.IdleTimeout = 200 * time.Millisecond })
	conn, id := r.basic("udp")
	at := conn.LocalAddr().String()
	harness.Eventually(t, func() bool { return len(r.look("gone", "gone")) == 1 })
	p := r.as("lou", "devices")
	p.reads("Left without a name, in the last hour")
	p.reads(fmt.Sprintf("Sender %d at %s, on channel 5", id, at))
	p.reads("It fell silent over UDP")
	p.reads("Nobody is missing")
}

// basic is a device with basic frames on channel 5 that says and reads nothing more.
func (r *running) basic(network string) (conn net.Conn, id uint32) {
	r.Helper()
	conn, err := net.Dial(network, r.g.Listening().At(network))
	require.NoError(r, err)
	r.Cleanup(func() { _ = conn.Close() })
	ask := func(b []byte) uint32 {
		_, err := conn.Write(b)
		require.NoError(r, err)
		require.NoError(r, conn.SetReadDeadline(time.Now().Add(harness.Patience)))
		answer := make([]byte, 5)
		_, err = io.ReadFull(conn, answer)
		require.NoError(r, err)
		require.Equal(r, byte('A'), answer[0])
		return binary.LittleEndian.Uint32(answer[1:])
	}
	id = ask(append([]byte{'K', byte(len(secretKey))}, secretKey...))
	ask(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32([]byte{'J'}, id), 5))
	return conn, id
}

// The overview says which receivers lost messages, and the device's page why.
func TestWhoLostMessages(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.HTTP.StreamQueue = 3 })
	_, id := r.basic("udp")
	r.device("kitchen", 5) // nobody reads its mailbox
	speaker := r.device("speaker", 5)
	for range 5 {
		r.says(speaker, 5, fmt.Sprintf("%2000d", 1))
	}
	p := r.as("lou", "")
	p.reads("It works, but messages were lost.")
	p.reads("Lost by ")
	p.waits(`[...document.querySelectorAll(".drops th small")].some(e => /^Lost by (speaker \(2, .*\), )?kitchen \(2, /.test(e.textContent))`)
	p.waits(fmt.Sprintf(`[...document.querySelectorAll(".drops th small")].some(e => e.textContent.startsWith("Lost by Sender %d (5, "))`, id))
	p.press("kitchen")
	p.reads("2 messages over HTTP")
	p.reads("A receiver read too slowly.")
	p.goes("")
	p.looks(390, "light")
	p.waits(`document.querySelector(".drops td[data-label]")`)
	labels := evaluate[[]string](p, `[...document.querySelectorAll(".drops tbody tr:first-child td[data-label]")].map(e => getComputedStyle(e, "::before").content)`)
	require.Len(t, labels, 2)
	assert.Contains(t, labels[0], "last 5 min")
	assert.Contains(t, labels[1], "in all")
}

// Lists of many are as quick as those of few: a page of a hundred is drawn.
func TestAHundredThousandSenders(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Limits.Senders = 200_000 })
	r.stop()
	kept, err := store.Open(filepath.Join(r.cfg.DataDir, "watchtower.db"), harness.Silent())
	require.NoError(t, err)
	var written func() error
	for i := range bridge.SenderID(100_000) {
		written = kept.Save(bridge.Record{ID: i + 1, Name: fmt.Sprint("lamp-", i), Seen: time.Now().Unix()})
	}
	require.NoError(t, written())
	kept.Close()
	r.start()
	p := r.as("lou", "devices")
	rows := `document.querySelectorAll("table.rows tbody tr").length`
	p.waits(rows + " === 100")
	p.press("More")
	p.waits(rows + " === 200")
	p.reads("Nobody is missing")
	token := r.device("needle")
	p.fill("Find a name or an id", "needle")
	p.waits(rows + " === 1")
	p.press("needle")
	p.waits(`document.querySelector("h1")?.textContent === "needle"`)
	assert.NotZero(t, r.id(token))
	assert.Less(t, evaluate[int](p, `document.querySelectorAll("*").length`), 2000)
}
