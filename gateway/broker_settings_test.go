package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

// overLimit requires that a refusal was counted, and logged with its setting.
func (r *running) overLimit(setting string) {
	r.t.Helper()
	eventually(r.t, "it is counted", func() bool { return r.dropped(viaMQTT, bridge.Limit) > 0 })
	eventually(r.t, "it is logged", func() bool { return strings.Contains(r.log.String(), "("+setting+")") })
}

// mqttConnect is a CONNECT of MQTT 3.1.1 with the secret key.
func mqttConnect(id string, keepAlive byte) []byte {
	body := basicFrame("\x00\x04MQTT\x04\xc2\x00", keepAlive, byte(0), byte(len(id)), id, "\x00\x01x", byte(0), byte(len(key)), key)
	return basicFrame(byte(0x10), byte(len(body)), body)
}

func testMaxKeepAlive(t *testing.T) {
	r := start(t, func(c *config.Config) { c.MQTT.MaxKeepAlive = time.Second })
	for _, asked := range []byte{0, 60} {
		begun := time.Now()
		conn, err := net.Dial("tcp", r.at.MQTT)
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write(mqttConnect(fmt.Sprint("keep", asked), asked))
		require.NoError(t, err)
		began := time.Now()
		endsBy(t, conn, begun, 1500*time.Millisecond)
		assert.Less(t, time.Since(began), 10*time.Second)
	}
}

func testSessionQueueBytes(t *testing.T) {
	r := start(t, func(c *config.Config) { c.MQTT.SessionQueueBytes = 200_000 })
	flood := flooder(r)
	stuckMQTT(r)
	for i := 0; r.dropped(viaMQTT, bridge.QueueFull) == 0; i++ {
		flood()
		require.Less(t, i, 500, "nothing was dropped")
	}
	assert.Contains(t, r.log.String(), "(mqtt.session_queue_bytes)")
}

// After a restart, the gateway publishes no will before its client had time to come back.
func testWillGrace(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Hour} {
		cfg := testConfig(t)
		cfg.MQTT.WillGrace = grace
		r := startWith(t, cfg)
		_, err := r.pahoClient(func(o *paho.ClientOptions) {
			o.SetClientID("lamp").SetCleanSession(false).SetWill("lamp/state", "gone", 1, true)
		})
		require.NoError(t, err)
		r.stop()

		r = startWith(t, cfg)
		seen := make(chan string, 1)
		c, err := r.pahoClient(nil)
		require.NoError(t, err)
		require.NoError(t, wait(c.Subscribe("lamp/state", 1, func(_ paho.Client, m paho.Message) { seen <- string(m.Payload()) })))
		select {
		case got := <-seen:
			assert.Equal(t, "gone", got)
			assert.Zero(t, grace)
		case <-time.After(3 * time.Second):
			assert.NotZero(t, grace, "the will was not sent")
		}
		r.stop()
	}
}

func testSaveInterval(t *testing.T) {
	keeps := func(every time.Duration) (r *running, onDisk func() bool) {
		r = start(t, func(c *config.Config) { c.MQTT.SaveInterval = every })
		c, err := r.pahoClient(nil)
		require.NoError(t, err)
		require.NoError(t, wait(c.Publish("kept/on/disk", 1, true, "x")))
		return r, func() bool {
			b, err := os.ReadFile(filepath.Join(r.cfg.DataDir, "broker.db"))
			require.NoError(t, err)
			return strings.Contains(string(b), "kept/on/disk")
		}
	}
	slow, late := keeps(time.Hour)
	for range 2 {
		_, soon := keeps(short)
		eventually(t, "it is on disk", soon)
	}
	assert.False(t, late(), "what came before is not")
	slow.stop()
	assert.True(t, late(), "at the end it is")
}

func testSessionLimit(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.MQTTSessions = 2 })
	lasting := func(o *paho.ClientOptions) { o.SetClientID("lasting").SetCleanSession(false) }
	c, err := r.pahoClient(lasting)
	require.NoError(t, err)
	c.Disconnect(100)
	second, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("2") })
	require.NoError(t, err)
	_, err = r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("3") })
	require.Error(t, err)
	r.overLimit("limits.mqtt_sessions")
	_, err = r.pahoClient(lasting)
	require.NoError(t, err, "who has a session gets it")
	second.Disconnect(100)
	eventually(t, "there is room again", func() bool {
		_, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("3") })
		return err == nil
	})
}

