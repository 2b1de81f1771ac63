package gateway_test

import (
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
	"watchtower/internal/harness"
)

// tape is a way to a gateway that keeps what a device sends.
type tape struct {
	device, gateway *net.UDPConn
	running         sync.WaitGroup

	mu   sync.Mutex
	sent [][]byte
	from *net.UDPAddr
}

func newTape(t testing.TB, udp string) *tape {
	device, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	to, err := net.ResolveUDPAddr("udp", udp)
	require.NoError(t, err)
	gateway, err := net.DialUDP("udp", nil, to)
	require.NoError(t, err)
	p := &tape{device: device, gateway: gateway}
	p.running.Go(func() {
		for b := make([]byte, 2000); ; {
			n, from, err := device.ReadFromUDP(b)
			if err != nil {
				return
			}
			p.mu.Lock()
			p.sent, p.from = append(p.sent, slices.Clone(b[:n])), from
			p.mu.Unlock()
			_, _ = gateway.Write(b[:n]) // a loss is repeated
		}
	})
	p.running.Go(func() {
		for b := make([]byte, 2000); ; {
			n, err := gateway.Read(b)
			if err != nil {
				return
			}
			p.mu.Lock()
			_, _ = device.WriteToUDP(b[:n], p.from) // likewise
			p.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_, _ = device.Close(), gateway.Close()
		p.running.Wait()
	})
	return p
}

// replay sends again what was sent.
func (p *tape) replay(t testing.TB) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.sent {
		_, err := p.gateway.Write(b)
		require.NoError(t, err)
	}
	return len(p.sent)
}

// Who has recorded a device confirms nothing with that, neither while the other's word waits nor
// after the delivery.
func TestALaunchIsNotReplayed(t *testing.T) {
	t.Parallel()
	r := startWith(t, launchConfig(t))
	next := r.heardOn("9")
	recorded := newTape(t, r.at.UDP)
	ctx := leniently(t)
	hall, err := session.Dial(ctx, "udp", recorded.device.LocalAddr().String(), session.Options{Key: r.keyOf("hall"), Own: true, Name: "hall"})
	require.NoError(t, err)
	defer func() { _ = hall.Close(ctx) }()
	require.NoError(t, hall.Join(ctx, 9, 10))
	door := r.overSession("tcp", "door", r.keyOf("door"))
	_, of, err := hall.Confirm(ctx, session.Text, []byte("motion"), 9)
	require.NoError(t, err)
	require.Equal(t, 2, of)
	assert.Contains(t, next(), `"confirmed":1`)
	require.Equal(t, "taken", door(9, "motion"))
	assert.Contains(t, next(), `"confirmed_by"`)

	replayed := func() {
		require.Greater(t, recorded.replay(t), 2)
		require.NoError(t, hall.Broadcast(ctx, session.Text, []byte("all before it has arrived"), 5))
	}
	require.NoError(t, hall.Join(ctx, 5))
	replayed()
	assert.Empty(t, r.g.Hub().Directory().HalfConfirmed(), "a replay begins no round")
	assert.Equal(t, waits(1, 2), door(9, "motion"))
	replayed()
	assert.Equal(t, map[bridge.Channel]int{9: 1}, r.g.Hub().Directory().HalfConfirmed(), "and ends none")
	assert.Contains(t, next(), `"confirmed":1`)
}

// Gateways that share their channels count each for itself. What one delivers, all deliver.
func TestALaunchAtTwoGateways(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	launch := launchConfig(t)
	rules := func(c *config.Config) { c.Users, c.Channels = launch.Users, launch.Channels }
	attic, cellar := together(t, servers.URL(), "attic", rules), together(t, servers.URL(), "cellar", rules)
	meet(t, attic, cellar)
	above, below := attic.heardOn("9"), cellar.heardOn("9")
	bob := cellar.overMQTT("bob", "bob-pass", "phone")
	attic.overMQTT("ann", "ann-pass", "desk")(9, "go")
	assert.Contains(t, above(), `"confirmed":1,"of":2`)
	bob(9, "go")
	assert.Contains(t, below(), `"confirmed":1,"of":2`, "it does not know what was said at the other one")
	cellar.overMQTT("ann", "ann-pass", "tablet")(9, "go")
	assert.Contains(t, below(), `"confirmed_by":[`)
	assert.Contains(t, above(), `"confirmed_by":[`)
}
