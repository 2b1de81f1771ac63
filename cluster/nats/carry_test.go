package nats

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/cluster"
	"watchtower/config"
	"watchtower/internal/harness"
)

var viaTest = bridge.NewProtocol("test")

// certificate writes one that signs itself, and its key, for 127.0.0.1.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	write := func(name, kind string, b []byte) string {
		file := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

// gateway is a hub among others, whose member notes what comes.
type gateway struct {
	*Transport
	hub  *bridge.Hub
	node *cluster.Node
	from *bridge.Device

	mu    sync.Mutex
	heard []string
}

func (g *gateway) got() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.heard)
}

// start starts the gateway of a slot, with a member of channel 5.
func start(t *testing.T, slot bridge.Slot, settings config.Cluster, log *logrus.Logger) *gateway {
	t.Helper()
	g := &gateway{}
	name := fmt.Sprint("g", slot)
	limits := config.Default().Limits
	limits.MessageBytes = 4 << 20
	g.hub, _ = harness.Hub(t, viaTest, bridge.Options{Tree: bridge.NewTree("w", name), Slot: slot, Limits: limits})
	link := g.hub.AddLink(viaTest, bridge.LinkQueue, bridge.LinkPatience)
	tr, err := Connect(Options{Cluster: settings, Limits: limits, Gateway: name}, log)
	require.NoError(t, err)
	g.Transport = tr
	g.node = cluster.New(g.hub, tr, cluster.Options{Slot: slot, Name: name, Run: uint64(time.Now().UnixNano())}, log)
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { assert.NoError(t, tr.Serve(ctx, slot, g.node)) })
	parts.Go(func() { link.Run(ctx, g.fan) })
	t.Cleanup(func() {
		cancel()
		parts.Wait()
		tr.Close()
	})
	g.from = bridge.NewDevice(g.hub, viaTest, true, nil)
	wait, err := g.from.RegisterName(fmt.Sprint("d", slot), bridge.Unproved, func() {})
	require.NoError(t, err)
	if wait != nil {
		require.NoError(t, wait())
	}
	require.NoError(t, g.from.Join(5))
	return g
}

func (g *gateway) fan(jobs []bridge.Job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, j := range jobs {
		if j.Message.Gateway != 0 {
			g.heard = append(g.heard, string(j.Message.Data))
		}
		j.Done(g.hub.Counters(), viaTest, len(j.To), 0)
	}
}

// says publishes n messages, of which every third is written by a round of its own, as in an event
// loop, and some are large.
func (g *gateway) says(t *testing.T, n int) (want []string) {
	large := bytes.Repeat([]byte("large "), 100<<10)
	var r outbound.Round
	for i := range n {
		text := fmt.Sprint(i)
		if i%150 == 99 {
			text = fmt.Sprintf("%d %s", i, large)
		}
		want = append(want, text)
		m := &bridge.Message{Channel: 5, ID: ulid.Make(), Sender: g.from.Sender().ID(), Type: bridge.Broadcast, Time: g.hub.Now(), Data: []byte(text)}
		if i%3 > 0 {
			g.node.Say(m, true, nil)
			continue
		}
		g.node.Say(m, true, &r)
		r.Flush()
	}
	return want
}