func testSubscriptionLimit(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.MQTTSubscriptions = 2 })
	c, err := r.pahoClient(nil)
	require.NoError(t, err)
	require.NoError(t, wait(c.Subscribe("a", 1, nil)))
	require.NoError(t, wait(c.Subscribe("watchtower/channels/6/#", 1, nil)))
	over := c.Subscribe("watchtower/channels/5/#", 1, nil).(*paho.SubscribeToken)
	require.NoError(t, wait(over))
	assert.Equal(t, map[string]byte{"watchtower/channels/5/#": 0x80}, over.Result())
	_, listed := r.call("GET", fmt.Sprintf("/channels?sender=%d", r.register("client").ID), "", "")
	assert.NotContains(t, listed, `"channel":5`, "nor has it joined")
	r.overLimit("limits.mqtt_subscriptions")
	require.NoError(t, wait(c.Subscribe("a", 0, nil)), "the same filter again is none more")
	require.NoError(t, wait(c.Unsubscribe("a")))
	require.NoError(t, wait(c.Subscribe("b", 1, nil)))
}

func testSubscriptionBytes(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.MQTTSubscriptionBytes = 64 << 10 })
	c, err := r.pahoClient(nil)
	require.NoError(t, err)
	deep := "d" + strings.Repeat("/x", 198)
	taken := 0
	for ; ; taken++ {
		token := c.Subscribe(fmt.Sprint(taken, deep), 1, nil).(*paho.SubscribeToken)
		require.NoError(t, wait(token))
		if token.Result()[fmt.Sprint(taken, deep)] == 0x80 {
			break
		}
	}
	assert.InDelta(t, 10, taken, 9, "a quarter of the limit")
	r.overLimit("limits.mqtt_subscription_bytes")
	require.NoError(t, wait(c.Unsubscribe(fmt.Sprint(0, deep))))
	again := c.Subscribe("short", 1, nil).(*paho.SubscribeToken)
	require.NoError(t, wait(again))
	assert.EqualValues(t, 1, again.Result()["short"], "there is room again")
}

// A session that is away fills the limit. Another session without waiting messages still
// gets its message, also over a restart.
func testQueueBytes(t *testing.T) {
	dir := t.TempDir()
	r := start(t, func(c *config.Config) { c.DataDir, c.Limits.MQTTQueueBytes = dir, 1<<20 })
	for _, id := range []string{"greedy", "modest"} {
		c, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID(id).SetCleanSession(false) })
		require.NoError(t, err)
		require.NoError(t, wait(c.Subscribe("for/"+id, 1, nil)))
		c.Disconnect(100)
	}
	pub, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("pub") })
	require.NoError(t, err)
	for range 40 {
		require.NoError(t, wait(pub.Publish("for/greedy", 1, false, strings.Repeat("x", 50_000))))
	}
	require.NoError(t, wait(pub.Publish("for/modest", 1, false, "mine")))
	eventually(t, "it is counted", func() bool { return r.dropped(viaMQTT, bridge.QueueFull) > 10 })
	assert.Contains(t, r.log.String(), "limits.mqtt_queue_bytes")
	r.stop()
	r = start(t, func(c *config.Config) { c.DataDir, c.Limits.MQTTQueueBytes = dir, 256<<10 })
	assert.Contains(t, r.log.String(), "limits.mqtt_queue_bytes", "what is let go at the start is said")
	got := make(chan string, 100)
	c, err := r.pahoClient(func(o *paho.ClientOptions) {
		o.SetClientID("modest").SetCleanSession(false).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) })
	})
	require.NoError(t, err)
	eventually(t, "it comes", func() bool { return len(got) > 0 })
	assert.Equal(t, "mine", <-got)
	c.Disconnect(100)
}

func testRetainedLimit(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.MQTTRetained = 2 })
	r.retains("limits.mqtt_retained", "x")
}

func testRetainedBytes(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.MQTTRetainedBytes = 3500 })
	r.retains("limits.mqtt_retained_bytes", strings.Repeat("x", 1000))
}

