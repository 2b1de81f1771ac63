package mqtt_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

// claimed waits until all houses know where a session of a named client is.
func claimed(t *testing.T, all []*house, client string, at *house) {
	t.Helper()
	sender, err := at.hub.Receiver(client)
	require.Nil(t, err)
	for _, h := range all {
		require.Eventually(t, func() bool { return h == at || h.broker.HomeOf(sender, client) == at.slot() }, 5*time.Second, time.Millisecond)
	}
}

func (h *house) slot() bridge.Slot {
	own, _ := h.hub.Peers().Own()
	return own.Slot
}

// A client is connected at one gateway. What it was sent and has not acknowledged comes again at
// the next, with its packet id and DUP, and then what waited, in order.
func TestASessionMoves(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		all, _ := neighbours(t, 3, nil)
		speaker := all[2].join(connect{id: "speaker"})
		was := all[0].join(lasting("mover", version))
		was.subscribe(2, "own/#", "watchtower/channels/5/#")
		was.subscribe(0, "other")
		say := func(qos byte, topic, text string) { require.Zero(t, speaker.publish(qos, topic, text)) }
		say(1, "own/1", "one")
		say(2, "watchtower/channels/5/broadcast", "two")
		say(1, "own/3", "three")
		one, two, three := was.read(packets.Publish), was.read(packets.Publish), was.read(packets.Publish)
		was.ack(one.PacketID)
		was.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrec}, PacketID: two.PacketID})
		was.read(packets.Pubrel)
		for i := range 20 {
			at := all[(i+1)%2]
			claimed(t, all, "mover", all[i%2])
			is, ack := at.dial(lasting("mover", version))
			require.Zero(t, ack.ReasonCode)
			assert.True(t, ack.SessionPresent)
			reason := was.ended()
			if version == 5 {
				assert.Equal(t, packets.ErrSessionTakenOver.Code, reason)
			}
			assert.Equal(t, two.PacketID, is.read(packets.Pubrel).PacketID)
			again := is.read(packets.Publish)
			assert.Equal(t, three.PacketID, again.PacketID)
			assert.True(t, again.FixedHeader.Dup)
			assert.Equal(t, "three", string(again.Payload))
			assert.Equal(t, 1, sessionsIn(all[:2]))
			was = is
		}
		was.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubcomp}, PacketID: two.PacketID})
		was.ack(three.PacketID)
		was.ping()
		was.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
		was.ended()
		all[0].left(0)
		claimed(t, all, "mover", all[0])
		watch := all[1].join(connect{id: "watch"})
		watch.subscribe(0, "other")
		for i := range 30 { // away
			say(1, "own/4", fmt.Sprint(i))
		}
		say(0, "other", "not kept")
		assert.Equal(t, "not kept", string(watch.message().Payload)) // what comes later, comes after the client
		is := all[1].join(lasting("mover", version))
		for i := range 30 {
			m := is.message()
			assert.Equal(t, fmt.Sprint(i), string(m.Payload))
			assert.False(t, m.FixedHeader.Dup, "%d", i)
		}
		assert.Empty(t, is.messages())
		say(0, "other", "it is there")
		assert.Equal(t, "it is there", string(is.message().Payload))
	})
}

// A publish at QoS 2 whose PUBREL is due is the same message at the next gateway.
func TestWhatAClientPublishesAtQoS2MovesToo(t *testing.T) {
	t.Parallel()
	all, _ := neighbours(t, 2, nil)
	sub := all[0].join(connect{id: "sub"})
	sub.subscribe(1, "own/x")
	was := all[0].join(lasting("mover", 5))
	p := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2}, TopicName: "own/x", Payload: []byte("once"), PacketID: 9}
	was.send(p)
	was.read(packets.Pubrec)
	claimed(t, all, "mover", all[0])
	is := all[1].join(lasting("mover", 5))
	p.FixedHeader.Dup = true
	is.send(p)
	is.read(packets.Pubrec)
	is.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: 9})
	is.read(packets.Pubcomp)
	is.publish(1, "own/x", "after")
	assert.Equal(t, "once", string(sub.message().Payload))
	assert.Equal(t, "after", string(sub.message().Payload))
}

