package gateway_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
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
	m.Start() // it has forgotten the list
	is(false)
	r.isAtRemote()
	c = stranger(t, m, "plug", "x", "")
	done(t, c.Publish(joins, 1, true, "[5]"))
	is(true)
	again := r.register("plug") // it stays a client of that broker, whoever asks for it
	require.Equal(t, reg.ID, again.ID)
	done(t, c.Publish(fmt.Sprintf("watchtower/channels/5/broadcast/%d", reg.ID), 1, false, "still heard"))
	eventually(t, "it is heard", func() bool { return strings.Contains(r.recent(look.id), "still heard") })
	reg = again
	_, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("plug").SetConnectRetry(false) })
	require.Error(t, err, "nor has a device of the gateway the name")
	status, answer := r.call("DELETE", fmt.Sprintf("/senders/%d", reg.ID), "", "", "Authorization", "Bearer "+reg.Token)
	require.Equal(t, 204, status, answer)
	is(false)
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
			return heardSoon(d, word)
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

// recent is what was said on channel 5, as a mailbox that begins with all of it has it.
func (r *running) recent(uint32) string {
	reg := r.register("")
	r.post("/channels/join", fmt.Sprintf(`{"sender":%d,"channels":[5],"since":"all"}`, reg.ID), nil)
	_, all := r.call("GET", fmt.Sprintf("/messages?sender=%d", reg.ID), "", "")
	return all
}

// A client may set its list before somebody registers its id: it is a member then. A device that
// describes itself is present as long as it is one.
func TestAForeignBrokersClientIsRegisteredLater(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := startHomely(t, beside(t, m, nil))
	r.isAtRemote()
	look := r.stream()
	reg := r.registerRemote("balcony")
	status, answer := r.call("DELETE", fmt.Sprintf("/senders/%d", reg.ID), "", "", "Authorization", "Bearer "+reg.Token)
	require.Equal(t, 204, status, answer)
	c := stranger(t, m, "balcony", "x", "")
	done(t, c.Publish(fmt.Sprintf("watchtower/joins/%d", reg.ID), 1, true, "[5]"))
	require.Equal(t, reg.ID, r.registerRemote("balcony").ID, "a name has its id again")
	eventually(t, "it is a member", func() bool { return strings.Contains(r.membersOf(look.id), `"balcony"`) })
	h := newHouse(t, m.Address, 5).start()
	done(t, c.Publish(fmt.Sprintf("watchtower/channels/5/broadcast/%d", reg.ID), 1, false, balcony))
	done(t, c.Publish(fmt.Sprintf("watchtower/channels/5/broadcast/%d", reg.ID), 1, false, `{"m":41}`))
	h.shows(balconyEntities()[0], "41")
}