// retains publishes until two messages are kept, and no third: it is refused
// whole. A removal makes room.
func (r *running) retains(setting, payload string) {
	t := r.t
	c, err := r.pahoClient(nil)
	require.NoError(t, err)
	live := make(chan string, 10)
	require.NoError(t, wait(c.Subscribe("kept/#", 1, func(_ paho.Client, m paho.Message) { live <- m.Topic() })))
	for _, topic := range []string{"kept/1", "kept/2", "kept/3", "kept/2"} {
		require.NoError(t, wait(c.Publish(topic, 1, true, payload)))
	}
	r.overLimit(setting)
	require.NoError(t, wait(c.Publish("kept/1", 1, true, "")))
	require.NoError(t, wait(c.Publish("kept/3", 1, true, payload)))
	var got []string
	for range 5 {
		got = append(got, <-live)
	}
	assert.Equal(t, []string{"kept/1", "kept/2", "kept/2", "kept/1", "kept/3"}, got)
	kept := run(t, program(t, "mosquitto_sub"), r.mosquittoArgs("-t", "kept/#", "-C", "2", "-F", "%t")...)
	assert.ElementsMatch(t, []string{"kept/2", "kept/3"}, strings.Fields(kept))
}

// mosquittoArgs are what mosquitto's clients need to connect here.
func (r *running) mosquittoArgs(more ...string) []string {
	host, port, err := net.SplitHostPort(r.at.MQTT)
	require.NoError(r.t, err)
	return append([]string{"-h", host, "-p", port, "-u", "x", "-P", key, "-W", "15"}, more...)
}

func (r *running) pahoClient(change func(*paho.ClientOptions)) (paho.Client, error) {
	o := paho.NewClientOptions().AddBroker("tcp://" + r.at.MQTT).SetClientID("client").SetUsername("x").SetPassword(key).SetAutoReconnect(false).SetConnectTimeout(patient)
	if change != nil {
		change(o)
	}
	c := paho.NewClient(o)
	token := c.Connect()
	require.True(r.t, token.WaitTimeout(patient))
	r.t.Cleanup(func() { c.Disconnect(0) })
	return c, token.Error()
}

func testBaseTopic(t *testing.T) {
	r := start(t, func(c *config.Config) { c.MQTT.BaseTopic = "home/tower" })
	c, err := r.pahoClient(nil)
	require.NoError(t, err)
	topics := make(chan string, 10)
	require.NoError(t, wait(c.Subscribe("home/tower/channels/5/#", 1, func(_ paho.Client, m paho.Message) { topics <- m.Topic() })))
	d := r.stream()
	d.broadcast(5, []byte("x"))
	assert.Equal(t, fmt.Sprintf("home/tower/channels/5/broadcast/%d", d.id), <-topics)
}

func wait(token paho.Token) error {
	if !token.WaitTimeout(patient) {
		return fmt.Errorf("nothing for %s", patient)
	}
	return token.Error()
}

func testMaxPacket(t *testing.T) {
	r := start(t, func(c *config.Config) { c.MQTT.MaxPacketBytes = 66000 })
	c, err := r.pahoClient(nil)
	require.NoError(t, err)
	got := make(chan int, 2)
	require.NoError(t, wait(c.Subscribe("own/x", 1, func(_ paho.Client, m paho.Message) { got <- len(m.Payload()) })))
	for _, n := range []int{66001, 65000} { // before MQTT 5 what is larger is read past
		require.NoError(t, wait(c.Publish("own/x", 1, false, make([]byte, n))))
	}
	assert.Equal(t, 65000, <-got)
	r.overLimit("mqtt.max_packet_bytes")
}

// endsBy requires that the other side closes a connection, and that this took at
// least the time that is set, from before it began.
func endsBy(t *testing.T, conn net.Conn, begun time.Time, least time.Duration) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) { // it was, if bytes came too late
		require.NoError(t, err)
	}
	assert.GreaterOrEqual(t, time.Since(begun), least)
}

func testConnectTimeout(t *testing.T) {
	r := start(t, func(c *config.Config) { c.MQTT.ConnectTimeout = short })
	begun := time.Now()
	conn, err := net.Dial("tcp", r.at.MQTT)
	require.NoError(t, err)
	defer conn.Close()
	endsBy(t, conn, begun, short)
}

func testSessionExpiry(t *testing.T) {
	r := start(t, func(c *config.Config) { c.MQTT.SessionExpiry = time.Second })
	c, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetCleanSession(false) })
	require.NoError(t, err)
	require.NoError(t, wait(c.Subscribe("watchtower/channels/7/#", 1, nil)))
	id := r.register("").ID
	require.Equal(t, 200, r.channels(id))
	c.Disconnect(10)
	assert.Equal(t, 200, r.channels(id))
	eventually(t, "the session expires", func() bool { return r.channels(id) == 204 })
}
