package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// play opens and closes valves in time, and returns when all are closed. Each change comes at its
// own time since the beginning, so nothing that is late makes the next one late. When ctx ends,
// all valves are closed.
func (c *conductor) play(ctx context.Context) error {
	left := c.score.changes()
	c.began = time.Now()
	tick := time.NewTicker(20 * time.Millisecond) // what is to be said again is late by that
	defer tick.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	done := ctx.Done()
	var end <-chan time.Time // by then a valve has closed by itself
	for {
		if len(left) == 0 && end == nil {
			end = time.After(c.hold + time.Second)
		}
		if len(left) == 0 && c.quiet() {
			return c.summary(ctx)
		}
		select {
		case <-done:
			done, left = nil, nil
			for _, p := range c.players {
				p.shall(false, 0)
			}
		case <-next.C:
			now := time.Since(c.began)
			for len(left) > 0 && left[0].at <= now {
				c.players[left[0].valve].shall(left[0].open, left[0].at)
				left = left[1:]
			}
			if len(left) > 0 {
				next.Reset(left[0].at - now)
			}
		case <-tick.C:
		case h, ok := <-c.channel.heard:
			if !ok {
				return fmt.Errorf("%w: the valves close by themselves within %v", errGone, c.hold)
			}
			changed, err := c.take(h)
			if err != nil {
				return err
			}
			if changed {
				c.show(time.Since(c.began))
			}
			continue
		case <-end:
			return c.summary(ctx)
		}
		if err := c.command(time.Now()); err != nil {
			return fmt.Errorf("%w: the valves close by themselves within %v", errGone, c.hold)
		}
	}
}

// command tells the valves what they have to be told now. An open is of no use later than a
// second, and a close not once the valve has closed by itself.
func (c *conductor) command(now time.Time) error {
	for _, v := range c.score.valves {
		p := c.players[v]
		if p.silent(now, c.hold) {
			fmt.Fprintf(c.out, "%s: does not answer\n", v)
		}
		text := p.command(now, c.hold)
		if text == "" {
			continue
		}
		ttl := 1
		if !p.want {
			ttl = int(c.hold / time.Second)
		}
		if err := c.channel.tell(p.id, text, ttl, v); err != nil {
			return err
		}
	}
	return nil
}

// quiet reports whether all valves are closed.
func (c *conductor) quiet() bool {
	for _, p := range c.players {
		if !p.closed() {
			return false
		}
	}
	return true
}

// summary tells how it went. Its error names the valves that missed notes.
func (c *conductor) summary(ctx context.Context) error {
	var notes, missed int
	var late time.Duration
	var soil, faults []string
	for _, v := range c.score.valves {
		p := c.players[v]
		p.over()
		notes, missed, late = notes+p.notes, missed+p.missed, max(late, p.late)
		soil = append(soil, fmt.Sprintf("%s %d → %d %%", v, p.firstSoil, p.soil))
		if p.missed > 0 {
			faults = append(faults, fmt.Sprintf("%s missed %d of %d notes", v, p.missed, p.notes))
		}
		if !p.closed() {
			faults = append(faults, fmt.Sprintf("%s has not said that it is closed", v))
		}
	}
	fmt.Fprintf(c.out, "%d of %d notes opened their valve, at most %d ms late\nsoil: %s\n",
		notes-missed, notes, late.Milliseconds(), strings.Join(soil, ", "))
	if ctx.Err() == nil && len(faults) > 0 {
		return fmt.Errorf("%s", strings.Join(faults, "; "))
	}
	return nil
}
