package mqtt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	senderstore "watchtower/bridge/store"
	"watchtower/internal/harness"
	"watchtower/mqtt"
	"watchtower/mqtt/store"
)

// disk is a data directory, and the house that uses it.
type disk struct {
	t      testing.TB
	dir    string
	change func(*mqtt.Options)
	state  *store.Store
	*house
	close func()
}

// written waits until all changes are on disk.
func (d *disk) written() {
	until := d.broker.Rounds() + 2
	require.Eventually(d.t, func() bool { return d.broker.Rounds() >= until }, time.Minute, time.Millisecond)
}

func newDisk(t testing.TB, change func(*mqtt.Options)) *disk {
	d := &disk{t: t, dir: t.TempDir(), change: change}
	t.Cleanup(func() { d.close() })
	d.start()
	return d
}

func (d *disk) start() {
	d.t.Helper()
	log := harness.Silent()
	senders, err := senderstore.Open(filepath.Join(d.dir, "watchtower.db"), log)
	require.NoError(d.t, err)
	d.state, err = store.Open(filepath.Join(d.dir, "broker.db"), log)
	require.NoError(d.t, err)
	d.house = buildWith(d.t, senders, func(o *mqtt.Options) {
		o.Store, o.SaveInterval = d.state, 10*time.Millisecond
		if d.change != nil {
			d.change(o)
		}
	})
	stop, state := d.stop, d.state
	d.close = func() {
		stop()
		require.NoError(d.t, errors.Join(state.Close(), senders.Close()))
		d.close = func() {}
	}
}

func (d *disk) restart() {
	d.t.Helper()
	d.close()
	d.start()
}

var lasting5 = packets.Properties{SessionExpiryInterval: 3600, SessionExpiryIntervalFlag: true}

func TestSessionsSurviveARestart(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"lamp", "no name: spaces"} {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprint(id, version), func(t *testing.T) {
				d := newDisk(t, nil)
				back := connect{id: id, version: version, dirty: true, props: lasting5}
				c := d.join(back)
				require.Equal(t, []byte{1, 1, 0}, append(c.subscribe(1, "own/#", "watchtower/channels/5/#"), c.subscribe(0, "zero")...))
				c.subscribe(0, "watchtower/me")
				me := string(c.message().Payload)
				other := d.join(connect{id: "other"})
				for i := range 5 {
					other.publish(1, "own/x", fmt.Sprint(i))
				}
				for i := range 5 { // sent, and not acknowledged
					require.Equal(t, fmt.Sprint(i), string(c.read(packets.Publish).Payload))
				}
				c.nc.Close()
				require.Eventually(t, func() bool { return d.broker.Stats().Connections == 1 }, 5*time.Second, time.Millisecond)
				for i := 5; i < 200; i++ {
					other.publish(1, "own/x", fmt.Sprint(i))
				}
				other.publish(0, "zero", "lost: QoS 0")
				d.restart()

				c, ack := d.dial(back)
				require.True(t, ack.SessionPresent)
				for i := range 200 {
					pk := c.message()
					require.Equal(t, fmt.Sprint(i), string(pk.Payload))
					require.Equal(t, i < 5, pk.FixedHeader.Dup, "of %d", i)
					require.EqualValues(t, i+1, pk.PacketID)
				}
				c.subscribe(0, "watchtower/me")
				assert.Equal(t, me, string(c.message().Payload), "the same sender")
				other = d.join(connect{id: "other"})
				other.publish(1, "own/y", "subscribed still")
				other.publish(1, "watchtower/channels/5/broadcast", "and a member")
				assert.Equal(t, "subscribed still", string(c.message().Payload))
				assert.Equal(t, "and a member", string(c.message().Payload))
				c.ping()
				d.restart()
				c, ack = d.dial(back)
				require.True(t, ack.SessionPresent)
				assert.Empty(t, c.messages(), "what was acknowledged does not come again")
			})
		}
	}
}

func TestSubscriptionOptionsSurviveARestart(t *testing.T) {
	t.Parallel()
	d := newDisk(t, nil)
	back := connect{id: "lamp", version: 5, dirty: true, props: lasting5}
	c := d.join(back)
	c.subscribeTo(packets.Properties{SubscriptionIdentifier: []int{77}}, packets.Subscription{Filter: "own/#", Qos: 1, NoLocal: true, RetainAsPublished: true})
	c.subscribe(1, "$share/group/shared")
	d.join(connect{id: "other"}).publish(1, "own/before", "waits")
	assert.Equal(t, "waits", string(c.read(packets.Publish).Payload))
	d.restart()
	c = d.join(back)
	pk := c.message()
	assert.Equal(t, "waits", string(pk.Payload))
	assert.Equal(t, []int{77}, pk.Properties.SubscriptionIdentifier)
	c.publish(1, "own/x", "not to myself")
	other := d.join(connect{id: "other"})
	other.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "own/x", Payload: []byte("x")})
	pk = c.message()
	assert.Equal(t, "x", string(pk.Payload))
	assert.True(t, pk.FixedHeader.Retain)
	assert.Equal(t, []int{77}, pk.Properties.SubscriptionIdentifier)
	other.publish(1, "shared", "y")
	assert.Equal(t, "y", string(c.message().Payload))
}

