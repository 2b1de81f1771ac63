package gateway_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// A NATS server may die in every way: nothing is lost, doubled or put out of order.
func TestANATSServerDies(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 3, "")
	b := besiege(t, siegePace, servers.URL(), servers.URL(), servers.URL())
	b.goesOn("before")
	for i := range 3 {
		servers.Kill(i)
		b.goesOn("one was killed")
		servers.Start(i)
		servers.Listens(i)
		b.goesOn("and is back")
	}
	for i := range 3 { // one of them is that of each gateway
		servers.Signal(i, syscall.SIGSTOP)
		b.goesOn("one was frozen")
		servers.Signal(i, syscall.SIGCONT)
		b.goesOn("and goes on")
		servers.Stop(i)
		b.goesOn("one was stopped")
		servers.Start(i)
		servers.Listens(i)
		b.goesOn("and was started")
	}
	b.isOver()
}

// While a gateway is cut off, both sides go on. Afterwards each hears what it missed.
func TestAGatewayIsCutOff(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	cable := harness.NewCable(t, servers.Address(0))
	b := besiege(t, siegePace, servers.URL(), servers.URL(), "nats://"+cable.Addr())
	b.goesOn("before")
	for _, cut := range []func(){cable.Cut, cable.Freeze} {
		cut()
		alone := b.gateways[2]
		eventually(t, "its members are gone", func() bool { return !b.gateways[0].meets("g2") })
		status, _ := alone.call("POST", "/register", "application/json", `{"secret_key":"`+key+`"}`)
		assert.Equal(t, 200, status, "a registration without a name")
		cable.Mend()
		b.goesOn("it is back")
	}
	b.isOver()
}

// A gateway may die in every way: the others lose nothing, and when it is back, it hears again.
func TestAGatewayOfASpaceDies(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	b := besiege(t, siegePace, servers.URL(), servers.URL())
	p := newProcess(t)
	p.args = []string{"--cluster-url", servers.URL(), "--gateway-name", "victim", "--mdns=false"}
	seen := func(here bool) {
		t.Helper()
		for _, r := range b.gateways {
			eventually(t, fmt.Sprint("the others see that it is here: ", here), func() bool { return r.meets("victim") == here })
		}
	}
	starts := func() (end func()) {
		p.start()
		seen(true)
		victim := &running{t: t, at: addresses{HTTP: p.http, MQTT: p.mqtt}}
		eventually(t, "it hears the others", func() bool {
			_, metrics := victim.call("GET", "/metrics", "", "")
			return strings.Contains(metrics, `watchtower_peer_up{gateway="g1"} 1`) && strings.Contains(metrics, `watchtower_peer_up{gateway="g0"} 1`)
		})
		end = b.listensLate(victim)
		b.goesOn("it is there")
		return end
	}
	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		end := starts()
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGSTOP))
		b.saysMore()
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGCONT))
		b.goesOn("it goes on")
		end()
		require.NoError(t, p.cmd.Process.Signal(how))
		_ = p.cmd.Wait()
		b.goesOn("it has ended")
		seen(false)
	}
	starts()()
	b.isOver()
}