// A clean start ends the session wherever it is. One that does not outlive its connection ends
// with the takeover.
func TestNothingMovesAtACleanStart(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		all, _ := neighbours(t, 2, nil)
		for _, x := range []struct {
			first, then connect
		}{
			{lasting("mover", version), connect{id: "mover", version: version}},
			{connect{id: "mover", version: version}, lasting("mover", version)},
		} {
			was := all[0].join(x.first)
			was.subscribe(1, "own/#")
			claimed(t, all, "mover", all[0])
			is, ack := all[1].dial(x.then)
			assert.False(t, ack.SessionPresent)
			was.ended()
			assert.Equal(t, 1, sessionsIn(all))
			speaker := all[0].join(connect{id: "speaker"})
			speaker.publish(1, "own/x", "x")
			_ = speaker.nc.Close()
			assert.Empty(t, is.messages())
			is.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
			is.ended()
			all[1].join(connect{id: "mover", version: version}).nc.Close() // ends it
			require.Eventually(t, func() bool { return sessionsIn(all) == 0 }, 5*time.Second, time.Millisecond)
		}
	})
}

// While gateways are cut off from each other, both have their client. Afterwards the newer stays.
func TestAClientAtBothSidesOfAPartition(t *testing.T) {
	t.Parallel()
	all, net := neighbours(t, 2, nil)
	watcher := all[0].join(connect{id: "watcher"})
	watcher.subscribe(1, "will")
	net.set(2, true)
	require.Eventually(t, func() bool { return !all[0].hub.Peers().Here(2) && !all[1].hub.Peers().Here(1) }, 15*time.Second, 10*time.Millisecond)
	o := lasting("mover", 5)
	o.will = lastWill("will")
	older := all[0].join(o)
	older.ping()
	for came := time.Now().UnixMilli(); time.Now().UnixMilli() == came; { // by their clocks
		older.ping()
	}
	newer := all[1].join(o)
	newer.ping()
	older.ping()
	net.set(2, false)
	assert.Equal(t, packets.ErrSessionTakenOver.Code, older.ended())
	require.Eventually(t, func() bool { return sessionsIn(all) == 2 }, 5*time.Second, time.Millisecond)
	newer.ping()
	newer.publish(1, "will", "it is there")
	assert.Equal(t, "it is there", string(watcher.message().Payload), "and no will")
}

// A gateway that does not answer holds a client up for two seconds at most.
func TestAClientDoesNotWaitForAFrozenGateway(t *testing.T) {
	t.Parallel()
	all, net := neighbours(t, 2, nil)
	was := all[0].join(lasting("mover", 5))
	claimed(t, all, "mover", all[0])
	net.set(1, true)
	begun := time.Now()
	_, ack := all[1].dial(lasting("mover", 5))
	assert.Zero(t, ack.ReasonCode)
	assert.Less(t, time.Since(begun), 8*time.Second)
	was.ping()
	net.set(1, false)
	was.ended()
	require.Eventually(t, func() bool { return sessionsIn(all) == 1 }, 5*time.Second, time.Millisecond)
}

// A client id that the gateway gave away is nobody's name at the next gateway either.
func TestANamelessSessionMoves(t *testing.T) {
	t.Parallel()
	all, _ := neighbours(t, 2, nil)
	o := lasting("", 5)
	was, ack := all[0].dial(o)
	o.id = ack.Properties.AssignedClientID
	was.subscribe(1, "own/x")
	require.Eventually(t, func() bool { return all[1].broker.HomeOf(0, o.id) == all[0].slot() }, 5*time.Second, time.Millisecond)
	is, ack := all[1].dial(o)
	assert.True(t, ack.SessionPresent)
	was.ended()
	all[0].join(connect{id: "speaker"}).publish(1, "own/x", "x")
	assert.Equal(t, "x", string(is.message().Payload))
}

// Large queues come in parts.
func TestALargeQueueMoves(t *testing.T) {
	t.Parallel()
	all, _ := neighbours(t, 2, func(o *mqtt.Options) { o.SessionQueue = 5000 })
	was := all[0].join(lasting("mover", 5))
	was.subscribe(1, "own/x")
	was.nc.Close()
	all[0].left(0)
	speaker := all[1].join(connect{id: "speaker"})
	large := make([]byte, 100_000)
	for i := range 40 {
		large[0] = byte(i)
		require.Zero(t, speaker.publish(1, "own/x", string(large)))
	}
	require.Eventually(t, func() bool { n, _ := all[0].broker.Held("mover"); return n == 40 }, 5*time.Second, time.Millisecond)
	before, _, _ := all[0].broker.HeldBytes()
	assert.Greater(t, before, 4_000_000)
	claimed(t, all, "mover", all[0])
	is := all[1].join(lasting("mover", 5))
	for i := range 40 {
		m := is.message()
		require.Len(t, m.Payload, len(large))
		assert.Equal(t, byte(i), m.Payload[0])
	}
	require.Eventually(t, func() bool { after, _, _ := all[0].broker.HeldBytes(); return after < 100_000 }, 5*time.Second, time.Millisecond, "it gives the memory back")
}

