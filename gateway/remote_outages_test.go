package gateway_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt/remote"
)

// A retain flag on a channel message is cleared again: what was said once is not said again to
// whoever subscribes.
func TestWhatAForeignBrokerRetainsOfAChannelIsRemoved(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	reg := start(t, nil).registerRemote("plug") // the id of a name, of another gateway: any id will do
	old := fmt.Sprintf("watchtower/channels/5/broadcast/%d", reg.ID)
	c := stranger(t, m, "plug", "x", "")
	done(t, c.Publish(old, 1, true, "old"))
	r := onRemote(t, m, nil)
	d := r.wire("tcp")
	plug := r.registerRemote("plug")
	topic := fmt.Sprintf("watchtower/channels/5/broadcast/%d", plug.ID)
	done(t, c.Publish(topic, 1, true, "live"))
	require.Equal(t, "live", d.next(t).data)
	eventually(t, "nothing is retained on a channel", func() bool {
		kept := make(chan string, 10)
		look := stranger(t, m, "look", "x", "")
		defer look.Disconnect(0)
		done(t, look.Subscribe("watchtower/channels/#", 1, func(_ paho.Client, m paho.Message) {
			if m.Retained() {
				kept <- m.Topic()
			}
		}))
		done(t, look.Subscribe("watchtower/gateways/+/status", 1, func(paho.Client, paho.Message) { kept <- "" }))
		return <-kept == ""
	})
	assert.Contains(t, r.log.String(), "sets the retain flag on a channel")
	_, metrics := r.call("GET", "/metrics", "", "")
	assert.Contains(t, metrics, "\nwatchtower_remote_retained_removed_total 2\n")
	assert.Contains(t, metrics, "\nwatchtower_remote_up 1\n")
	assert.Contains(t, metrics, "\nwatchtower_remote_broker_dropped_total ")
}

// A gateway that starts while the broker is down serves its own, says so, and is there when the
// broker is. What the broker forgets is written again.
func TestAForeignBrokerThatComesAndGoes(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	m.Kill()
	r := start(t, func(c *config.Config) {
		c.MQTT.Remote.URL, c.MQTT.Remote.Trust, c.Gateway.Name = m.URL(), "none", "attic"
	})
	a, b := r.wire("tcp"), r.stream()
	a.broadcast(5, []byte("without it"))
	require.Equal(t, "without it", b.next(t).data)
	_, ready := r.call("GET", "/readyz", "", "")
	require.Contains(t, ready, "remote_fault")
	for _, with := range []string{"nothing", "and again", "for long"} {
		m.Start()
		r.isAtRemote()
		plug := r.foreign(m, "plug")
		a.broadcast(5, []byte(with))
		require.Equal(t, with, b.next(t).data)
		require.Equal(t, with, nextBut(t, plug, "without it").data)
		status := make(chan string, 10)
		look := stranger(t, m, "look"+with[:2], "x", "")
		done(t, look.Subscribe("watchtower/gateways/attic/status", 1, func(_ paho.Client, m paho.Message) { status <- string(m.Payload()) }))
		require.Equal(t, "online", <-status)
		done(t, look.Publish("watchtower/gateways/attic/status", 1, true, "offline")) // as a will that comes late
		require.Equal(t, "offline", <-status)
		require.Equal(t, "online", <-status, "it is corrected")
		m.Kill()
		eventually(t, "the gateway noticed", func() bool {
			_, ready := r.call("GET", "/readyz", "", "")
			return strings.Contains(ready, "remote_fault")
		})
	}
}

