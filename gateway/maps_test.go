package gateway_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/channelmap"
	"watchtower/config"
	"watchtower/gateway"
	"watchtower/wire/frame"
)

// mapped starts a gateway with maps on its channels.
func mapped(t testing.TB, channels map[uint32][]config.Map, change ...func(*config.Config)) *running {
	t.Helper()
	return start(t, func(c *config.Config) {
		c.Channels = map[uint32]config.Channel{}
		for n, m := range channels {
			c.Channels[n] = config.Channel{Map: m}
		}
		for _, f := range change {
			f(c)
		}
	})
}

// ofMap is a message of the sender map, as a member of a channel hears it.
func (r *running) ofMap(text string) received {
	return received{uint32(r.mapID()), 5, false, text}
}

func (r *running) mapID() bridge.SenderID {
	id, err := r.g.Hub().Receiver(channelmap.SenderName)
	require.Nil(r.t, err)
	return id
}

// outside is a client that has nothing to do with channels, such as zigbee2mqtt.
type outside struct {
	t testing.TB
	paho.Client
	heard chan string // "topic payload", with "retained " before it
}

func (r *running) outside(name string, filters ...string) *outside {
	r.t.Helper()
	c, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID(name) })
	require.NoError(r.t, err)
	o := &outside{r.t, c, make(chan string, 1000)}
	for _, f := range filters {
		require.NoError(r.t, wait(c.Subscribe(f, 1, func(_ paho.Client, m paho.Message) {
			text := m.Topic() + " " + string(m.Payload())
			if m.Retained() {
				text = "retained " + text
			}
			o.heard <- text
		})))
	}
	return o
}

func (o *outside) says(topic, payload string, retain bool) {
	o.t.Helper()
	require.NoError(o.t, wait(o.Publish(topic, 1, retain, payload)))
}

func (o *outside) next() string {
	o.t.Helper()
	select {
	case text := <-o.heard:
		return text
	case <-time.After(patient):
		require.Fail(o.t, "nothing came")
		return ""
	}
}

// quietNow checks that nothing came but a last message, which another client says now.
func (o *outside) quietNow(by *outside, topic string) {
	o.t.Helper()
	by.says(topic, "the end", false)
	assert.Equal(o.t, topic+" the end", o.next())
}

func TestAButtonRings(t *testing.T) {
	t.Parallel()
	r := mapped(t, map[uint32][]config.Map{5: {
		{Topic: "zigbee2mqtt/+/action", In: true, QoS: 1},
		{Topic: "zigbee2mqtt/+", In: true, Template: "{{ value_json.action }} at {{ levels[1] }}", QoS: 1},
	}})
	members := everybody(r)
	zigbee := r.outside("zigbee2mqtt")
	zigbee.says("zigbee2mqtt/hall/action", "single", false)
	zigbee.says("zigbee2mqtt/hall/action", "", false) // zigbee2mqtt says so after it
	zigbee.says("zigbee2mqtt/hall", `{"battery":80,"linkquality":120}`, true)
	zigbee.says("zigbee2mqtt/cellar", `{"battery":80,"action":"double"}`, true)
	for _, m := range members {
		assert.Equal(t, r.ofMap("single"), m.next(t), m.name)
		assert.Equal(t, r.ofMap("double at cellar"), m.next(t), m.name)
	}
	in, out := r.g.Hub().Counters().Messages(channelmap.Protocol)
	assert.EqualValues(t, 2, in)
	assert.Zero(t, out)
	_, metrics := r.call("GET", "/metrics", "", "")
	for _, row := range []string{
		`watchtower_messages_in_total{protocol="map"} 2`, `watchtower_map_skips_total{outcome="empty"} 2`, `watchtower_map_skips_total{outcome="unmatched"} 0`,
		`watchtower_map_skips_total{outcome="retained"} 0`, `watchtower_map_skips_total{outcome="twice"} 0`,
	} {
		assert.Contains(t, metrics, row+"\n")
	}
}

