package bare

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"watchtower/wire"
)

// largest is the most data of a message in bytes.
const largest = 64_000

// TCP is basic frames over TCP.
type TCP struct {
	// Distort, if it is set, returns the frames that a member gets in place of a frame. The
	// frame is the member's own copy. It is for tests of the checks that find such faults.
	Distort func(n uint64, frame []byte) [][]byte

	members *members[*writer]
	sent    atomic.Uint64
}

// Serve serves until ctx ends, and closes the listener. It returns when every
// goroutine has ended.
func (t *TCP) Serve(ctx context.Context, l net.Listener) error {
	t.members = newMembers[*writer]()
	return accept(ctx, l, func(c net.Conn) {
		w := newWriter(c)
		var writing sync.WaitGroup
		writing.Go(w.run)
		t.read(c, w)
		t.members.leave(0, w)
		w.close()
		c.Close()
		writing.Wait()
	})
}

// accept serves each connection in a goroutine. When ctx ends, it closes all.
func accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var running sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			c.Close()
		}
	})
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			running.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		mu.Lock()
		open[c] = true
		if ctx.Err() != nil {
			c.Close()
		}
		mu.Unlock()
		running.Go(func() {
			serve(c)
			mu.Lock()
			delete(open, c)
			mu.Unlock()
		})
	}
}

// read executes frames until the connection ends.
func (t *TCP) read(c net.Conn, w *writer) {
	buf, fill := make([]byte, 16<<10), 0
	var frame []byte // of the present delivery
	for {
		n, err := c.Read(buf[fill:])
		if err != nil {
			return
		}
		fill += n
		begin := 0
		for {
			n, err := wire.Length(buf[begin:fill], largest)
			if err != nil {
				return
			}
			if n == 0 || begin+n > fill {
				if n > len(buf) {
					buf = append(buf, make([]byte, n)...)
				}
				break
			}
			r, err := wire.Parse(buf[begin : begin+n])
			if err != nil {
				return
			}
			frame = t.execute(r, w, frame)
			begin += n
		}
		fill = copy(buf, buf[begin:fill])
	}
}

func (t *TCP) execute(r wire.Request, w *writer, frame []byte) []byte {
	switch r.Op {
	case wire.OpRegister, wire.OpKey:
		w.queue(wire.AppendAnswer(nil, t.members.register(w)))
	case wire.OpJoin:
		t.members.join(r.Channel, w)
		w.queue(wire.AppendAnswer(nil, r.Channel))
	case wire.OpQuit:
		t.members.leave(r.Channel, w)
		w.queue(wire.AppendAnswer(nil, r.Channel))
	case wire.OpMessage:
		frame = wire.AppendDelivery(frame[:0], wire.Delivery{Sender: r.ID, Channel: r.Channel, Data: r.Data})
		for _, to := range t.members.on(r.Channel) {
			t.give(to, frame)
		}
	case wire.OpSend:
		frame = wire.AppendDelivery(frame[:0], wire.Delivery{Sender: r.ID, Channel: r.Channel, Type: 1, Data: r.Data})
		for i := range r.Receivers.Len() {
			if to := t.members.with(r.Receivers.At(i)); to != nil {
				t.give(to, frame)
			}
		}
	}
	return frame
}

func (t *TCP) give(to *writer, frame []byte) {
	if t.Distort == nil {
		to.queue(frame)
		return
	}
	for _, f := range t.Distort(t.sent.Add(1)-1, append([]byte(nil), frame...)) {
		to.queue(f)
	}
}
