package mqtt_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

// answers sends PUBACK, PUBREC, PUBREL or PUBCOMP.
func (c *client) answers(kind byte, id uint16) {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id}
	if kind == packets.Pubrel {
		pk.FixedHeader.Qos = 1
	}
	c.send(pk)
}

// exactly takes one delivery at QoS 2, with the whole handshake.
func (c *client) exactly() packets.Packet {
	c.t.Helper()
	pk := c.read(packets.Publish)
	require.EqualValues(c.t, 2, pk.FixedHeader.Qos)
	c.answers(packets.Pubrec, pk.PacketID)
	assert.Equal(c.t, pk.PacketID, c.read(packets.Pubrel).PacketID)
	c.answers(packets.Pubcomp, pk.PacketID)
	return pk
}

func TestQoS2IsGrantedAndDeliveredEverywhere(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		sub, pub := h.join(connect{id: "sub", version: version}), h.join(connect{id: "pub", version: version})
		for filter, topic := range map[string]string{
			"own/x": "own/x", "watchtower/channels/5/broadcast/+": "watchtower/channels/5/broadcast", "$share/g/own/shared": "own/shared",
		} {
			require.Equal(t, []byte{2}, sub.subscribe(2, filter))
			require.Zero(t, pub.publish(2, topic, filter))
			assert.Equal(t, filter, string(sub.exactly().Payload))
			assert.Empty(t, sub.all())
		}
	})
}

// A message of another protocol has the QoS of the subscription.
func TestWhatIsSaidOverHTTPIsDeliveredAtTheQoSOfTheSubscription(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	web := h.web("web")
	require.NoError(t, h.hub.Attach(web, 5, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
	for qos := range byte(3) {
		sub := h.join(connect{id: "sub", version: 5})
		sub.subscribe(qos, "watchtower/channels/5/#", "watchtower/me")
		assert.Equal(t, qos, sub.message().FixedHeader.Qos)
		_, err := h.hub.Publish(web, bridge.Publication{Channels: []bridge.Channel{5}, Via: viaHTTP})
		require.NoError(t, err)
		assert.Equal(t, qos, sub.message().FixedHeader.Qos)
	}
}

// MQTT-4.3.3-1 to -7, MQTT-4.4.0-1: what the sender does after a break at each point of the
// handshake.
func TestADeliveryAtQoS2GoesOnAfterAReconnect(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		pub := h.join(connect{id: "pub"})
		c := h.join(lasting("c", version))
		c.subscribe(2, "own/x")
		for i := range 3 {
			require.Zero(t, pub.publish(2, "own/x", strconv.Itoa(i)))
		}
		var ids []uint16
		for i := range 3 {
			pk := c.read(packets.Publish)
			require.Equal(t, strconv.Itoa(i), string(pk.Payload))
			assert.False(t, pk.FixedHeader.Dup)
			ids = append(ids, pk.PacketID)
		}
		c.answers(packets.Pubrec, ids[0])
		assert.Equal(t, ids[0], c.read(packets.Pubrel).PacketID)
		c.answers(packets.Pubrec, ids[1])
		c.read(packets.Pubrel)
		c.answers(packets.Pubcomp, ids[0])
		c.ping()

		for _, way := range []func(){func() { h.lose(c, 1) }, func() {}} { // broken, and taken over
			way()
			c = h.join(lasting("c", version))
			assert.Equal(t, ids[1], c.read(packets.Pubrel).PacketID, "not published again: the client has it")
			pk := c.read(packets.Publish)
			assert.Equal(t, ids[2], pk.PacketID)
			assert.True(t, pk.FixedHeader.Dup)
			assert.Equal(t, "2", string(pk.Payload))
		}
		c.answers(packets.Pubcomp, ids[1])
		c.answers(packets.Pubrec, ids[2])
		c.read(packets.Pubrel)
		c.answers(packets.Pubcomp, ids[2])
		c.ping()
		h.lose(c, 1)
		c = h.join(lasting("c", version))
		assert.Empty(t, c.all())
		held, _ := h.broker.Held("c")
		assert.Zero(t, held)
	})
}

