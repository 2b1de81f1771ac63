package gateway_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