// Frames and what the library writes share a connection: neither cuts the other in two, whatever
// carries it.
func TestFramesGoBetweenWhatTheLibrarySays(t *testing.T) {
	cert, key := certificate(t)
	secure := fmt.Sprintf("tls {cert_file: %q, key_file: %q}\n", cert, key)
	web := harness.FreeAddress(t)
	_, port, err := net.SplitHostPort(web)
	require.NoError(t, err)
	for _, way := range []struct{ name, more, scheme, address string }{
		{"TCP", "", "nats", ""},
		{"TLS", secure, "tls", ""},
		{"WebSocket", fmt.Sprintf("websocket {listen: %q, no_tls: true}", "127.0.0.1:"+port), "ws", web},
	} {
		t.Run(way.name, func(t *testing.T) {
			servers := harness.StartNATS(t, 1, way.more)
			at := way.address
			if at == "" {
				at = servers.Address(0)
			}
			settings := config.Cluster{URL: way.scheme + "://" + at, Space: "home"}
			if way.scheme == "tls" {
				settings.TLSCA = cert
			}
			a, b := start(t, 1, settings, harness.Silent()), start(t, 2, settings, harness.Silent())
			soon(t, "they know each other", func() bool {
				all := append(a.node.Others(), b.node.Others()...)
				return len(all) == 2 && all[0].Known && all[1].Known
			})
			assert.Equal(t, way.scheme == "nats", isPlain(a.conn))
			var over atomic.Bool
			var asking sync.WaitGroup
			asking.Go(func() { // the library's own, of many sizes
				for i := 0; !over.Load(); i++ {
					assert.NoError(t, a.conn.Publish("wt.home.r.2", make([]byte, i%20_000)))
					_, err := a.Request(t.Context(), 2, []byte("?"), harness.Patience)
					assert.NoError(t, err)
				}
			})
			servers.Signal(0, syscall.SIGSTOP) // so that its socket fills
			time.AfterFunc(300*time.Millisecond, func() { servers.Signal(0, syscall.SIGCONT) })
			want := a.says(t, 3000)
			soon(t, "all comes", func() bool { return b.got() == len(want) })
			over.Store(true)
			asking.Wait()
			b.mu.Lock()
			assert.Equal(t, want, b.heard)
			b.mu.Unlock()
			origin := b.node.Others()[0]
			assert.Zero(t, origin.Lost+origin.Resent+origin.Repeated)
			assert.Zero(t, a.conn.Reconnects)
		})
	}
}

// A message that is larger than the servers take is let go, and those around it come.
func TestAFrameThatIsTooLargeIsLetGo(t *testing.T) {
	servers := harness.StartNATS(t, 1, "max_payload: 100KB")
	log, logged := logtest.NewNullLogger()
	settings := config.Cluster{URL: servers.URL(), Space: "home"}
	a, b := start(t, 1, settings, log), start(t, 2, settings, harness.Silent())
	soon(t, "they know each other", func() bool { return len(b.node.Others()) == 1 && b.node.Others()[0].Known })
	want := a.says(t, 199) // with a large one among them
	soon(t, "the rest comes", func() bool { return b.got() == len(want)-1 })
	b.mu.Lock()
	assert.Equal(t, append(want[:99:99], want[100:]...), b.heard)
	b.mu.Unlock()
	assert.EqualValues(t, 1, b.node.Others()[0].Lost, "it is not to be had, and counted")
	soon(t, "the log says so", func() bool {
		for _, e := range logged.AllEntries() {
			if e.Level == logrus.ErrorLevel && e.Message == tooLarge {
				return true
			}
		}
		return false
	})
	assert.Zero(t, a.conn.Reconnects)
}

// What is said while the server is gone comes when it is back, and what was on its way is asked for.
// The log says once that the connection was lost.
func TestAServerThatIsGoneAndBack(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	log, logged := logtest.NewNullLogger()
	settings := config.Cluster{URL: servers.URL(), Space: "home"}
	a, b := start(t, 1, settings, log), start(t, 2, settings, harness.Silent())
	soon(t, "they know each other", func() bool { return len(b.node.Others()) == 1 && b.node.Others()[0].Known })
	logged.Reset()
	want := a.says(t, 140)
	servers.Kill(0)
	for i := range 140 {
		text := fmt.Sprint("meanwhile ", i)
		want = append(want, text)
		a.node.Say(&bridge.Message{Channel: 5, ID: ulid.Make(), Sender: a.from.Sender().ID(), Type: bridge.Broadcast, Time: a.hub.Now(), Data: []byte(text)}, true, nil)
	}
	servers.Start(0)
	servers.Listens(0)
	soon(t, "all comes", func() bool { return b.got() == len(want) })
	b.mu.Lock()
	assert.Equal(t, want, b.heard)
	b.mu.Unlock()
	assert.Zero(t, b.node.Others()[0].Lost)
	lost := 0
	for _, e := range logged.AllEntries() {
		assert.NotEqual(t, logrus.ErrorLevel, e.Level, e.Message)
		if strings.HasPrefix(e.Message, "no connection") {
			lost++
		}
	}
	assert.Equal(t, 1, lost)
}
