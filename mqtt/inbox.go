package mqtt

import (
	"sync"

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
	m   *message        // of a publish; nil: it is none
	id  uint16          // of that
	dup bool            // that may have come before
	pk  *packets.Packet // any other; nil: none
	a   answer          // only this is to be said, if its kind is not 0
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
	n := itemBytes
	if it.m != nil {
		n += it.m.weight()
	}
	if it.pk != nil {
		n += it.pk.FixedHeader.Remaining
	}
	return n
}

func (it *item) under() int {
	if it.m == nil {
		return 0
	}
	return int(min(it.m.qos, 1))
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