func TestAnErrorInPubrecEndsTheDelivery(t *testing.T) { // MQTT 5, 4.3.3
	h := build(t, nil)
	c := h.join(connect{id: "c", version: 5, props: packets.Properties{ReceiveMaximum: 1}})
	c.subscribe(2, "own/x")
	for i := range 3 {
		require.Zero(t, c.publish(2, "own/x", strconv.Itoa(i)))
	}
	first := c.read(packets.Publish)
	c.raw([]byte{0x50, 3, byte(first.PacketID >> 8), byte(first.PacketID), 0x97})
	second := c.read(packets.Publish)
	assert.Equal(t, "1", string(second.Payload), "the next one may come")
	c.raw([]byte{0x50, 4, byte(second.PacketID >> 8), byte(second.PacketID), 0x10, 0})
	assert.Equal(t, second.PacketID, c.read(packets.Pubrel).PacketID, "no matching subscribers is no error")
	c.answers(packets.Pubcomp, second.PacketID)
	assert.Equal(t, "2", string(c.exactly().Payload))
	h.left(1)
}

func TestAPubrecOfNoDelivery(t *testing.T) { // MQTT 5, 3.6.2.1: 0x92
	versions(t, func(t *testing.T, version byte) {
		c := build(t, nil).join(connect{id: "c", version: version})
		for _, b := range [][]byte{{0x50, 2, 0, 77}, {0x50, 3, 0, 77, 0}} {
			if version == 4 && b[1] > 2 {
				continue
			}
			c.raw(b)
			rel := c.read(packets.Pubrel)
			assert.Equal(t, uint16(77), rel.PacketID)
			assert.Equal(t, map[byte]byte{4: 0, 5: 0x92}[version], rel.ReasonCode)
		}
		c.raw([]byte{0x70, 2, 0, 77}) // ignored
		c.ping()
	})
}

func TestOrderAcrossAllQoS(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 10_000 })
	versions(t, func(t *testing.T, version byte) {
		sub, pub := h.join(connect{id: "sub", version: version, props: packets.Properties{ReceiveMaximum: 3}}), h.join(connect{id: "pub"})
		sub.subscribe(2, "o/x")
		const n = 999
		for i := range n {
			pub.publish(byte(i%3), "o/x", strconv.Itoa(i))
		}
		next := 0
		for next < n {
			pk, err := sub.next()
			require.NoError(t, err)
			switch pk.FixedHeader.Type {
			case packets.Publish:
				require.Equal(t, strconv.Itoa(next), string(pk.Payload))
				require.EqualValues(t, next%3, pk.FixedHeader.Qos)
				next++
				if pk.FixedHeader.Qos > 0 {
					sub.answers([]byte{0, packets.Puback, packets.Pubrec}[pk.FixedHeader.Qos], pk.PacketID)
				}
			case packets.Pubrel:
				sub.answers(packets.Pubcomp, pk.PacketID)
			}
		}
	})
}

// killable is a disk that stops taking writes, as if the process had been killed.
type killable struct {
	mqtt.Store
	dead  atomic.Bool
	full  atomic.Pointer[func()] // called at the first group that is written in the midst of a round
	marks atomic.Int64           // groups with a mark in them that were written
}

func (k *killable) Commit(rows []mqtt.Row) error {
	if k.dead.Load() {
		return nil
	}
	if inMidst(rows) {
		if f := k.full.Swap(nil); f != nil {
			(*f)()
		}
	}
	err := k.Store.Commit(rows)
	if err == nil && slices.ContainsFunc(rows, func(r mqtt.Row) bool { return bytes.Contains(r.Value, []byte(mark)) }) {
		k.marks.Add(1)
	}
	return err
}

// inMidst tells a group that is large and has no received ids: they come last.
func inMidst(rows []mqtt.Row) bool {
	n := 0
	for _, r := range rows {
		if r.Table == mqtt.Received {
			return false
		}
		n += len(r.Value)
	}
	return n >= 4<<20
}

// mark is a retained message: once it is on disk, so is everything before it.
const mark = "a mark of the test"

// mortal is a house whose process may be killed.
func mortal(t *testing.T) (d *disk, kill func()) {
	d, _, kill = mortalWith(t, 10*time.Millisecond)
	return d, kill
}

// mortalWith is mortal that saves so often. With inMidst a function is called once, in the
// midst of a round.
func mortalWith(t *testing.T, every time.Duration) (d *disk, inMidst func(func()), kill func()) {
	var store *killable
	d = newDisk(t, func(o *mqtt.Options) {
		store = &killable{Store: o.Store}
		o.Store, o.SaveInterval, o.SessionQueueBytes = store, every, 64<<20
	})
	return d, func(f func()) { store.full.Store(&f) }, func() {
		marker := d.join(connect{id: "marker"})
		for n := range int64(3) { // young deliveries may wait for the next group
			require.Zero(t, marker.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "marker", Payload: fmt.Append(nil, mark, n)}))
			require.Eventually(t, func() bool { return store.marks.Load() > n }, 15*time.Second, time.Millisecond, "all before it is on disk")
		}
		store.dead.Store(true)
		d.restart()
	}
}

