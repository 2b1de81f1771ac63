package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt/remote"
)

// A broker of MQTT 3.1.1 carries the channels, too: there the gateway is a bridge, which is not given
// its own messages. What the broker forgets is written again.
func TestAForeignBrokerOfMQTT311(t *testing.T) {
	t.Parallel()
	livesAt(t, harness.StartAedes(t), "3.1.1")
}

// livesAt has a gateway at a broker that forgets all when it is killed, and kills that twice: devices and
// the broker's clients talk, Home Assistant is heard, and what the gateway retains is there.
func livesAt(t *testing.T, m *harness.Mosquitto, version string) {
	r := startHomely(t, beside(t, m, func(c *config.Config) { c.Gateway.Name = "attic" }))
	r.isAtRemote()
	require.Contains(t, r.log.String(), "mqtt="+version)
	d, stream := r.wire("tcp"), r.stream()
	for _, after := range []string{"the start", "a restart of the broker", "another one"} {
		plug := r.foreign(m, "plug")
		all := []*device{d, stream, plug}
		for _, from := range all {
			word := "from " + from.name + " after " + after
			from.broadcast(5, []byte(word))
			for _, to := range all {
				if to != from {
					require.Equal(t, received{from.id, 5, false, word}, others(t, to), to.name)
				}
			}
		}
		word := "sent after " + after
		d.send(5, plug.id, []byte(word))
		require.Equal(t, received{d.id, 5, true, word}, others(t, plug))
		plug.send(5, d.id, []byte(word))
		require.Equal(t, received{plug.id, 5, true, word}, others(t, d))

		c := stranger(t, m, "house", "x", "")
		done(t, c.Publish("watchtower/channels/5/broadcast", 1, false, "of Home Assistant after "+after))
		for _, to := range []*device{d, stream, plug} {
			require.Equal(t, "of Home Assistant after "+after, others(t, to).data)
		}
		kept := make(chan string, 100)
		done(t, c.Subscribe("watchtower/#", 1, func(_ paho.Client, m paho.Message) {
			if m.Retained() {
				kept <- m.Topic()
			}
		}))
		want := map[string]bool{"watchtower/gateways/attic/status": true, "watchtower/gateways/attic/info": true, "watchtower/members/5/attic": true}
		for len(want) > 0 {
			select {
			case topic := <-kept:
				delete(want, topic)
			case <-time.After(patient):
				require.Empty(t, want)
			}
		}
		m.Kill()
		look := func() string { return r.membersOf(d.id) }
		m.Start()
		r.isAtRemote()
		eventually(t, "the broker has forgotten the plug", func() bool { return !strings.Contains(look(), `"plug"`) })
	}
}

// A broker that would give the gateway its own messages cannot be used: the gateway ends, and says why.
func TestABrokerWithNeitherMQTT5NorBridgesIsRefused(t *testing.T) {
	t.Parallel()
	address := harness.FreeAddress(t)
	harness.StartNATS(t, 1, fmt.Sprintf("mqtt: {listen: %q}", address))
	cfg := testConfig(t)
	cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Trust = "mqtt://"+address, "none"
	require.ErrorIs(t, served(t, cfg), remote.ErrNoLocal)
}

// Several gateways need MQTT 5. Each says so, as long as it hears another one.
func TestSeveralGatewaysAtABrokerOfMQTT311SayThatTheyShouldNotBe(t *testing.T) {
	t.Parallel()
	m := harness.StartAedes(t)
	a := onRemote(t, m, nil)
	b := start(t, func(c *config.Config) {
		c.MQTT.Remote.URL, c.MQTT.Remote.Trust, c.Gateway.Name = m.URL(), "none", "cellar"
	})
	const says = "which speaks MQTT 3.1.1 only: messages may come twice"
	for _, r := range []*running{a, b} {
		eventually(t, "it is told", func() bool {
			_, answer := r.call("GET", "/readyz", "", "")
			return strings.Contains(answer, says)
		})
		require.Contains(t, r.log.String(), says)
	}
	b.stop()
	require.True(t, harness.Within(lenient, func() bool {
		_, answer := a.call("GET", "/readyz", "", "")
		return !strings.Contains(answer, "remote_fault")
	}), "it is alone again")
}

// others returns the next message of a device that is not its own: a basic frame has an echo.
func others(t testing.TB, d *device) received {
	t.Helper()
	got := d.next(t)
	for got.from == d.id {
		got = d.next(t)
	}
	return got
}

// Without a reason from the broker, too, the gateway finds out that another client has its id.
func TestAnotherClientTakesTheGatewaysIDAtABrokerOfMQTT311(t *testing.T) {
	t.Parallel()
	m := harness.StartAedes(t)
	r := onRemote(t, m, nil)
	says := func() bool { return strings.Contains(r.log.String(), "has the gateway's client id") }
	for until := time.Now().Add(lenient); !says(); {
		require.True(t, time.Now().Before(until), "the gateway says nothing: %s", r.log.String())
		c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + m.Address).SetClientID("watchtower-attic").SetAutoReconnect(false))
		done(t, c.Connect())
		require.Eventually(t, func() bool { return !c.IsConnected() || says() }, lenient, 5*time.Millisecond)
		c.Disconnect(0)
	}
}