func TestRetainedSurviveARestart(t *testing.T) {
	t.Parallel()
	var k clock
	d := newDisk(t, k.use)
	c := d.join(connect{id: "tasmota", version: 5})
	long := strings.Repeat("long/", 190) + strings.Repeat("x", 5000)
	retain := func(topic, payload string, p packets.Properties) {
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: topic, Payload: []byte(payload), Properties: p}
		require.Zero(t, c.publishPacket(pk), topic)
	}
	retain("tele/a/LWT", "Online", packets.Properties{})
	retain("tele/b/LWT", "Online", packets.Properties{})
	retain("tele/b/LWT", "Offline", packets.Properties{})
	retain("gone", "x", packets.Properties{})
	retain(long, "\x00\xff", packets.Properties{})
	retain("soon", "x", packets.Properties{MessageExpiryInterval: 10})
	retain("later", "x", packets.Properties{MessageExpiryInterval: 1000})
	retain("rich", "{}", packets.Properties{
		ContentType: "application/json", ResponseTopic: "answer", CorrelationData: []byte{0, 1, 255}, PayloadFormat: 1, PayloadFormatFlag: true,
		User: []packets.UserProperty{{Key: "b", Val: "2"}, {Key: "a", Val: "1"}, {Key: "b", Val: "1"}},
	})
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(filepath.Join(d.dir, "broker.db"))
		return err == nil && bytes.Contains(b, []byte("gone"))
	}, 15*time.Second, 5*time.Millisecond, "it is on disk")
	retain("gone", "", packets.Properties{})
	k.pass(20 * time.Second)
	d.restart()
	k.pass(20 * time.Second)
	for range 2 {
		c = d.join(connect{id: "hass", version: 5})
		c.subscribe(1, "#")
		got := map[string]packets.Packet{}
		for range 5 {
			pk := c.message()
			got[pk.TopicName] = pk
			assert.True(t, pk.FixedHeader.Retain)
		}
		assert.Empty(t, c.messages())
		assert.Equal(t, "Online", string(got["tele/a/LWT"].Payload))
		assert.Equal(t, "Offline", string(got["tele/b/LWT"].Payload))
		assert.Equal(t, "\x00\xff", string(got[long].Payload))
		assert.EqualValues(t, 960, got["later"].Properties.MessageExpiryInterval)
		p := got["rich"].Properties
		assert.Equal(t, "application/json answer \x00\x01\xff 1", fmt.Sprintf("%s %s %s %d", p.ContentType, p.ResponseTopic, p.CorrelationData, p.PayloadFormat))
		assert.Equal(t, []packets.UserProperty{{Key: "b", Val: "2"}, {Key: "a", Val: "1"}, {Key: "b", Val: "1"}}, p.User)
		d.restart()
	}
}

func TestWillsOverARestart(t *testing.T) {
	t.Parallel()
	d := newDisk(t, func(o *mqtt.Options) { o.WillGrace = 300 * time.Millisecond })
	will := func(topic string) *packets.ConnectParams {
		return &packets.ConnectParams{WillTopic: topic, WillPayload: []byte("gone"), WillQos: 1, WillRetain: true}
	}
	d.join(connect{id: "clean", will: will("lwt/clean")})
	d.join(connect{id: "lasting", dirty: true, will: will("lwt/lasting")})
	d.join(connect{id: "comes back", dirty: true, will: will("lwt/back")})
	said := d.join(connect{id: "goodbye", will: will("lwt/goodbye")})
	said.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	require.Eventually(t, func() bool { return d.broker.Stats().Connections == 3 }, 5*time.Second, time.Millisecond)
	d.restart()
	watch := d.join(connect{id: "hass"})
	watch.subscribe(1, "lwt/#")
	assert.Empty(t, watch.messages(), "there is time to come back")
	d.join(connect{id: "comes back", dirty: true, will: will("lwt/back")})
	assert.ElementsMatch(t, []string{"lwt/clean", "lwt/lasting"}, []string{watch.message().TopicName, watch.message().TopicName})
	assert.Empty(t, watch.messages())
	_, ack := d.dial(connect{id: "clean", dirty: true})
	assert.False(t, ack.SessionPresent, "of a clean session only the will was kept")
	_, ack = d.dial(connect{id: "lasting", dirty: true})
	assert.True(t, ack.SessionPresent)
}

func TestASessionEndsWhileNobodyIsThere(t *testing.T) {
	t.Parallel()
	var k clock
	d := newDisk(t, k.use)
	for id, seconds := range map[string]uint32{"short": 60, "long": 6000} {
		p := packets.Properties{SessionExpiryInterval: seconds, SessionExpiryIntervalFlag: true}
		c := d.join(connect{id: id, version: 5, dirty: true, props: p})
		c.subscribe(1, "watchtower/channels/5/#")
		c.nc.Close()
	}
	require.Eventually(t, func() bool { return d.broker.Stats().Connections == 0 }, 5*time.Second, time.Millisecond)
	k.pass(100 * time.Second)
	d.restart()
	require.Eventually(t, func() bool { return d.broker.Stats().Sessions == 1 }, 5*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { n, _ := d.hub.Directory().Counts(); return n[mqtt.Protocol] == 1 }, 5*time.Second, time.Millisecond, "it leaves its channels after that")
	d.restart()
	assert.Equal(t, 1, d.broker.Stats().Sessions, "and is off the disk")
}

func TestADeletedSenderHasNoSessionAfterARestart(t *testing.T) {
	t.Parallel()
	d := newDisk(t, nil)
	d.join(connect{id: "lamp", dirty: true}).subscribe(1, "watchtower/channels/5/#")
	d.hub.Forget(d.web("lamp"))
	d.restart()
	assert.Zero(t, d.broker.Stats().Sessions)
	_, ack := d.dial(connect{id: "lamp", dirty: true})
	assert.False(t, ack.SessionPresent)
}
