package callback

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
	"watchtower/history"
	"watchtower/ticker"
)

// serve takes part in the leases of all shards until ctx ends.
func (t *together) serve(ctx context.Context) {
	var all sync.WaitGroup
	for shard := range shards {
		all.Go(func() {
			t.Leases.Run(ctx, leaseName(shard), true, func(life context.Context, lease bridge.Lease) { t.post(life, shard, lease) })
		})
	}
	all.Go(func() { t.settleLoose(ctx) })
	all.Go(func() { t.keepChanges(ctx) })
	all.Wait()
}

// until takes part in the leases until ctx ends, and then gives them back.
func (t *together) until(ctx context.Context) {
	t.service.mu.Lock()
	t.life = ctx
	t.service.mu.Unlock()
	t.serve(ctx)
	<-ctx.Done()
}

// settleLoose makes callbacks of senders that have become known.
func (t *together) settleLoose(ctx context.Context) {
	tick := ticker.New(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.Next()
		}
		t.service.mu.Lock()
		var again []string
		for key := range t.loose {
			again = append(again, key)
		}
		t.service.mu.Unlock()
		for _, key := range again {
			t.settle(key)
		}
	}
}

// post posts to the callbacks of a shard until ctx ends, and leaves to the next gateway how far
// they are.
func (t *together) post(ctx context.Context, shard int, lease bridge.Lease) {
	select {
	case <-t.ready:
	case <-ctx.Done():
		return
	}
	text, err := lease.Load(ctx)
	if err != nil {
		return
	}
	left := map[string]progress{}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &left); err != nil {
			t.service.log.WithError(err).Error("how far the callbacks are cannot be read: they begin with what they were joined with")
		}
	}
	t.begin(shard, lease, left)
	tick := ticker.New(saveEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			tick.Next()
			text, _ = t.save(context.WithoutCancel(ctx), shard, lease, text) // or the end would not know what is written
		}
	}
	t.finish(shard, lease)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishFor)
	defer cancel()
	for saved := false; !saved && lease.Held() && last.Err() == nil; {
		if text, saved = t.save(last, shard, lease, text); !saved {
			pause(last)
		}
	}
	t.letGo(shard)
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(saveAgain):
	}
}

// save leaves how far the callbacks of a shard are, if that has changed. It returns what is left, and
// whether that is how far they are.
func (t *together) save(ctx context.Context, shard int, lease bridge.Lease, before []byte) (left []byte, saved bool) {
	text := t.leaves(shard, true)
	if len(text) > bridge.LeftBytes {
		text = t.leaves(shard, false)
	}
	if string(text) == string(before) || len(before) == 0 && string(text) == "{}" {
		return before, true
	}
	if err := lease.Save(ctx, text); err != nil {
		t.service.log.WithError(err).Debug("how far callbacks are is not written: trying again")
		return before, false
	}
	return text, true
}

// ofLocked lists the endpoints of a shard.
func (t *together) ofLocked(shard int) (all []*endpoint) {
	for _, e := range t.service.endpoints {
		if !e.key.reports && e.shard == shard {
			all = append(all, e)
		}
	}
	return all
}

// begin makes this gateway the one that posts to a shard's callbacks.
func (t *together) begin(shard int, lease bridge.Lease, left map[string]progress) {
	c := t.service
	_ = c.past.Join(func(now history.Moment) error {
		c.mu.Lock()
		t.leases[shard] = lease
		all := t.ofLocked(shard)
		for _, e := range all {
			e.elsewhere = false
			t.takeOverLocked(e, left[e.name])
		}
		c.mu.Unlock()
		for _, e := range all {
			c.mu.Lock()
			var on []bridge.Channel
			for ch := range e.attached {
				on = append(on, ch)
			}
			c.mu.Unlock()
			t.goOn(now, e, on)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, e := range all {
			c.workLocked(e)
		}
		return nil
	})
}

// takeOverLocked sets a callback to where the gateway was that posted before.
func (t *together) takeOverLocked(e *endpoint, left progress) {
	c := t.service
	if left.On != nil {
		e.state.FailingSince, e.state.LastError, e.state.LastErrorAt = left.FailingSince, left.LastError, left.LastErrorAt
		e.lastTaken = left.LastTaken
	}
	for ch, to := range e.attached {
		m, known := left.On[ch]
		if !known || m.Joined != to.place.Joined {
			m = to.place
		}
		if m.From.IsZero() {
			m.From = c.now()
		}
		to.begins(m)
		e.discard(func(d *delivery) bool { return d.channel == ch && !d.report() && d.said.Before(m.From) }) // from before a restart: others have delivered it
	}
	c.changedLocked(e)
}

// finish ends the attempts at a shard's callbacks: soon if the lease is given back, now if it is lost.
func (t *together) finish(shard int, lease bridge.Lease) {
	c := t.service
	c.mu.Lock()
	t.leases[shard] = nil
	for _, e := range t.ofLocked(shard) {
		e.elsewhere = true
		if e.phase == lined || e.phase == pausing {
			c.parkLocked(e)
		}
	}
	c.goOnLocked()
	c.mu.Unlock()
	patience := time.Now().Add(finishFor)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		going := 0
		c.mu.Lock()
		for _, e := range t.ofLocked(shard) {
			if e.phase != posting {
				continue
			}
			if going++; !lease.Held() || time.Now().After(patience) {
				e.attempt.cancel()
			}
		}
		c.mu.Unlock()
		if going == 0 {
			return
		}
		<-tick.C
	}
}

