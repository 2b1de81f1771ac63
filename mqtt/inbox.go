package mqtt

import (
	"sync"

	"github.com/mochi-mqtt/server/v2/packets"
)

// inbox holds a client's packets that came while the answer to an earlier publish is held
// (pressure.go). Acknowledgements and pings do not wait in it: others, or the client
// itself, may wait for them. A goroutine executes the packets in order, and ends when
// the inbox is empty.
//
// An MQTT 5 client that exceeds the Receive Maximum is disconnected. Nothing more is read
// while the inbox has as many bytes as a session's queue.
type inbox struct {
	mu      sync.Mutex
	running bool // packets have to wait
	items   []item
	bytes   int
	under   int           // unanswered publishes at QoS 1 and 2, with the held one
	less    chan struct{} // signals that items were removed or running ended; one place
	catcher sync.WaitGroup
}

// item is one packet that waits.
type item struct {
	m   *message        // of a publish; nil: no publish
	id  uint16          // its packet id
	dup bool            // its DUP flag
	pk  *packets.Packet // any other packet
	a   answer          // if kind is not 0: only this answer is sent
}

// answer is the answer to a publish. It is sent once the queues of the sessions in owe
// have room again.
type answer struct {
	kind    byte // PUBACK or PUBREC; 0: no answer
	id      uint16
	refusal error
	owe     []*session
}

// itemBytes is the memory of an item without its texts, about.
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

// next takes the oldest item. If there is none, it ends running.
func (in *inbox) next(all *budget) (it item, more bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if more = len(in.items) > 0; more {
		it = in.items[0]
		in.items[0] = item{}
		in.items = in.items[1:]
		in.bytes -= it.bytes()
		in.under-- // the held one is answered
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

// stop drops the waiting packets: the client sends unacknowledged ones again.
func (in *inbox) stop(all *budget) {
	in.mu.Lock()
	defer in.mu.Unlock()
	all.used.Add(int64(-in.bytes))
	in.items, in.bytes, in.running = nil, 0, false
	in.wake()
}