// A broker that is killed comes back with an old database. What it says of the gateway is put
// right.
func TestAForeignBrokerWithAnOldDatabase(t *testing.T) {
	t.Parallel()
	m := &harness.Mosquitto{TB: t, Address: harness.FreeAddress(t), Dir: t.TempDir()}
	m.Configure("allow_anonymous true\npersistence true\nautosave_interval 0\npersistence_location " + m.Dir + "/")
	m.Start()
	t.Cleanup(m.Kill)
	r := onRemote(t, m, nil)
	d := r.paho("lamp")
	kept := func() map[string]string {
		host, port, err := net.SplitHostPort(m.Address)
		require.NoError(t, err)
		out, _ := exec.Command(program(t, "mosquitto_sub"), "-h", host, "-p", port, "-t", "watchtower/#", "--retained-only", "-v", "-W", "1").Output() // its time is over
		all := map[string]string{}
		for line := range strings.Lines(string(out)) {
			topic, payload, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			all[topic] = payload
		}
		return all
	}
	const members, status = "watchtower/members/5/attic", "watchtower/gateways/attic/status"
	eventually(t, "the members are there", func() bool { return strings.Contains(kept()[members], `"lamp"`) })
	m.Stop() // the database has them
	m.Start()
	r.isAtRemote()
	look := r.stream()
	id := strconv.FormatUint(uint64(d.id), 10)
	r.post("/channels/leave", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, look.id), nil)
	r.forget(d.id)
	eventually(t, "the members are gone", func() bool { return !strings.Contains(kept()[members], id) })
	m.Kill() // the database still has them
	m.Start()
	eventually(t, "what the broker says is true again", func() bool {
		now := kept()
		return now[status] == "online" && !strings.Contains(now[members], id)
	})
}

// forget deletes a sender, as an operator does.
func (r *running) forget(id uint32) {
	r.t.Helper()
	status, answer := r.operate(r.asAdminOf(), fmt.Sprintf("DELETE /operator/senders/%d", id), "")
	require.Equal(r.t, 204, status, answer)
}

// asAdminOf signs in with the key that the gateway made.
func (r *running) asAdminOf() string {
	key, _ := r.g.AdminKey()
	return r.signIn(fmt.Sprintf(`{"key":%q}`, key))
}

// nextBut returns the next message of a device that is not the one that may have waited.
func nextBut(t testing.TB, d *device, old string) received {
	t.Helper()
	got := d.next(t)
	for got.data == old {
		got = d.next(t)
	}
	return got
}

// At its end a gateway says so at the foreign broker; one that is killed has its will say it.
func TestAGatewayLeavesTheForeignBrokerOrderly(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := onRemote(t, m, nil)
	d := r.wire("tcp")
	c := stranger(t, m, "look", "x", "")
	heard := make(chan string, 100)
	for _, filter := range []string{"watchtower/gateways/attic/status", "watchtower/members/5/attic"} {
		done(t, c.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { heard <- m.Topic() + " " + string(m.Payload()) }))
	}
	await := func(what string) {
		t.Helper()
		for limit := time.After(patient); ; {
			select {
			case got := <-heard:
				if strings.HasPrefix(got, what) {
					return
				}
			case <-limit:
				require.Fail(t, "not heard: "+what)
			}
		}
	}
	await("watchtower/gateways/attic/status online")
	await(fmt.Sprintf(`watchtower/members/5/attic {"count":1,"members":[{"id":%d`, d.id))
	r.stop()
	await("watchtower/gateways/attic/status offline")
}

// A broker that lacks what the gateway needs is told so; one that takes no large packets gets the
// others.
func TestWhatAForeignBrokerDoesNotTake(t *testing.T) {
	t.Parallel()
	without := harness.StartMosquitto(t, "allow_anonymous true\nretain_available false")
	cfg := testConfig(t)
	cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Trust = without.URL(), "none"
	err := served(t, cfg)
	require.ErrorIs(t, err, remote.ErrLacks)
	require.Contains(t, err.Error(), "it retains no messages")

	m := harness.StartMosquitto(t, "allow_anonymous true\nmax_packet_size 20000\nmax_inflight_messages 1")
	r := onRemote(t, m, nil)
	d, plug := r.wire("tcp"), r.foreign(m, "plug")
	d.broadcast(5, make([]byte, 30_000))
	for i := range 20 {
		d.broadcast(5, fmt.Appendf(nil, "%d", i))
	}
	for i := range 20 {
		require.Equal(t, fmt.Sprint(i), plug.next(t).data)
	}
	require.Equal(t, 1, r.dropped(remote.Protocol, bridge.TooLarge))
}