// A client that comes to another gateway while it is attached here is not attached here.
func TestASessionIsLostWhileItsClientIsAttached(t *testing.T) {
	t.Parallel()
	all, _ := neighbours(t, 2, nil)
	here := all[0]
	o := lasting("mover", 5)
	o.will = lastWill("own/will")
	o.will.WillProperties.WillDelayInterval = 60
	here.join(o).nc.Close()
	here.left(0)
	sender, err := here.hub.Receiver("mover")
	require.Nil(t, err)
	end := here.broker.Watch("own/will", func(string, []byte, bridge.Client) { // while a clean start ends the session
		claim := bridge.Claim{Key: mqtt.ClaimOf(sender, "mover"), At: here.hub.Peers().Tick(0), Standing: bridge.Live, Via: mqtt.Protocol}
		for _, lost := range here.hub.Peers().LearnClaims(2, []bridge.Claim{claim}) {
			lost()
		}
	})
	defer end()
	o.will, o.dirty = nil, false
	_, ack := here.dial(o)
	assert.Equal(t, packets.ErrServerBusy.Code, ack.ReasonCode)
	assert.Zero(t, here.broker.Stats().Sessions)
}

// What a client has acknowledged does not come again, even if its publisher, which is still handing it
// out, goes on only later.
func TestWhatWasAcknowledgedEarlyDoesNotComeAgain(t *testing.T) {
	all, _ := neighbours(t, 2, (*mqtt.Options).WithoutLoops) // nobody else waits for the publisher
	was := all[0].join(lasting("mover", 5))
	was.subscribe(1, "watchtower/channels/5/#")
	claimed(t, all, "mover", all[0])
	goOn := make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	defer all[0].broker.Watch("watchtower/channels/5/broadcast/+", func(string, []byte, bridge.Client) { <-goOn })() // after the sessions, and before other gateways
	speaker := all[0].join(connect{id: "speaker"})
	speaker.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: "watchtower/channels/5/broadcast", Payload: []byte("once"), PacketID: 1})
	was.ack(was.read(packets.Publish).PacketID)
	was.ping()
	time.AfterFunc(100*time.Millisecond, release)
	is := all[1].join(lasting("mover", 5))
	speaker.read(packets.Puback)
	assert.Zero(t, speaker.publish(1, "watchtower/channels/5/broadcast", "after"))
	assert.Equal(t, "after", string(is.message().Payload))
}

// A publisher that is stuck while it hands a message out does not hold a client up.
func TestAClientDoesNotWaitForAStuckPublisher(t *testing.T) {
	all, _ := neighbours(t, 2, (*mqtt.Options).WithoutLoops)
	all[0].join(lasting("mover", 5)).subscribe(1, "own/x")
	claimed(t, all, "mover", all[0])
	goOn, stuck := make(chan struct{}), make(chan struct{})
	defer all[0].broker.Watch("own/x", func(string, []byte, bridge.Client) { close(stuck); <-goOn })()
	defer close(goOn)
	all[0].join(connect{id: "speaker"}).send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "own/x"})
	<-stuck
	begun := time.Now()
	_, ack := all[1].dial(lasting("mover", 5))
	assert.True(t, ack.SessionPresent)
	assert.Less(t, time.Since(begun), 8*time.Second)
}

// A client is found at the gateway that has it, although no claim of it was heard yet: the one that had it
// last, as far as the space knows, tells.
func TestASessionIsFoundBeforeItsClaimIsHeard(t *testing.T) {
	all, _ := neighbours(t, 3, nil)
	at := lasting("mover", 5)
	was := all[0].join(at)
	was.subscribe(1, "own/x")
	claimed(t, all, "mover", all[0])
	all[1].join(at)
	claimed(t, all, "mover", all[1])
	was.ended()
	all[0].join(connect{id: "speaker"}).publish(1, "own/x", "to whom it moved")
	sender, err := all[1].hub.Receiver("mover")
	require.Nil(t, err)
	claim := bridge.Claim{Key: mqtt.ClaimOf(sender, "mover"), Standing: bridge.GivenUp, Via: mqtt.Protocol}
	all[2].hub.Peers().LearnClaims(2, []bridge.Claim{claim}) // as if it had not come
	row := fmt.Sprintf(`{"home":1,"session":{"client":"mover","sender":%d,"named":true}}`, sender)
	all[2].broker.LearnStay(bridge.StayRow{Key: claim.Key, Data: []byte(row)}, 1)
	is, ack := all[2].dial(at)
	assert.True(t, ack.SessionPresent)
	assert.Equal(t, "to whom it moved", string(is.message().Payload))
}
