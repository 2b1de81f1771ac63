package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"

	"watchtower/mqtt"
)

// exacting publishes to another client and receives from it at QoS 2. It keeps its half of
// each handshake over connections.
type exacting struct {
	h   *house
	o   connect
	to  string
	c   *client
	cut float64 // probability that it is cut off at a packet

	// As a sender: what is not completed, in order.
	under    []outgoing
	sent     int
	released int // PUBCOMPs
	lastID   uint16

	// As a receiver:
	expected int
	have     map[uint16]bool // published, and not released
	again    int
	wrong    []string
}

type outgoing struct {
	id       uint16
	n        int
	recorded bool
}

const exchanged = 3000

func (e *exacting) fault(format string, args ...any) {
	if len(e.wrong) < 5 {
		e.wrong = append(e.wrong, fmt.Sprintf(format, args...))
	}
}

// free returns one of seven ids that is not in use.
func (e *exacting) free() uint16 {
	for {
		e.lastID = e.lastID%7 + 1
		if !slices.ContainsFunc(e.under, func(o outgoing) bool { return o.id == e.lastID }) {
			return e.lastID
		}
	}
}

func (e *exacting) publish(o outgoing, dup bool) {
	e.c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2, Dup: dup}, PacketID: o.id, TopicName: e.to, Payload: []byte(strconv.Itoa(o.n))})
}

// reconnect continues the unfinished handshakes, as MQTT-4.4.0-1 requires.
func (e *exacting) reconnect() {
	if rand.IntN(2) == 0 {
		e.c.nc.Close()
	}
	c, ack := e.h.dial(e.o)
	if !ack.SessionPresent {
		e.fault("the session was lost")
	}
	e.c = c
	for _, o := range e.under {
		if o.recorded {
			c.answers(packets.Pubrel, o.id)
		} else {
			e.publish(o, true)
		}
	}
}

func (e *exacting) done() bool {
	return len(e.wrong) > 0 || e.expected == exchanged && e.released == exchanged && len(e.have) == 0
}

func (e *exacting) run() {
	for !e.done() {
		for e.sent < exchanged && len(e.under) < 5 {
			o := outgoing{id: e.free(), n: e.sent}
			e.sent++
			e.under = append(e.under, o)
			e.publish(o, false)
		}
		pk, err := e.c.next()
		if err != nil {
			e.fault("read: %v", err)
			return
		}
		if rand.Float64() < e.cut { // this packet is lost
			e.reconnect()
			continue
		}
		e.take(pk)
	}
}

func (e *exacting) take(pk packets.Packet) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		n, _ := strconv.Atoi(string(pk.Payload))
		switch {
		case e.have[pk.PacketID] && !pk.FixedHeader.Dup:
			e.fault("%d has the id of one that is not released", n)
		case e.have[pk.PacketID]:
			e.again++
		case n != e.expected:
			e.fault("%d came, %d was next", n, e.expected)
		default:
			e.expected++
			e.have[pk.PacketID] = true
			if rand.Float64() < e.cut { // the answer is lost
				e.reconnect()
				return
			}
		}
		e.c.answers(packets.Pubrec, pk.PacketID)
	case packets.Pubrel:
		delete(e.have, pk.PacketID)
		e.c.answers(packets.Pubcomp, pk.PacketID)
	case packets.Pubrec:
		for i := range e.under {
			if e.under[i].id == pk.PacketID {
				e.under[i].recorded = true
			}
		}
		e.c.answers(packets.Pubrel, pk.PacketID)
	case packets.Pubcomp:
		for i, o := range e.under {
			if o.id == pk.PacketID {
				e.under = append(e.under[:i], e.under[i+1:]...)
				e.released++
				break
			}
		}
	}
}

// Thousands of messages at QoS 2 in both directions, through cuts and takeovers at
// any point of their handshakes: each comes exactly once, and in order.
func TestExactlyOnceBothWays(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue, o.SessionQueueBytes = 2*exchanged, 1<<30 })
	a := &exacting{h: h, to: "to-b", cut: 0.02, have: map[uint16]bool{}, o: lasting("a", 5)}
	b := &exacting{h: h, to: "to-a", cut: 0.02, have: map[uint16]bool{}, o: lasting("b", 4)}
	a.o.props.ReceiveMaximum = 5
	for filter, e := range map[string]*exacting{"to-a": a, "to-b": b} {
		e.c = h.join(e.o)
		e.c.subscribe(2, filter)
	}
	var both sync.WaitGroup
	for _, e := range []*exacting{a, b} {
		both.Go(e.run)
	}
	both.Wait()
	for _, e := range []*exacting{a, b} {
		assert.Empty(t, e.wrong)
		assert.Equal(t, exchanged, e.expected)
		assert.Positive(t, e.again, "there were cuts with something in flight")
	}
}
