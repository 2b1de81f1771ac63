package gateway_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
	"watchtower/mqtt/remote"
)

// onRemote starts a gateway whose channels stand on a foreign broker, too, and waits until they
// do.
func onRemote(t testing.TB, m *harness.Mosquitto, change func(*config.Config)) *running {
	t.Helper()
	r := start(t, func(c *config.Config) {
		c.MQTT.Remote.URL, c.MQTT.Remote.Trust, c.Gateway.Name = m.URL(), "none", "attic"
		if change != nil {
			change(c)
		}
	})
	r.isAtRemote()
	return r
}

func (r *running) isAtRemote() {
	r.t.Helper()
	eventually(r.t, "the gateway is at the foreign broker", func() bool {
		_, answer := r.call("GET", "/readyz", "", "")
		return !strings.Contains(answer, "remote_fault")
	})
}

// registerRemote registers a client of a foreign broker.
func (r *running) registerRemote(name string) (reg registration) {
	r.t.Helper()
	r.post("/register", fmt.Sprintf(`{"secret_key":%q,"name":%q,"remote":true}`, key, name), &reg)
	return reg
}

func done(t testing.TB, token paho.Token) {
	t.Helper()
	require.True(t, token.WaitTimeout(lenient))
	require.NoError(t, token.Error())
}