// letGo drops what waits for a shard's callbacks, which another gateway delivers. At this gateway's
// end it stays on disk: maybe there is no other.
func (t *together) letGo(shard int) {
	c := t.service
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.life.Err() != nil || t.leases[shard] != nil {
		return
	}
	for _, e := range t.ofLocked(shard) {
		e.discard(func(*delivery) bool { return true })
		e.takeFailed(func(*delivery) bool { return true })
		c.changedLocked(e)
		c.forgetIdleLocked(e)
	}
}

// leaves encodes how far a shard's callbacks are.
func (t *together) leaves(shard int, failed bool) []byte {
	c := t.service
	idle, now := c.past.Idle(), c.now().Round(0)
	left := map[string]progress{}
	c.mu.Lock()
	for _, e := range t.ofLocked(shard) {
		if !e.shown() {
			continue
		}
		p := progress{
			On: map[bridge.Channel]membership{}, LastTaken: e.lastTaken.Round(0), Waiting: len(e.pending()),
			endpointState: endpointState{FailingSince: e.state.FailingSince.Round(0), LastError: e.state.LastError, LastErrorAt: e.state.LastErrorAt},
		}
		for ch, to := range e.attached {
			m := to.place
			m.Gap, m.Place = false, e.placeOf(to, idle, now)
			to.place.Place = history.Place{From: m.From, Last: maps.Clone(m.Last)}
			p.On[ch] = m
		}
		if shown := e.view().Failed; failed && len(shown) > 0 {
			p.Failed = shown[max(0, len(shown)-failedShown):]
		}
		left[e.name] = p
	}
	c.mu.Unlock()
	text, _ := json.Marshal(left) // plain structs: cannot fail
	return text
}

// shownLocked completes the view of a callback that another gateway posts to.
func (t *together) shownLocked(e *endpoint, v *View) {
	if !e.elsewhere {
		return
	}
	text := t.Leases.Left(leaseName(e.shard))
	cache := &t.read[e.shard]
	if string(cache.text) != string(text) {
		cache.text, cache.left = text, nil
		_ = json.Unmarshal(text, &cache.left) // what cannot be read is not shown
	}
	left, known := cache.left[e.name]
	if !known {
		return
	}
	v.LastTaken, v.FailingSince, v.Waiting = shownTime(left.LastTaken), shownTime(left.FailingSince), left.Waiting
	if v.State == "ok" && v.FailingSince != nil {
		v.State = "failing"
	}
	if left.LastError != "" {
		v.LastError = &Attempt{left.LastErrorAt.UTC(), left.LastError}
	}
	if left.Failed != nil {
		v.Failed = left.Failed
	}
}

// progress is what the gateway that posts to a callback leaves to the next, and what all others
// show of it.
type progress struct {
	On            map[bridge.Channel]membership `json:"on"`
	endpointState                               // what it found out
	LastTaken     stamp                         `json:"last_taken,omitzero"`
	Waiting       int                           `json:"waiting,omitempty"`
	Failed        []Failed                      `json:"failed,omitempty"`
}

// placeOf returns the place from which on another gateway would go on for a receiver: before the
// first delivery that waits.
func (e *endpoint) placeOf(to *receiver, idle bool, now stamp) history.Place {
	place := history.Place{From: to.place.From, Last: maps.Clone(to.last)}
	first := map[bridge.Slot]bool{}
	waits := false
	for _, d := range e.pending() {
		if d.channel != to.channel || d.mid == (ulid.ULID{}) {
			continue
		}
		if !waits || d.said.Before(place.From) {
			place.From = d.said
		}
		waits = true
		if first[d.slot] {
			continue
		}
		if first[d.slot] = true; d.before == (ulid.ULID{}) {
			delete(place.Last, d.slot)
		} else {
			place.Last[d.slot] = d.before
		}
	}
	if !waits && idle && (!maps.Equal(place.Last, to.place.Last) || now.Sub(to.place.From) > placeKept) {
		place.From = now
	}
	return place
}
