package mqtt

import (
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// inbox holds what a client sent while the answer to a publish before it is held
// (pressure.go). Its acknowledgements and its pings are not among that: they are
// executed as they come, because others may wait for them, or it for itself. A
// goroutine executes the rest in its order, and ends when there is nothing left.
//
// A client of MQTT 5 has no more in it than its Receive Maximum and what it publishes
// at QoS 0; one of 3.1.1 may have as many bytes as a session's queue. Then it is not
// read.
type inbox struct {
	mu      sync.Mutex
	running bool // what comes waits
	items   []item
	bytes   int
	under   int           // publishes at QoS 1 and 2 among them, and the one that is held
	less    chan struct{} // one place: there is less in it, or it does not run any more
	catcher sync.WaitGroup
}

// item is one packet that waits.
type item struct {
	p  publication     // with id, if it is a publish
	id uint16          // of that
	pk *packets.Packet // any other; nil: none
	a  answer          // only this is to be said, if its kind is not 0
}

// answer is what a publish is answered with, once those have room whom it owes that.
type answer struct {
	kind    byte // PUBACK or PUBREC; 0: none is
	id      uint16
	refusal error
	owe     []*session
}

// itemBytes is about what a packet takes besides its texts.
const itemBytes = 256

func (it *item) bytes() int {
	n := itemBytes + len(it.p.topic) + len(it.p.payload) + it.p.extras.weight()
	if it.pk != nil {
		n += it.pk.FixedHeader.Remaining
	}
	return n
}

func (it *item) under() int { return int(min(it.p.qos, 1)) }

// enqueue puts a packet behind others that wait, once there is room. false: there are
// none, and it is to be executed.
func (c *conn) enqueue(it item) (waits bool, _ error) {
	in, all, n := c.inbox, c.broker.budget, it.bytes()
	if in == nil {
		return false, nil
	}
	for {
		in.mu.Lock()
		switch {
		case !in.running:
			in.mu.Unlock()
			return false, c.over()
		case c.version == version5 && in.under+it.under() > c.broker.opts.receiveMax():
			in.mu.Unlock()
			return false, c.tooMany()
		case len(in.items) == 0 || in.bytes+n <= c.broker.opts.SessionQueueBytes && all.used.Load() < all.limit-all.reserve():
			in.items = append(in.items, it)
			in.bytes += n
			in.under += it.under()
			all.used.Add(int64(n))
			in.mu.Unlock()
			return true, nil
		}
		in.mu.Unlock()
		select {
		case <-in.less:
		case <-time.After(pressedCheck): // the budget is others' as well
		}
	}
}

// over says why nothing that the client sends counts any more; nil: it does.
func (c *conn) over() error {
	switch {
	case c.closing.Load():
		return net.ErrClosed
	case c.broker.quiet.Load():
		return errStopping
	}
	return nil
}

// next takes the oldest item; false: there is none, and the inbox runs no more.
func (in *inbox) next(all *budget) (it item, more bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if more = len(in.items) > 0; more {
		it = in.items[0]
		in.items[0] = item{}
		in.items = in.items[1:]
		in.bytes -= it.bytes()
		in.under-- // the one that was held; this one counts on
		all.used.Add(int64(-it.bytes()))
	} else {
		in.items, in.running = nil, false
	}
	in.wake()
	return it, more
}

func (in *inbox) wake() {
	select {
	case in.less <- struct{}{}:
	default:
	}
}

// stop lets go of what waits: it is not acknowledged, so it comes again.
func (in *inbox) stop(all *budget) {
	in.mu.Lock()
	defer in.mu.Unlock()
	all.used.Add(int64(-in.bytes))
	in.items, in.bytes, in.running = nil, 0, false
	in.wake()
}

// hold holds an answer, and has what comes next wait behind it.
func (c *conn) hold(a answer) {
	if c.inbox == nil {
		c.inbox = &inbox{less: make(chan struct{}, 1)}
	}
	in := c.inbox
	in.mu.Lock()
	in.running, in.under = true, 1
	in.mu.Unlock()
	in.catcher.Go(func() { c.catchUp(in, a) })
}

// catchUp gives the answer that is held, and executes what waits behind it.
func (c *conn) catchUp(in *inbox, held answer) {
	for {
		for _, s := range held.owe {
			s.wait(c.over)
		}
		err := c.say(held)
		if err != nil || c.over() != nil {
			in.stop(c.broker.budget)
			return
		}
		it, more := in.next(c.broker.budget)
		if !more {
			return
		}
		if held, err = c.attempt(&it); err != nil {
			in.stop(c.broker.budget)
			c.drop(err)
			c.disconnect(code(err))
			_ = c.nc.SetReadDeadline(time.Unix(1, 0))
			return
		}
	}
}

func (c *conn) attempt(it *item) (a answer, err error) {
	defer c.fault(&err)
	switch {
	case it.a.kind != 0:
		return it.a, nil
	case it.pk != nil:
		return a, c.inOrder(it.pk)
	}
	return c.carry(&it.p, it.id)
}

// say gives an answer.
func (c *conn) say(a answer) error {
	if a.kind == 0 {
		return nil
	}
	return c.ack(a.kind, a.id, a.refusal)
}

// reply acknowledges a publish of which nothing comes, behind those before it.
func (c *conn) reply(kind byte, id uint16) error {
	a := answer{kind: kind, id: id}
	if waits, err := c.enqueue(item{a: a}); waits || err != nil {
		return err
	}
	return c.say(a)
}

// caughtUp waits until nothing that the client sent waits any more.
func (c *conn) caughtUp() {
	if c.inbox != nil {
		c.inbox.catcher.Wait()
	}
}
