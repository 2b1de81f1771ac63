package remote

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge/outbound"
)

// read executes the broker's packets until the connection ends, and returns why. It waits for
// nobody else, so the broker's queue for the gateway stays empty.
func (c *client) read(conn *conn, w *outbound.Writer) error {
	var round outbound.Round // what acknowledgements make room for is written here
	mark := newMark(conn.Conn)
	defer mark.end()
	for {
		if !whole(conn.r) {
			round.Flush()
			if conn.r.Buffered() == 0 {
				mark.wait(c.outbox.acksDue())
			}
		}
		come, _ := conn.r.Peek(conn.r.Buffered()) // it is there
		if used, more := c.outbox.ackedAll(come, conn.version); used > 0 {
			_, _ = conn.r.Discard(used)
			if more {
				round.Note(w)
			}
			continue
		}
		pk, err := read(conn.r, conn.version, conn.limit)
		if err != nil {
			return err
		}
		switch pk.FixedHeader.Type {
		case packets.Publish:
			if err = c.take(&pk); pk.FixedHeader.Qos == 1 {
				round.Note(w)
			}
		case packets.Puback:
			if c.outbox.acked(pk.PacketID, pk.ReasonCode >= 0x80) {
				round.Note(w)
			}
		case packets.Suback, packets.Unsuback:
			c.answered(&pk)
		case packets.Pingresp:
			c.pong.Store(int64(c.clock()))
		case packets.Disconnect:
			return c.dismissed(&pk)
		}
		if err != nil {
			return err
		}
	}
}

// whole reports whether a packet can be read without waiting.
func whole(r *bufio.Reader) bool {
	head, _ := r.Peek(min(r.Buffered(), 5))
	if len(head) < 2 {
		return false
	}
	length, n := binary.Uvarint(head[1:])
	return n > 0 && uint64(r.Buffered()) >= uint64(1+n)+length
}

func (c *client) answered(pk *packets.Packet) {
	c.mu.Lock()
	answer := c.pending[pk.PacketID]
	delete(c.pending, pk.PacketID)
	c.mu.Unlock()
	if answer != nil {
		answer <- pk.ReasonCodes
	}
}

// Within rivalWindow an id that is taken rivalTimes is another client's, too.
const (
	rivalWindow = 20 * time.Second
	rivalTimes  = 2
)

// takenOver is the reason of a broker that has another connection with the same client id.
const takenOver = 0x8e

// dismissed returns why the broker ends the connection.
func (c *client) dismissed(pk *packets.Packet) error {
	if pk.ReasonCode != takenOver {
		return &refusal{version5, pk.ReasonCode, pk.Properties.ReasonString, true}
	}
	c.takeovers = append(c.takeovers, time.Now())
	return fmt.Errorf("another client has connected with the gateway's client id, %s", c.login.client)
}

// taken counts that another client took the id, as far as MQTT 3.1.1 shows it: the broker ends a
// connection without a word, keeps the gateway's other one, and takes the next one at once. Again
// says that it did.
func (c *client) taken(again bool) {
	if again && c.cut != 0 && c.cut == c.beside.present() {
		c.takeovers = append(c.takeovers, time.Now())
	}
	c.cut = 0
}

// fought reports whether another client took the gateway's client id again and again. It is for
// the goroutine that connects, while there is no connection.
func (c *client) fought() bool {
	c.takeovers = slices.DeleteFunc(c.takeovers, func(at time.Time) bool { return time.Since(at) > rivalWindow })
	return len(c.takeovers) >= rivalTimes
}

// take queues a message of the broker. Its acknowledgement is written with the reader's round.
func (c *client) take(pk *packets.Packet) error {
	m := receivedOf(pk)
	m.generation = c.generation.Load()
	quiet := c.quiet.Load()
	for _, s := range c.wanting(m, pk.Properties.SubscriptionIdentifier) {
		m := *m
		switch m.handler = s.handler; {
		case s.atOnce:
			m.handler(&m)
		case !quiet && !c.deliveries.put(&m) && c.whole:
			return errOverrun
		}
	}
	if pk.FixedHeader.Qos != 1 || quiet { // what is not taken is left to the broker
		return nil
	}
	if !c.outbox.direct([]byte{packets.Puback << 4, 2, byte(pk.PacketID >> 8), byte(pk.PacketID)}) {
		return errBehind
	}
	return nil
}

// receivedOf takes from a packet what is needed of it. Its properties are part of the bytes that the
// payload is in.
func receivedOf(pk *packets.Packet) *received {
	m := &received{
		topic: pk.TopicName, payload: pk.Payload, retain: pk.FixedHeader.Retain,
		hint: hint(&pk.Properties), expiry: pk.Properties.MessageExpiryInterval, gateway: gatewayOf(&pk.Properties),
	}
	m.held = receivedBytes + pk.FixedHeader.Remaining + len(m.topic) + len(m.gateway)
	return m
}

// wanting returns the subscriptions that a message came for. A broker of MQTT 5 says for which it
// sends it: once for all, or once for each. Of several with topics of others only the first
// gets it.
// What it had kept for an earlier run may have that run's numbers: then the filters decide.
func (c *client) wanting(m *received, ids []int) []*subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	some := c.wantingLocked(m, ids)
	if len(some) == 0 && len(ids) > 0 {
		some = c.wantingLocked(m, nil)
	}
	return some
}

func (c *client) wantingLocked(m *received, ids []int) (some []*subscription) {
	var first *subscription // of others' topics
	for _, s := range c.subs {
		if s == nil || !matches(s.filter, m.topic) || s.others && first != nil {
			continue
		}
		if s.others {
			first = s
		}
		if len(ids) == 0 || c.meansLocked(ids, s) {
			some = append(some, s)
		}
	}
	return some
}

// meansLocked reports whether identifiers are a subscription's, or that of another one with the same
// filter: the broker knows the newest of these only.
func (c *client) meansLocked(ids []int, s *subscription) bool {
	return slices.ContainsFunc(ids, func(id int) bool {
		return id == s.id || id >= 1 && id <= len(c.subs) && c.subs[id-1] != nil && c.subs[id-1].filter == s.filter
	})
}

// deliveriesBytes bounds the broker's messages that wait to be taken.
const deliveriesBytes = 8 << 20

// receivedBytes is what a message takes beside its packet and its texts.
const receivedBytes = 192

// deliveries is a queue of the broker's messages, in their order.
type deliveries struct {
	mu    sync.Mutex
	queue []*received
	bytes int
	wake  chan struct{}
	lost  func(*received) // one that found no room
}

func newDeliveries() *deliveries {
	return &deliveries{wake: make(chan struct{}, 1), lost: func(*received) {}}
}

// errOverrun ends a connection of which nothing may be lost.
var errOverrun = errors.New("the gateway does not keep up with what the broker says")

// put adds a message. It reports false, and counts the message as lost, if there is no room.
func (d *deliveries) put(m *received) bool {
	d.mu.Lock()
	if d.bytes > 0 && d.bytes+m.held > deliveriesBytes {
		d.mu.Unlock()
		d.lost(m)
		return false
	}
	d.queue = append(d.queue, m)
	d.bytes += m.held
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return true
}

// serve calls the messages' handlers until ctx ends.
func (d *deliveries) serve(ctx context.Context) {
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-d.wake:
		}
		d.mu.Lock()
		some := d.queue
		d.queue = nil
		d.mu.Unlock()
		for _, m := range some { // all that was acknowledged
			m.handler(m)
			d.mu.Lock()
			d.bytes -= m.held
			d.mu.Unlock()
		}
		if ended {
			return
		}
	}
}
