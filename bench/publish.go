package bench

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// writtenAtOnce is the most messages that a publisher writes in one call.
const writtenAtOnce = 64

// publisher publishes one message after the other until its context ends.
type publisher struct {
	number  int
	conn    conn
	flight  *flight
	plan    plan
	opts    Options
	run     uint32
	seq     uint32
	payload []byte
	busy    int64 // when the last write ended, by clock
}

func (p *publisher) publish(ctx context.Context) error {
	// Lost messages are given up a little late, so that not every message needs a timer.
	tick := time.NewTicker(p.opts.Timeout / 4)
	defer tick.Stop()
	var err error
	if p.opts.Rate > 0 {
		err = p.paced(ctx, tick.C)
	} else {
		err = p.flatOut(ctx, tick.C)
	}
	if err != nil {
		return fmt.Errorf("publisher %d: %w", p.number, err)
	}
	return nil
}

// flatOut publishes as soon as there is room in the window.
func (p *publisher) flatOut(ctx context.Context, tick <-chan time.Time) error {
	atOnce := writtenAtOnce
	if p.opts.Publish.web() {
		atOnce = 1 // a request at a time
	}
	for p.token(ctx, tick) {
		n := 1
		for n < atOnce && len(p.flight.tokens) > 0 {
			<-p.flight.tokens // nobody else takes any
			n++
		}
		now := clock()
		for i := range n {
			if over, err := p.say(ctx, now, tick); over || err != nil {
				for range n - i - 1 { // they stand for nothing
					p.flight.tokens <- struct{}{}
				}
				return cmp.Or(err, p.conn.flush())
			}
		}
		if err := p.conn.flush(); err != nil {
			return err
		}
	}
	return nil
}

// paced publishes at a rate, even if messages are lost or late. If a message is late because
// the one before it was, its latency counts from the time when it was due.
func (p *publisher) paced(ctx context.Context, tick <-chan time.Time) error {
	gap := float64(time.Second) * float64(p.opts.Publishers) / p.opts.Rate
	begin := clock() + int64(gap*float64(p.number)/float64(p.opts.Publishers))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due := begin + int64(gap*float64(p.seq))
		timer.Reset(time.Duration(due - clock()))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if !p.token(ctx, tick) {
			return nil
		}
		at := clock()
		if due < p.busy {
			at = due
		}
		if over, err := p.say(ctx, at, tick); over || err != nil {
			return err
		}
		if err := p.conn.flush(); err != nil {
			return err
		}
		p.busy = clock()
	}
}

// token waits for room for one message. It reports false when the run is over.
func (p *publisher) token(ctx context.Context, tick <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		default:
		}
		select {
		case <-p.flight.tokens:
			return true
		case <-tick:
			p.giveUp()
		case <-ctx.Done():
			return false
		}
	}
}

func (p *publisher) giveUp() { p.flight.giveUp(clock() - int64(p.opts.Timeout)) }

// say adds the next message. Over reports that the run ended before.
func (p *publisher) say(ctx context.Context, at int64, tick <-chan time.Time) (over bool, err error) {
	channel := p.plan.channel(uint16(p.number), p.seq)
	for !p.flight.depart(p.seq, p.plan.fanOut(channel), at) {
		select {
		case <-tick:
			p.giveUp()
		case <-ctx.Done():
			p.flight.tokens <- struct{}{}
			return true, nil
		}
	}
	p.payload = appendPayload(p.payload[:0], stamp{run: p.run, publisher: uint16(p.number), seq: p.seq, at: at}, p.opts.Size)
	p.seq++
	return false, p.conn.add(p.opts.FirstChannel+uint32(channel), p.payload)
}