func TestAnArduinoSwitchesAPlug(t *testing.T) {
	t.Parallel()
	r := mapped(t, map[uint32][]config.Map{5: {
		{Topic: "cmnd/valve/POWER", Out: true, Values: map[string]string{"1": "ON", "0": "OFF"}, QoS: 1},
		{Topic: "zigbee2mqtt/plug/set", Out: true, Values: map[string]string{"1": "ON", "0": "OFF"}, Template: `{"state": {{ value | tojson }}}`, QoS: 1},
		{Topic: "log/{{ name }}", Out: true, QoS: 0, Retain: true}, // a topic is no template
	}})
	plug := r.outside("plug", "cmnd/valve/POWER", "zigbee2mqtt/plug/set")
	logger := r.outside("log", "log/#")
	arduino := r.wire("udp")
	arduino.broadcast(5, []byte("1"))
	assert.ElementsMatch(t, []string{"cmnd/valve/POWER ON", `zigbee2mqtt/plug/set {"state": "ON"}`}, []string{plug.next(), plug.next()})
	assert.Equal(t, "log/{{ name }} 1", logger.next())

	// A payload of any bytes goes out as it is; what is no value of a line does not go there.
	raw := string([]byte{0, 0xff, 7})
	arduino.broadcast(5, []byte(raw))
	assert.Equal(t, "log/{{ name }} "+raw, logger.next())
	plug.quietNow(logger, "cmnd/valve/POWER")
	late := r.outside("late", "log/#")
	assert.Equal(t, "retained log/{{ name }} "+raw, late.next())

	// Nobody but members is sent to.
	other := r.wire("tcp")
	arduino.send(5, other.id, []byte("0"))
	assert.Equal(t, "0", other.next(t).data)
	plug.quietNow(logger, "cmnd/valve/POWER")
}

// Channels 5 and 6 are mapped to each other's topics, and both ways to one topic. Nothing goes
// round.
func TestNothingGoesRound(t *testing.T) {
	t.Parallel()
	both := config.Map{Topic: "both", In: true, Out: true, QoS: 1}
	r := mapped(t, map[uint32][]config.Map{
		5: {both, {Topic: "x", Out: true, QoS: 1}, {Topic: "y", In: true, QoS: 1}},
		6: {both, {Topic: "x", In: true, QoS: 1}, {Topic: "y", Out: true, QoS: 1}},
	})
	all := r.outside("all", "both", "x", "y")
	on6 := r.outside("six", "watchtower/channels/6/broadcast/+")
	device := r.wire("udp")
	stream := r.stream()

	device.broadcast(5, []byte("on"))
	assert.ElementsMatch(t, []string{"both on", "x on"}, []string{all.next(), all.next()})
	assert.Equal(t, received{device.id, 5, false, "on"}, stream.next(t))
	assert.Equal(t, received{device.id, 5, false, "on"}, device.next(t), "a basic frame comes back")

	all.says("both", "from outside", false)
	assert.Equal(t, "both from outside", all.next())
	assert.Equal(t, r.ofMap("from outside"), stream.next(t))
	assert.Equal(t, r.ofMap("from outside"), device.next(t))
	assert.Equal(t, fmt.Sprintf("watchtower/channels/6/broadcast/%d from outside", r.mapID()), on6.next())

	stream.broadcast(5, []byte("the end"))
	assert.ElementsMatch(t, []string{"both the end", "x the end"}, []string{all.next(), all.next()})
	assert.Equal(t, received{stream.id, 5, false, "the end"}, device.next(t))
	all.says("watchtower/channels/6/broadcast", "six", false)
	assert.Contains(t, on6.next(), " six")
}

func TestTheSenderMapIsTheGateways(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.AdminKey = adminKey
	cfg.Channels = map[uint32]config.Channel{5: {Map: []config.Map{{Topic: "x", In: true}}}}
	r := startWith(t, cfg)
	id := r.mapID()
	status, _ := r.registerAs(key, "map")
	assert.Equal(t, 401, status)
	_, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("map") })
	require.Error(t, err)
	status, answer := r.call("POST", fmt.Sprintf("/broadcast?channels=5&sender=%d", id), "text/plain", "x")
	assert.NotEqual(t, 200, status, answer)
	c := r.irc()
	c.say("PASS :"+key, "NICK map", "USER x 0 * :x")
	c.until(" 433 \\* map ")
	for _, network := range []string{"udp", "tcp"} {
		_, err = r.dial(leniently(t), network, "map", nil)
		assert.Equal(t, frame.NotSupported, refusedCode(t, err))
	}

	admin := r.asAdmin()
	status, answer = r.operate(admin, "GET /operator/senders?via=map", "")
	assert.Equal(t, 200, status)
	assert.Contains(t, answer, fmt.Sprintf(`"id":%d,"name":"map","via":["map"],"state":"here"`, id))
	for call, body := range map[string]string{
		fmt.Sprintf("DELETE /operator/senders/%d", id):                   "",
		"POST /operator/senders/map/token":                               "",
		"PATCH /operator/senders/map":                                    `{"name":"another"}`,
		fmt.Sprintf("PATCH /operator/senders/%d", r.register("lamp").ID): `{"name":"map"}`,
	} {
		status, answer = r.operate(admin, call, body)
		assert.Equal(t, 409, status, call+answer)
	}

	again := r.restart(func(*config.Config) {})
	assert.Equal(t, id, again.mapID(), "its id is the same again")
}

