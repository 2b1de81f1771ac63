package gateway_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// narrow is a broker whose queue for a client is full at once.
const narrow = "allow_anonymous true\nmax_queued_messages 10\nmax_inflight_messages 1\nsys_interval 1"

// flood has clients of the broker say as much as they can on channel 5, until it is ended.
func (r *running) flood(m *harness.Mosquitto, name string) (end func()) {
	r.t.Helper()
	host, port, err := net.SplitHostPort(m.Address)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	topic := fmt.Sprintf("watchtower/channels/5/broadcast/%d", r.registerRemote(name).ID)
	var loud []*exec.Cmd
	for range 12 {
		cmd := exec.CommandContext(ctx, program(r.t, "mosquitto_pub"), "-h", host, "-p", port, "-q", "1", "-t", topic, "-l")
		cmd.Stdin = endless{ctx}
		require.NoError(r.t, cmd.Start())
		loud = append(loud, cmd)
	}
	end = func() {
		cancel()
		for _, cmd := range loud {
			_ = cmd.Wait() // it was killed
		}
	}
	r.t.Cleanup(cancel)
	return end
}

// endless is a text of lines, until its context ends.
type endless struct{ context.Context }

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = "0123456789\n"[i%11]
	}
	return len(b), e.Err()
}

// onFive is a sender that has joined channel 5, and reads nothing.
func (r *running) onFive(name string) (id uint32) {
	id = r.register(name).ID
	r.post("/channels/join", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, id), nil)
	return id
}

// However much is said at the broker, which drops what finds no room, nobody's join or leave is lost.
func TestAFloodAtAForeignBrokerHidesNoJoin(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, narrow)
	r := onRemote(t, m, nil)
	look, plug := r.onFive("look"), r.registerRemote("plug")
	c := stranger(t, m, "plug", "x", "")
	end := r.flood(m, "loud")
	eventually(t, "the broker drops some of it", func() bool {
		_, metrics := r.call("GET", "/metrics", "", "")
		return strings.Contains(metrics, "watchtower_remote_broker_dropped_total") && !strings.Contains(metrics, "watchtower_remote_broker_dropped_total 0\n")
	})
	for i := range 20 {
		list := []string{"[5]", ""}[i%2]
		done(t, c.Publish(fmt.Sprintf("watchtower/joins/%d", plug.ID), 1, true, list))
		eventually(t, fmt.Sprintf("it has said %q", list), func() bool {
			return strings.Contains(r.membersOf(look), `"plug"`) == (list != "")
		})
	}
	status := make(chan string, 10)
	done(t, c.Subscribe("watchtower/gateways/attic/status", 1, func(_ paho.Client, m paho.Message) { status <- string(m.Payload()) }))
	require.Equal(t, "online", <-status)
	done(t, c.Publish("watchtower/gateways/attic/status", 1, true, "offline")) // as a will that comes late
	require.Equal(t, "offline", <-status)
	require.Equal(t, "online", <-status, "it is corrected")
	end()
}

// What the broker had kept for a gateway that was away hides no join either.
func TestWhatAForeignBrokerHadKeptHidesNoJoin(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, narrow)
	cfg := testConfig(t)
	cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Trust, cfg.Gateway.Name = m.URL(), "none", "attic"
	r := startWith(t, cfg)
	r.isAtRemote()
	c := stranger(t, m, "plugs", "x", "")
	var plugs []registration
	for i := range 9 {
		plugs = append(plugs, r.registerRemote(fmt.Sprint("plug", i)))
	}
	for round := range 2 {
		r.stop()
		for i := range 50 {
			done(t, c.Publish(fmt.Sprintf("watchtower/channels/5/broadcast/%d", plugs[0].ID), 1, false, fmt.Sprint(i)))
			done(t, c.Publish("watchtower/gateways/attic/hello", 1, false, fmt.Sprint(i)))
		}
		list := []string{"[5]", ""}[round]
		for _, p := range plugs {
			done(t, c.Publish(fmt.Sprintf("watchtower/joins/%d", p.ID), 1, true, list))
		}
		r = startWith(t, cfg)
		r.isAtRemote()
		look := r.onFive("look")
		eventually(t, fmt.Sprintf("they have said %q", list), func() bool {
			return strings.Count(r.membersOf(look), `"plug`) == len(plugs)*(1-round)
		})
	}
}