// Both directions of QoS 2 go on where they were, at whatever point the process was killed.
func TestQoS2GoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		d, kill := mortal(t)
		back := connect{id: "lamp", version: version, dirty: true, props: lasting5}
		from := connect{id: "from", version: version, dirty: true, props: lasting5}
		c, pub := d.join(back), d.join(from)
		c.subscribe(2, "own/x")
		send := func(id uint16, dup bool) {
			pub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2, Dup: dup}, PacketID: id, TopicName: "own/x", Payload: []byte(fmt.Sprint(id))})
			assert.Equal(t, id, pub.read(packets.Pubrec).PacketID)
		}
		var ids []uint16
		for id := uint16(300); id < 304; id++ { // the last one is not read: it waits
			send(id, false)
			ids = append(ids, c.read(packets.Publish).PacketID)
		}
		for _, id := range ids[:2] {
			c.answers(packets.Pubrec, id)
			c.read(packets.Pubrel)
		}
		c.answers(packets.Pubcomp, ids[0])
		pub.answers(packets.Pubrel, 300)
		pub.read(packets.Pubcomp)
		kill()

		pub = d.join(from)
		for id := uint16(301); id < 304; id++ {
			send(id, true)
		}
		send(300, false)
		c = d.join(back)
		assert.Equal(t, ids[1], c.read(packets.Pubrel).PacketID)
		for i, id := range ids[2:] {
			pk := c.read(packets.Publish)
			assert.Equal(t, id, pk.PacketID)
			assert.True(t, pk.FixedHeader.Dup)
			assert.Equal(t, fmt.Sprint(302+i), string(pk.Payload))
		}
		pk := c.read(packets.Publish)
		assert.Equal(t, "300", string(pk.Payload), "the id was free: it is another message")
		assert.False(t, pk.FixedHeader.Dup)
		assert.NotContains(t, ids, pk.PacketID)
		for id := uint16(300); id < 304; id++ {
			pub.answers(packets.Pubrel, id)
			assert.Zero(t, pub.read(packets.Pubcomp).ReasonCode, "known still")
		}
		for _, id := range append(ids[2:], pk.PacketID) {
			c.answers(packets.Pubrec, id)
			assert.Equal(t, id, c.read(packets.Pubrel).PacketID)
		}
		for _, id := range append(ids[1:], pk.PacketID) {
			c.answers(packets.Pubcomp, id)
		}
		c.ping()
		kill()
		pub, c = d.join(from), d.join(back)
		assert.Empty(t, c.all())
		send(301, true)
		assert.Equal(t, "301", string(c.exactly().Payload), "what is released is off the disk")
	})
}

// A publish at QoS 2 that comes while a round is saved is known after a kill too.
func TestQoS2ThatComesWhileOthersAreSaved(t *testing.T) {
	t.Parallel()
	d, inMidst, kill := mortalWith(t, 3*time.Second) // a busy machine takes a second for what is to be in one round
	from := connect{id: "from", version: 5, dirty: true, props: lasting5}
	lamp := connect{id: "lamp", version: 5, dirty: true, props: lasting5}
	stock := d.join(connect{id: "stock", version: 5, dirty: true, props: lasting5})
	stock.subscribe(1, "large")
	d.lose(stock, 0)
	c := d.join(lamp)
	c.subscribe(2, "own/x")
	d.lose(c, 0)
	pub := d.join(from)
	send := func(id uint16, dup bool, topic, payload string) {
		pub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2, Dup: dup}, PacketID: id, TopicName: topic, Payload: []byte(payload)})
		require.Equal(t, id, pub.read(packets.Pubrec).PacketID)
	}
	held, goOn := make(chan struct{}), make(chan struct{})
	inMidst(func() { close(held); <-goOn })
	for id, open := uint16(1), true; open; id++ {
		for range 80 {
			send(id, false, "large", strings.Repeat("x", 60_000))
			pub.answers(packets.Pubrel, id)
			pub.read(packets.Pubcomp)
		}
		send(id, false, "own/x", fmt.Sprint(id)) // so that the round has the publisher too
		select {
		case <-held:
			open = false
		case <-time.After(8 * time.Second): // two rounds shared it
		}
		require.Less(t, id, uint16(10))
	}
	send(2000, false, "own/x", "once")
	close(goOn)
	kill()

	pub = d.join(from)
	send(2000, true, "own/x", "once")
	n := 0
	c = d.join(lamp)
	for _, body := range c.bodies() {
		if body == "once" {
			n++
		}
	}
	assert.Equal(t, 1, n)
}
