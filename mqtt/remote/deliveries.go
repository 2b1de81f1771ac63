package remote

import (
	"context"
	"errors"
	"sync"
)

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
