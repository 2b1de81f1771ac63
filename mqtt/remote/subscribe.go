package remote

import (
	"fmt"
	"slices"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// subscription is a filter, and what is done with its messages.
type subscription struct {
	filter  string
	qos     byte
	echo    bool // the gateway's own messages come too
	atOnce  bool // its handler waits for nothing, and is called where the broker is read
	others  bool // its topics are not the gateway's
	kept    bool // with others: what the broker has kept comes too
	spare   bool // the gateway can do without it, as without those of others
	handler func(*received)
	id      int // its subscription identifier (MQTT 5)
}

// subscribe has a handler called with the messages of a filter, in one goroutine, from the next
// or present connection on.
func (c *client) subscribe(s *subscription) { c.replace(nil, []*subscription{s}) }

// replace ends subscriptions, and begins others. Those with the same filter go on.
func (c *client) replace(old, subs []*subscription) {
	gone := map[string]bool{}
	c.mu.Lock()
	for _, s := range old {
		gone[s.filter] = true
		c.subs[s.id-1] = nil
	}
	for _, s := range subs {
		delete(gone, s.filter)
		if i := slices.Index(c.subs, nil); i >= 0 {
			s.id, c.subs[i] = i+1, s
		} else {
			c.subs = append(c.subs, s)
			s.id = len(c.subs)
		}
	}
	for _, s := range c.subs { // another one may have the same filter
		if s != nil {
			delete(gone, s.filter)
		}
	}
	connected := c.conn
	c.mu.Unlock()
	if connected == nil {
		return
	}
	c.later(func() { // ends with the connection, or with the answer
		for filter := range gone {
			c.unsubscribe(connected, filter)
		}
		c.remember(subs)
		if err := c.ask(connected, subs); err != nil {
			c.log.WithError(err).Warn("a subscription at the foreign broker has failed")
		}
	})
}

// later calls functions in their order, in a goroutine of their own.
func (c *client) later(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs = append(c.jobs, f)
	if !c.working {
		c.working = true
		c.asking.Go(c.work)
	}
}

func (c *client) work() {
	for {
		c.mu.Lock()
		if c.working = len(c.jobs) > 0; !c.working {
			c.mu.Unlock()
			return
		}
		f := c.jobs[0]
		c.jobs = c.jobs[1:]
		c.mu.Unlock()
		f()
	}
}

// active returns the subscriptions that count.
func (c *client) active() (some []*subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		if s != nil {
			some = append(some, s)
		}
	}
	return some
}

func (c *client) packetID(answer chan []byte) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nextID++; c.nextID < askIDs { // or it began again at 0
		c.nextID = askIDs
	}
	c.pending[c.nextID] = answer
	return c.nextID
}

// unsubscribe ends a filter. It waits for the answer.
func (c *client) unsubscribe(conn *conn, filter string) {
	answer := make(chan []byte, 1)
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, ProtocolVersion: conn.version, PacketID: c.packetID(answer)}
	pk.Filters = packets.Subscriptions{{Filter: filter}}
	if c.direct(&pk) != nil {
		return // the connection has ended
	}
	select {
	case <-answer:
	case <-conn.ended:
	case <-time.After(dialTimeout): // its messages are let alone
	}
}

// ask subscribes. It waits for the answer.
func (c *client) ask(conn *conn, subs []*subscription) error {
	for _, s := range subs {
		answer := make(chan []byte, 1)
		id := c.packetID(answer)
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, ProtocolVersion: conn.version, PacketID: id}
		pk.Filters = packets.Subscriptions{s.options()}
		if conn.version == version5 && (!conn.ack.Properties.SubIDAvailableFlag || conn.ack.Properties.SubIDAvailable != 0) {
			pk.Properties.SubscriptionIdentifier = []int{s.id}
		}
		if err := c.direct(&pk); err != nil {
			return err
		}
		select {
		case codes := <-answer:
			switch {
			case len(codes) == 1 && codes[0] < 0x80:
			case s.others, s.spare:
				c.log.WithField("filter", s.filter).Warn("the foreign broker does not let the gateway subscribe to that: see its access rules")
			default:
				return fmt.Errorf("the broker does not let the gateway subscribe to %s: see its access rules", s.filter)
			}
		case <-conn.ended:
			return errAway
		case <-time.After(dialTimeout):
			return fmt.Errorf("the broker did not answer SUBSCRIBE in %s", dialTimeout)
		}
	}
	return nil
}

// again subscribes once more: the broker tells what it has kept once more.
func (c *client) again(s *subscription) error {
	c.mu.Lock()
	connected := c.conn
	c.mu.Unlock()
	if connected == nil {
		return errAway
	}
	return c.ask(connected, []*subscription{s})
}

// options are the subscription's options (MQTT 5, 3.8.3.1). Of the gateway's topics it wants to
// see each retain flag; of others', only whether the broker had kept a message.
func (s *subscription) options() packets.Subscription {
	o := packets.Subscription{Filter: s.filter, Qos: s.qos, NoLocal: !s.echo, RetainAsPublished: !s.others}
	if s.others && !s.kept {
		o.RetainHandling = 2
	}
	return o
}