// What the broker's clients say at QoS 1 while the gateway is restarted is heard then.
func TestAForeignBrokerKeepsWhatIsSaidMeanwhile(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	cfg := testConfig(t)
	cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Trust, cfg.Gateway.Name = m.URL(), "none", "attic"
	r := startWith(t, cfg)
	r.isAtRemote()
	reg := r.registerRemote("plug")
	c := stranger(t, m, "plug", "x", "")
	for i := range 3 {
		r.stop()
		word := fmt.Sprint("said meanwhile ", i)
		done(t, c.Publish(fmt.Sprintf("watchtower/channels/5/broadcast/%d", reg.ID), 1, false, word))
		r = startWith(t, cfg)
		r.isAtRemote()
		look := r.stream()
		eventually(t, "it is heard", func() bool { return strings.Contains(r.recent(look.id), word) })
	}
}

// A send to a client of the broker waits for a broker that is soon back.
func TestASendWaitsForAForeignBrokerThatIsSoonBack(t *testing.T) {
	t.Parallel()
	m := &harness.Mosquitto{TB: t, Address: harness.FreeAddress(t), Dir: t.TempDir()}
	m.Configure("allow_anonymous true\npersistence true\nautosave_interval 0\npersistence_location " + m.Dir + "/")
	m.Start()
	t.Cleanup(m.Kill)
	r := onRemote(t, m, nil)
	reg, d := r.registerRemote("plug"), r.wire("tcp")
	id := strconv.FormatUint(uint64(reg.ID), 10)
	c := stranger(t, m, "plug", "x", "")
	done(t, c.Publish("watchtower/joins/"+id, 1, true, "[5]"))
	look := r.stream()
	eventually(t, "it is a member", func() bool { return strings.Contains(r.membersOf(look.id), `"plug"`) })
	m.Stop()
	eventually(t, "the gateway noticed", func() bool {
		_, ready := r.call("GET", "/readyz", "", "")
		return strings.Contains(ready, "remote_fault")
	})
	d.send(5, reg.ID, []byte("soon"))
	r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"too late","ttl":1}`, r.onFive("hasty")), nil)
	eventually(t, "it has expired", func() bool { return r.dropped(remote.Protocol, bridge.Expired) == 1 })
	m.Start()
	c = stranger(t, m, "plug", "x", "")
	heard := make(chan string, 10)
	done(t, c.Subscribe("watchtower/channels/5/send/"+id+"/+", 1, func(_ paho.Client, m paho.Message) { heard <- string(m.Payload()) }))
	require.Equal(t, "soon", <-heard)
	eventually(t, "the log says what the broker did not get", func() bool {
		return strings.Contains(r.log.String(), "the foreign broker is back: it did not get these messages") && strings.Contains(r.log.String(), " expired=1")
	})
}

// What an earlier run subscribed to, and this one does not, ends at the broker: it would keep that
// for the gateway for ever.
func TestAForeignBrokerKeepsNoFilterThatNobodyWants(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true\nlog_type unsubscribe")
	cfg := testConfig(t)
	cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Trust, cfg.Gateway.Name = m.URL(), "none", "attic"
	for _, topic := range []string{"zigbee2mqtt/+/action", "stat/+/RESULT", ""} {
		cfg.Channels = map[uint32]config.Channel{}
		if topic != "" {
			cfg.Channels[5] = config.Channel{Map: []config.Map{{Topic: topic, In: true}}}
		}
		r := startWith(t, cfg)
		r.isAtRemote()
		r.stop()
	}
	log, err := os.ReadFile(filepath.Join(m.Dir, "log"))
	require.NoError(t, err)
	var ended []string
	for line := range strings.Lines(string(log)) {
		if _, what, found := strings.Cut(line, "watchtower-attic "); found {
			ended = append(ended, strings.TrimSpace(what))
		}
	}
	require.Equal(t, []string{"zigbee2mqtt/+/action", "stat/+/RESULT"}, slices.Compact(ended), "its log says each twice")
}

// A gateway whose broker is away does not wait for it at its end: the connections end in order, and where
// the history ended is written.
func TestAGatewayStopsInOrderWithoutItsForeignBroker(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	m.Kill()
	r := start(t, func(c *config.Config) {
		c.MQTT.Remote.URL, c.MQTT.Remote.Trust, c.ShutdownTimeout = m.URL(), "none", 2*lenient
	})
	r.stream()
	begun := time.Now()
	r.stop()
	assert.Less(t, time.Since(begun), lenient, "half of shutdown_timeout")
	assert.NotContains(t, r.log.String(), "did not end within shutdown_timeout")
}
