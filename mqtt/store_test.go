package mqtt_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
	"watchtower/mqtt"
	"watchtower/mqtt/store"
)

// failing is a disk that can be full.
type failing struct {
	mqtt.Store
	full    atomic.Bool
	refused atomic.Int64
}

func (f *failing) Commit(rows []mqtt.Row) error {
	if f.full.Load() {
		f.refused.Add(1)
		return errors.New("no space left on device")
	}
	return f.Store.Commit(rows)
}

func TestADiskThatWasFullLosesNothing(t *testing.T) {
	t.Parallel()
	var bad *failing
	d := newDisk(t, func(o *mqtt.Options) {
		bad = &failing{Store: o.Store}
		o.Store = bad
	})
	back := connect{id: "lamp", dirty: true}
	d.join(back).subscribe(1, "own/#")
	d.join(connect{id: "taken over", dirty: true}).nc.Close()
	c := d.join(connect{id: "other"})
	c.publish(1, "own/before", "x")
	bad.full.Store(true)
	for i := range 100 {
		require.Zero(t, c.publish(1, fmt.Sprint("own/", i), "x"), "publishers are not held up")
		c.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "kept", Payload: fmt.Append(nil, i)})
	}
	require.Eventually(t, func() bool { return bad.refused.Load() > 3 }, 5*time.Second, time.Millisecond)
	bad.full.Store(false)
	d.restart()
	lamp := d.join(back)
	assert.Equal(t, "own/before", lamp.message().TopicName)
	for i := range 100 {
		assert.Equal(t, fmt.Sprint("own/", i), lamp.message().TopicName)
	}
	lamp.subscribe(1, "kept")
	assert.Equal(t, "99", string(lamp.message().Payload))
}

// While the disk fails, messages that come and go take no memory.
func TestADiskThatIsFullCostsNoMemory(t *testing.T) {
	var bad *failing
	d := newDisk(t, func(o *mqtt.Options) {
		bad = &failing{Store: o.Store}
		o.Store, o.SessionQueue = bad, 10
	})
	slow := d.join(connect{id: "lamp", dirty: true})
	slow.subscribe(1, "own/#")
	c := d.join(connect{id: "other"})
	bad.full.Store(true)
	round := func() {
		for range 10 {
			c.publish(1, "own/x", string(make([]byte, 10_000)))
		}
		seen := bad.refused.Load()
		require.Eventually(t, func() bool { return bad.refused.Load() > seen+2 }, 5*time.Second, time.Millisecond)
		for range 10 {
			slow.message()
		}
		slow.ping()
	}
	round()
	before := harness.Heap(t)
	for range 50 {
		round()
	}
	assert.Less(t, harness.Heap(t)-before, 2_000_000, "of 5 MB that were waiting for the disk at some time")
	bad.full.Store(false)
}

// Damaged rows are lost, but no others.
func TestADamagedStoreStarts(t *testing.T) {
	t.Parallel()
	d := newDisk(t, nil)
	back := connect{id: "lamp", dirty: true}
	d.join(back).subscribe(1, "own/#")
	c := d.join(connect{id: "other"})
	c.publish(1, "own/waits", "x")
	c.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "kept", Payload: []byte("x")})
	d.close()
	s, err := store.Open(d.dir+"/broker.db", logrus.New())
	require.NoError(t, err)
	var good []mqtt.Row
	require.NoError(t, s.Load(func(t mqtt.Table, key, value []byte) error {
		good = append(good, mqtt.Row{Table: t, Key: key, Value: value})
		return nil
	}))
	require.GreaterOrEqual(t, len(good), 4)
	var rows []mqtt.Row
	for i := range 300 { // copies of rows with bytes changed or missing, under other keys
		r := good[rand.IntN(len(good))]
		value := append([]byte{}, r.Value[:rand.IntN(len(r.Value)+1)]...)
		if len(value) > 0 {
			value[rand.IntN(len(value))] ^= byte(1 << rand.IntN(8))
		}
		rows = append(rows, mqtt.Row{Table: r.Table, Key: fmt.Appendf(nil, "bad%05d", i), Value: value})
	}
	for _, r := range good { // and each row twice
		rows = append(rows, mqtt.Row{Table: r.Table, Key: fmt.Appendf(nil, "two%05d", len(rows)), Value: r.Value})
	}
	require.NoError(t, s.Commit(rows))
	require.NoError(t, s.Close())
	for range 2 {
		d.start()
		lamp := d.join(back)
		assert.Equal(t, "own/waits", lamp.read(packets.Publish).TopicName)
		lamp.subscribe(1, "kept")
		d.close()
	}
}

// Neither publishers nor connecting clients wait for the disk.
func TestASlowDiskHoldsUpNobody(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	d := newDisk(t, func(o *mqtt.Options) { o.Store = slow{o.Store, release} })
	c := d.join(connect{id: "lamp", dirty: true})
	c.subscribe(1, "own/#")
	for range 1000 {
		require.Zero(t, c.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "own/x", Payload: []byte("x")}))
		c.message()
	}
	d.join(connect{id: "other", dirty: true}).subscribe(1, "own/#")
	close(release)
}

type slow struct {
	mqtt.Store
	release chan struct{}
}

func (s slow) Commit(rows []mqtt.Row) error {
	<-s.release
	return s.Store.Commit(rows)
}