// stranger connects to a foreign broker.
func stranger(t testing.TB, m *harness.Mosquitto, user, password string, will string) paho.Client {
	t.Helper()
	o := paho.NewClientOptions().AddBroker("tcp://" + m.Address).SetClientID(strings.NewReplacer("/", "-").Replace(t.Name()) + user).SetUsername(user).SetPassword(password).SetAutoReconnect(false)
	if will != "" {
		o.SetBinaryWill(will, nil, 1, true)
	}
	c := paho.NewClient(o)
	done(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// foreign is a device that is a client of a foreign broker, and has joined channel 5 there.
func (r *running) foreign(m *harness.Mosquitto, name string) *device {
	r.t.Helper()
	d := &device{name: "foreign", id: r.registerRemote(name).ID, inbox: make(chan received, 10000)}
	id := strconv.FormatUint(uint64(d.id), 10)
	joins := "watchtower/joins/" + id
	c := stranger(r.t, m, id, "x", joins)
	hear := func(_ paho.Client, m paho.Message) {
		if got := onTopic(m.Topic(), string(m.Payload())); got.from != d.id {
			d.inbox <- got
		}
	}
	done(r.t, c.Subscribe("watchtower/channels/5/broadcast/+", 1, hear))
	done(r.t, c.Subscribe("watchtower/channels/5/send/"+id+"/+", 1, hear))
	done(r.t, c.Publish(joins, 1, true, "[5]"))
	d.broadcast = func(channel uint32, data []byte) {
		done(r.t, c.Publish(fmt.Sprintf("watchtower/channels/%d/broadcast/%d", channel, d.id), 1, false, data))
	}
	d.send = func(channel, to uint32, data []byte) {
		done(r.t, c.Publish(fmt.Sprintf("watchtower/channels/%d/send/%d/%d", channel, to, d.id), 1, false, data))
	}
	look := r.stream()
	eventually(r.t, "the foreign client is a member", func() bool { return strings.Contains(r.membersOf(look.id), `"via":"remote"`) })
	return d
}

func (r *running) membersOf(member uint32) string {
	_, body := r.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", member), "", "")
	return body
}

// Everybody hears everybody: devices of each protocol of the gateway, and a client of the foreign
// broker.
func TestAForeignBrokersClientsAndTheGatewaysTalk(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := onRemote(t, m, nil)
	all := []*device{r.wire("udp"), r.wire("tcp"), r.stream(), r.callback(), r.paho("lamp"), r.session("udp"), r.foreign(m, "plug")}
	for _, from := range all {
		for _, to := range all {
			if from == to {
				continue
			}
			word := "from " + from.name + " to " + to.name
			from.send(5, to.id, []byte(word))
			for got := to.next(t); ; got = to.next(t) {
				if got.sent {
					require.Equal(t, received{from.id, 5, true, word}, got)
					break
				}
			}
		}
		word := "from " + from.name + " to all"
		from.broadcast(5, []byte(word))
		for _, to := range all {
			if to != from {
				require.Equal(t, received{from.id, 5, false, word}, to.next(t), to.name)
			}
		}
	}
	assert.Zero(t, r.dropped(remote.Protocol, bridge.Forged))
}

// Nobody at the foreign broker speaks as a device of the gateway, or as nobody.
func TestAForeignBrokersClientSpeaksAsItselfOnly(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := onRemote(t, m, nil)
	d, plug := r.wire("tcp"), r.foreign(m, "plug")
	web := r.register("web")
	c := stranger(t, m, "thief", "x", "")
	for i, topic := range []string{
		fmt.Sprintf("watchtower/channels/5/broadcast/%d", d.id),
		fmt.Sprintf("watchtower/channels/5/send/%d/%d", plug.id, d.id),
		fmt.Sprintf("watchtower/channels/5/broadcast/%d", web.ID),
		"watchtower/channels/5/broadcast/77",
	} {
		done(t, c.Publish(topic, 1, false, "forged"))
		eventually(t, "it is counted", func() bool { return r.dropped(remote.Protocol, bridge.Forged) == i+1 })
	}
	done(t, c.Publish(fmt.Sprintf("watchtower/joins/%d", d.id), 1, true, "[7]"))
	eventually(t, "it is counted", func() bool { return r.dropped(remote.Protocol, bridge.Forged) == 5 })
	for i, bad := range []string{"5", `{"channels":[5]}`, "[5", "[0]", "[-1]", "[4294967296]"} {
		done(t, c.Publish(fmt.Sprintf("watchtower/joins/%d", plug.id), 1, false, bad))
		eventually(t, "it is counted: "+bad, func() bool {
			return r.dropped(remote.Protocol, bridge.Malformed)+r.dropped(remote.Protocol, bridge.Refused) == i+1
		})
	}
	done(t, c.Publish("watchtower/channels/5/send/123/"+strconv.FormatUint(uint64(plug.id), 10), 1, false, "to nobody"))
	eventually(t, "it is counted", func() bool { return r.dropped(remote.Protocol, bridge.Refused) > 0 })
	plug.broadcast(5, []byte("honest"))
	require.Equal(t, "honest", d.next(t).data, "nothing forged was heard before it")
	assert.Contains(t, r.log.String(), "speaks under an id that was not registered for it")
}

// A name is either a device of the gateway or a client of the foreign broker.
func TestADeviceOfTheGatewayIsNotRegisteredForAForeignBroker(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	_ = r.paho("lamp")
	status, body := r.call("POST", "/register", "application/json", fmt.Sprintf(`{"secret_key":%q,"name":"lamp","remote":true}`, key))
	assert.Equal(t, 400, status, body)
	assert.Contains(t, body, "is a device of this gateway")
	status, body = r.call("POST", "/register", "application/json", fmt.Sprintf(`{"secret_key":%q,"name":"plug","remote":true,"protected":true}`, key))
	assert.Equal(t, 400, status, body)
	assert.Contains(t, body, "remote")
}

// A client of the foreign broker is a member until it says otherwise, or its will does.
func TestAForeignBrokersClientJoinsAndLeaves(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := onRemote(t, m, nil)
	look := r.stream()
	reg := r.registerRemote("plug")
	joins := fmt.Sprintf("watchtower/joins/%d", reg.ID)
	is := func(member bool) {
		t.Helper()
		eventually(t, fmt.Sprint("member: ", member), func() bool { return strings.Contains(r.membersOf(look.id), `"plug"`) == member })
	}
	c := stranger(t, m, "plug", "x", "")
	for _, list := range []struct {
		channels string
		member   bool
	}{{"[5,7]", true}, {"[7]", false}, {"[7,5]", true}, {"[]", false}, {"[5]", true}, {"", false}, {"[5]", true}} {
		done(t, c.Publish(joins, 1, true, list.channels))
		is(list.member)
	}
	m.Kill()
	is(false)
	m.Start()
	r.isAtRemote()
	c = stranger(t, m, "plug", "x", "")
	done(t, c.Publish(joins, 1, true, "[5]"))
	is(true)
	status, answer := r.call("DELETE", fmt.Sprintf("/senders/%d", reg.ID), "", "", "Authorization", "Bearer "+reg.Token)
	require.Equal(t, 204, status, answer)
	is(false)
}

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

// A gateway that relies on the broker's rules ends if there are none.
func testRemoteTrust(t *testing.T) {
	m := harness.StartMosquitto(t, "allow_anonymous true")
	cfg := testConfig(t)
	cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Probe.User = m.URL(), "72"
	require.NoError(t, cfg.Validate())
	err := served(t, cfg)
	require.ErrorIs(t, err, remote.ErrUntrusted)
	assert.Contains(t, err.Error(), "watchtower check remote")
}

// served runs a gateway until it ends by itself.
func served(t testing.TB, cfg config.Config) error {
	t.Helper()
	log := logrus.New()
	log.SetOutput(&syncBuffer{})
	g, err := gateway.New(cfg, log)
	require.NoError(t, err)
	require.NoError(t, g.Listen())
	ctx, cancel := context.WithTimeout(context.Background(), lenient)
	defer cancel()
	err = g.Serve(ctx)
	require.NoError(t, ctx.Err(), "it did not end by itself")
	return err
}

// rules are mosquitto's rules by which nobody speaks as another.
const rules = `user gateway
topic readwrite #

pattern write watchtower/channels/+/broadcast/%u
pattern write watchtower/channels/+/send/+/%u
pattern read watchtower/channels/+/send/%u/+
pattern read watchtower/channels/+/broadcast/+
pattern write watchtower/joins/%u
`

// withRules is a mosquitto with those rules. Everybody's password is "x".
func withRules(t testing.TB, users ...string) *harness.Mosquitto {
	t.Helper()
	m := &harness.Mosquitto{TB: t, Address: harness.FreeAddress(t), Dir: t.TempDir()}
	passwords := m.File("passwords", "")
	for _, u := range append(users, "gateway") {
		run(t, program(t, "mosquitto_passwd"), "-b", passwords, u, "x")
	}
	m.Configure("password_file " + passwords + "\nacl_file " + m.File("acl", rules))
	m.Start()
	t.Cleanup(m.Kill)
	return m
}

func byRules(c *config.Config) {
	c.MQTT.Remote.Trust, c.MQTT.Remote.User, c.MQTT.Remote.Password = "acl", "gateway", "x"
	c.MQTT.Remote.Probe = config.Login{User: "probe", Password: "x"}
}

// Where the broker lets nobody speak as another, its users are heard as the ids that they have.
func TestABrokerWithRulesIsTrusted(t *testing.T) {
	t.Parallel()
	web := start(t, func(c *config.Config) { c.Gateway.Name = "attic" })
	reg := web.register("plug") // ids of names come from the secret key
	cfg := web.cfg
	web.stop()
	id := strconv.FormatUint(uint64(reg.ID), 10)
	m := withRules(t, id, "probe")
	cfg.MQTT.Remote.URL = m.URL()
	byRules(&cfg)
	r := startWith(t, cfg)
	r.isAtRemote()
	d := r.wire("tcp")
	c := stranger(t, m, id, "x", "watchtower/joins/"+id)
	heard := make(chan string, 10)
	done(t, c.Subscribe("#", 1, func(_ paho.Client, m paho.Message) { heard <- m.Topic() + " " + string(m.Payload()) }))
	done(t, c.Publish(fmt.Sprintf("watchtower/channels/5/broadcast/%d", d.id), 1, false, "forged"))
	done(t, c.Publish("watchtower/channels/5/broadcast/"+id, 1, false, "honest"))
	require.Equal(t, received{reg.ID, 5, false, "honest"}, d.next(t))
	done(t, c.Publish("watchtower/joins/"+id, 1, true, "[5]"))
	other := r.stream()
	eventually(t, "the plug is a member", func() bool { return strings.Contains(r.membersOf(other.id), `"plug"`) })
	d.send(5, other.id, []byte("not for the plug"))
	d.send(5, reg.ID, []byte("for the plug"))
	require.Equal(t, fmt.Sprintf("watchtower/channels/5/broadcast/%s honest", id), <-heard)
	require.Equal(t, fmt.Sprintf("watchtower/channels/5/send/%s/%d for the plug", id, d.id), <-heard)
	assert.Zero(t, r.dropped(remote.Protocol, bridge.Forged), "the broker keeps it away")
}

// mosquitto's dynamic security puts no user names into topics. With a role for each device nobody
// speaks as another; with one role for all, everybody may, and the probe finds out.
func TestDynamicSecurityIsTrustedIfEachDeviceHasItsRole(t *testing.T) {
	t.Parallel()
	m := &harness.Mosquitto{TB: t, Address: harness.FreeAddress(t), Dir: t.TempDir()}
	state := filepath.Join(m.Dir, "dynamic.json")
	run(t, program(t, "mosquitto_ctrl"), "dynsec", "init", state, "admin", "x")
	m.Configure("plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so\nplugin_opt_config_file " + state)
	m.Start()
	t.Cleanup(m.Kill)
	host, port, err := net.SplitHostPort(m.Address)
	require.NoError(t, err)
	control := func(args ...string) {
		t.Helper()
		run(t, program(t, "mosquitto_ctrl"), append([]string{"-h", host, "-p", port, "-u", "admin", "-P", "x", "dynsec"}, args...)...)
	}
	user := func(name string, allow ...string) {
		control("createClient", name, "-p", "x")
		control("createRole", name)
		for i := 0; i < len(allow); i += 2 {
			control("addRoleACL", name, allow[i], allow[i+1], "allow")
		}
		control("addClientRole", name, name)
	}
	const channels = "watchtower/channels/+/"
	user("gateway", "publishClientSend", "#", "publishClientReceive", "#", "subscribePattern", "#")
	user("probe", "publishClientSend", channels+"broadcast/probe", "subscribePattern", "#")
	user("all", "publishClientSend", channels+"broadcast/#", "subscribePattern", "#")
	onRemote(t, m, byRules)
	cfg := testConfig(t)
	byRules(&cfg)
	cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Probe.User = m.URL(), "all"
	require.ErrorIs(t, served(t, cfg), remote.ErrUntrusted)
}

// Of two gateways with one name the later one ends.
func TestTheLaterOfTwoGatewaysOfOneNameAtABrokerEnds(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := onRemote(t, m, nil)
	cfg := testConfig(t)
	cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Trust, cfg.Gateway.Name = m.URL(), "none", "attic"
	err := served(t, cfg)
	require.ErrorIs(t, err, remote.ErrRival)
	assert.Contains(t, err.Error(), "gateway.name: attic")
	plug, d := r.foreign(m, "plug"), r.wire("tcp")
	plug.broadcast(5, []byte("still there"))
	require.Equal(t, "still there", d.next(t).data)
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
	for _, with := range []string{"nothing", "nothing", "an old database"} {
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

// A channel's map works on the foreign broker: a button of zigbee2mqtt there rings here, and what
// an Arduino says switches a plug there. Each message crosses once.
func TestAChannelIsMappedToTopicsOfAForeignBroker(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := onRemote(t, m, func(c *config.Config) {
		c.Channels = map[uint32]config.Channel{5: {Map: []config.Map{
			{Topic: "zigbee2mqtt/+/action", In: true}, {Topic: "zigbee2mqtt/button/+", In: true},
			{Topic: "cmnd/valve/POWER", Out: true}, {Topic: "zigbee2mqtt/plug/set", Out: true},
		}}}
	})
	d := r.wire("udp")
	c := stranger(t, m, "zigbee", "x", "")
	heard := make(chan string, 10)
	for _, filter := range []string{"cmnd/#", "zigbee2mqtt/plug/set"} {
		done(t, c.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { heard <- m.Topic() + " " + string(m.Payload()) }))
	}
	for i := range 3 {
		word := fmt.Sprint("press ", i)
		eventually(t, "the map listens", func() bool {
			done(t, c.Publish("zigbee2mqtt/button/action", 1, false, word))
			select {
			case got := <-d.inbox:
				require.Equal(t, r.ofMap(word), got)
				return true
			case <-time.After(short):
				return false
			}
		})
	}
	d.broadcast(5, []byte("ON"))
	require.ElementsMatch(t, []string{"cmnd/valve/POWER ON", "zigbee2mqtt/plug/set ON"}, []string{<-heard, <-heard})
	m.Kill()
	m.Start()
	eventually(t, "the gateway is back", func() bool { return strings.Count(r.log.String(), "connected to the foreign broker") == 2 })
	r.isAtRemote()
	c = stranger(t, m, "zigbee", "x", "")
	done(t, c.Publish("zigbee2mqtt/button/action", 1, false, "after it"))
	for got := d.next(t); got != r.ofMap("after it"); got = d.next(t) {
		require.Contains(t, []string{"press 2", "ON"}, got.data, "its own, or what the test may have said twice")
	}
}
