package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"

	"watchtower/mqtt"
)

// walker publishes to another walker and receives from it, on one connection after the
// other: it is cut off, or takes its own connection over.
type walker struct {
	h        *house
	o        connect
	to       string
	crossing int // messages in each direction
	c        *client
	expected int
	held     []uint16 // deliveries that it has not acknowledged
	again    int      // deliveries that came again, with DUP
	wrong    []string
}

const burst = 7 // publishes at a time: their ids are those of the deliveries

func (w *walker) fault(format string, args ...any) {
	if len(w.wrong) < 5 {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

func (w *walker) take(pk packets.Packet) {
	n, _ := strconv.Atoi(string(pk.Payload))
	switch {
	case n == w.expected:
		w.expected++
	case n > w.expected:
		w.fault("%d came, %d was next", n, w.expected)
	case !pk.FixedHeader.Dup:
		w.fault("%d came again without DUP", n)
	default:
		w.again++
	}
	w.held = append(w.held, pk.PacketID)
	for len(w.held) > 3 {
		w.c.ack(w.held[0])
		w.held = w.held[1:]
	}
}

func (w *walker) read(until func(packets.Packet) bool) {
	for {
		pk, err := w.c.next()
		if err != nil {
			w.fault("read: %v", err)
			return
		}
		if pk.FixedHeader.Type == packets.Publish {
			w.take(pk)
		}
		if until(pk) {
			return
		}
	}
}

// reconnect connects again: after a cut, or as a takeover.
func (w *walker) reconnect(takeover bool) {
	if !takeover {
		w.c.nc.Close()
	}
	c, ack := w.h.dial(w.o)
	if !ack.SessionPresent {
		w.fault("the session was lost")
	}
	w.c, w.held = c, nil
}

func (w *walker) run() {
	for n := 0; n < w.crossing; {
		acks := 0
		for id := 1; id <= burst && n < w.crossing; id++ {
			w.c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: uint16(id), TopicName: w.to, Payload: []byte(strconv.Itoa(n))})
			n++
			acks++
		}
		w.read(func(pk packets.Packet) bool {
			if pk.FixedHeader.Type == packets.Puback {
				acks--
			}
			return acks == 0
		})
		if len(w.wrong) > 0 {
			return
		}
		if rand.IntN(20) == 0 {
			w.reconnect(rand.IntN(2) == 0)
		}
	}
	for w.expected < w.crossing && len(w.wrong) == 0 {
		for _, id := range w.held {
			w.c.ack(id)
		}
		w.held = nil
		w.read(func(pk packets.Packet) bool { return pk.FixedHeader.Type == packets.Publish })
	}
}

// Messages at QoS 1 in both directions, with the same packet ids at the same time, through
// reconnects and takeovers.
func TestThousandsBothWays(t *testing.T) { bothWays(t, 2500) }

func bothWays(t *testing.T, crossing int) {
	h := build(t, func(o *mqtt.Options) { o.SessionQueue, o.SessionQueueBytes = 2*crossing, 1<<30 })
	a := &walker{h: h, crossing: crossing, to: "to-b", o: connect{id: "a", version: 5, dirty: true, props: packets.Properties{ReceiveMaximum: 5, SessionExpiryInterval: 60, SessionExpiryIntervalFlag: true}}}
	b := &walker{h: h, crossing: crossing, to: "to-a", o: connect{id: "b", version: 4, dirty: true}}
	var both sync.WaitGroup
	for filter, w := range map[string]*walker{"to-a": a, "to-b": b} {
		w.c = h.join(w.o)
		w.c.subscribe(1, filter)
	}
	for _, w := range []*walker{a, b} {
		both.Go(w.run)
	}
	both.Wait()
	for _, w := range []*walker{a, b} {
		assert.Empty(t, w.wrong)
		assert.Equal(t, crossing, w.expected)
		assert.Positive(t, w.again, "there were cuts with something in flight")
	}
}