func TestWhatWasRetainedBefore(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	r := startWith(t, cfg)
	zigbee := r.outside("zigbee2mqtt")
	zigbee.says("state/lamp", "on", true)
	zigbee.says("state/plug", "off", true)
	again := r.restart(func(c *config.Config) {
		c.Channels = map[uint32]config.Channel{5: {Map: []config.Map{{Topic: "state/lamp", In: true}, {Topic: "state/+", In: true, Template: "now {{ value }}", Retained: true}}}}
	})
	next := again.heardFrom(5)
	assert.ElementsMatch(t, []string{"now on", "now off"}, []string{next(), next()}, "the line that wants them tells")
	zigbee = again.outside("zigbee2mqtt")
	zigbee.says("state/lamp", "dim", true)
	assert.Equal(t, []string{"dim", "now dim"}, []string{next(), next()}, "what happens now is told by both")
}

func TestMapsAreReloaded(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.Channels = map[uint32]config.Channel{5: {Name: "Hall", Map: []config.Map{{Topic: "a", In: true}}}}
	r, f := startFrom(t, cfg)
	admin := r.asAdmin()
	stream := r.stream()
	o := r.outside("o", "out")
	o.says("a", "1", false)
	assert.Equal(t, r.ofMap("1"), stream.next(t))
	f.change(func(c *config.Config) {
		c.Channels[5] = config.Channel{Name: "Hall", Map: []config.Map{{Topic: "b", In: true}, {Topic: "out", Out: true}}}
	})
	reloaded, restart := r.reload(admin)
	assert.Equal(t, "channels.5", reloaded)
	assert.Empty(t, restart)
	o.says("a", "2", false)
	o.says("b", "3", false)
	assert.Equal(t, r.ofMap("3"), stream.next(t))
	stream.broadcast(5, []byte("4"))
	assert.Equal(t, "out 4", o.next())

	f.change(func(c *config.Config) {
		c.Channels[5] = config.Channel{Map: []config.Map{{Topic: "b", In: true, Template: "{{ valu }}"}}}
	})
	status, answer := r.operate(admin, "POST /operator/reload", "")
	assert.NotEqual(t, 200, status)
	assert.Contains(t, answer, "channels.5.map[0].template")
	stream.broadcast(5, []byte("5"))
	assert.Equal(t, "out 5", o.next(), "nothing has changed")
}

// A fault in a template is told by the check of a file too, with its line.
func TestAFaultyTemplateIsTold(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/w.yaml"
	require.NoError(t, os.WriteFile(file, []byte("channels:\n  5:\n    map:\n      - topic: a\n        in: true\n        template: '{{ values.a }}'\n"), 0o600))
	c, _, err := config.Load(nil, []string{"HOME=/"}, file)
	require.NoError(t, err)
	err = gateway.Check(c)
	require.Error(t, err)
	assert.Contains(t, err.Error(), "channels.5.map[0].template: ")
	assert.Contains(t, err.Error(), "w.yaml:6")
}

func TestALastWillRings(t *testing.T) {
	t.Parallel()
	r := mapped(t, map[uint32][]config.Map{5: {{Topic: "state/+", In: true, Template: "{{ levels[1] }} is {{ value }}"}}})
	stream := r.stream()
	r.withWill("plug", "plug")
	r.withWill("plug", "other") // it takes the client id over, with a clean start
	assert.Equal(t, r.ofMap("plug is dead"), stream.next(t))
}

// What goes out has the QoS and the retain flag of its line, as mosquitto_sub sees them.
func TestQoSOfWhatGoesOut(t *testing.T) {
	t.Parallel()
	r := mapped(t, map[uint32][]config.Map{5: {
		{Topic: "out/0", Out: true}, {Topic: "out/1", Out: true, QoS: 1, Retain: true}, {Topic: "out/2", Out: true, QoS: 2}, {Topic: "in", In: true},
	}})
	heard := r.mosquittoSub("-t", "out/#")
	stream := r.stream()
	r.mosquittoPub("-t", "in", "-m", "from mosquitto_pub", "-q", "2")
	assert.Equal(t, r.ofMap("from mosquitto_pub"), stream.next(t))
	stream.broadcast(5, []byte("x"))
	eventually(t, "all is heard", func() bool { return len(heard.lines()) == 3 })
	for i, want := range []string{"out/0 x 0 0", "out/1 x 1 1", "out/2 x 2 0"} {
		assert.Contains(t, heard.lines()[i], want)
	}
}
