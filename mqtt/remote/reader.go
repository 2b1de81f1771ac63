package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge/outbound"
	"watchtower/eventloop"
)

// reader executes the broker's packets until the connection ends. It waits for nobody else, so the
// broker's queue for the gateway stays empty.
//
// While the broker says nothing the connection is parked in the event loop that reads MQTT clients,
// which executes what comes whole. So an acknowledgement, and what it makes room for, wake no
// other goroutine. The rest, and a connection that cannot be parked, has a goroutine.
type reader struct {
	client *client
	conn   *conn
	writer *outbound.Writer
	mark   *mark
	life   context.Context // of the connection
	end    func(why error)
	sock   atomic.Pointer[eventloop.Socket] // nil: it cannot be parked yet

	round outbound.Round // of its goroutine
	rest  []byte         // was read while it was parked, and not executed
	spent error          // what the next read returns
	ended chan struct{}  // closed when nothing is read any more
}

// errParked ends a goroutine of a reader whose connection is parked. It goes on in Resume.
var errParked = errors.New("parked")

// run executes packets until the connection is parked or ends.
func (r *reader) run() {
	err := r.readLoop()
	if errors.Is(err, errParked) {
		return
	}
	r.mark.end()
	r.end(err)
	close(r.ended)
}

func (r *reader) readLoop() error {
	in := r.conn.r
	for {
		if !whole(in) {
			r.round.Flush()
			r.mark.follow()
			if in.Buffered() == 0 && r.park() {
				return errParked
			}
		}
		come, _ := in.Peek(in.Buffered()) // it is there
		if used := r.acknowledged(come, &r.round); used > 0 {
			_, _ = in.Discard(used)
			continue
		}
		pk, err := read(in, r.conn.version, r.conn.limit)
		if err == nil {
			err = r.execute(&pk, &r.round)
		}
		if err != nil {
			return err
		}
	}
}

// park parks the connection, and returns true. The goroutine has the reader no more then.
func (r *reader) park() bool {
	if r.sock.Load() == nil {
		r.sock.Store(r.client.loops(r.conn.Conn, r))
	}
	r.round.Rest()
	r.sock.Load().Unkick()
	return r.life.Err() == nil && len(r.rest) == 0 && r.spent == nil && r.sock.Load().Park()
}

// leave has the reader end soon.
func (r *reader) leave() {
	_ = r.conn.SetReadDeadline(time.Unix(1, 0)) // fails only if it is closed
	r.sock.Load().Kick()
}

// Take executes packets in an event loop (eventloop.Handler).
func (r *reader) Take(b []byte, round *outbound.Round) (used int) {
	for {
		used += r.acknowledged(b[used:], round)
		n := packetBytes(b[used:])
		if n == 0 || n > uint64(len(b)-used) {
			break
		}
		pk, err := unpack(b[used:used+int(n)], r.conn.version, r.conn.limit)
		if err == nil {
			err = r.execute(&pk, round)
		}
		if err != nil {
			r.spent = err
			return used
		}
		used += int(n)
	}
	r.mark.follow()
	return used
}

// Resume goes on in a goroutine (eventloop.Handler).
func (r *reader) Resume(rest []byte, err error) {
	if r.spent == nil {
		r.rest, r.spent = rest, err
	}
	r.conn.r.Reset(r)
	r.run()
}

// Read reads what is not executed yet.
func (r *reader) Read(p []byte) (int, error) {
	switch {
	case len(r.rest) > 0:
		n := copy(p, r.rest)
		r.rest = r.rest[n:]
		return n, nil
	case r.spent != nil:
		return 0, r.spent
	}
	return r.conn.Read(p)
}

// acknowledged takes the PUBACKs that b begins with, and returns their bytes.
func (r *reader) acknowledged(b []byte, round *outbound.Round) (used int) {
	used, more := r.client.outbox.ackedAll(b, r.conn.version)
	if more {
		round.Note(r.writer)
	}
	return used
}

// execute executes a packet. An error ends the connection.
func (r *reader) execute(pk *packets.Packet, round *outbound.Round) (err error) {
	c := r.client
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if err = c.take(pk); pk.FixedHeader.Qos == 1 {
			round.Note(r.writer)
		}
	case packets.Puback:
		if c.outbox.acked(pk.PacketID, pk.ReasonCode >= 0x80) {
			round.Note(r.writer)
		}
	case packets.Suback, packets.Unsuback:
		c.answered(pk)
	case packets.Pingresp:
		c.pong.Store(int64(c.clock()))
	case packets.Disconnect:
		return c.dismissed(pk)
	}
	return err
}

// whole reports whether a packet can be read without waiting.
func whole(r *bufio.Reader) bool {
	head, _ := r.Peek(min(r.Buffered(), 5))
	n := packetBytes(head)
	return n > 0 && uint64(r.Buffered()) >= n
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
