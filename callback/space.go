package callback

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
	"watchtower/history"
)

// In a space of gateways, each has every callback, and its sender is a member at each. One gateway
// posts: the one that has the lease of the callback's shard. It leaves to the next, once a second,
// how far it is; that one goes on from there, with what it has heard itself (package history). So
// a message may come twice, with the same webhook-id, and none is missing without a gap.

// joined shares that a callback has joined, and begins where its messages begin. It is called
// while the history stands still.
func (t *together) joined(now history.Moment, j Join) {
	c := t.service
	var missed history.Missed
	if j.Since != nil {
		missed = now.Missed(*j.Since, j.Channels, j.Sender, j.NoEcho)
	}
	c.mu.Lock()
	e := c.endpoints[endpointKey{sender: j.Sender, url: j.URL}]
	if e == nil {
		c.mu.Unlock()
		return
	}
	known := t.changes[e.name].apply(t.docs[e.name]).On
	for _, ch := range j.Channels {
		to := e.attached[ch]
		if was, on := known[ch]; to == nil || on && was.NoEcho == j.NoEcho && j.Since == nil {
			continue
		}
		after := known[ch].Joined
		if was := t.changes[e.name]; was != nil {
			after = max(after, was.left[ch])
		}
		to.begins(membership{NoEcho: j.NoEcho, Joined: max(c.now().UnixNano(), after+1), Gap: slices.Contains(missed.Gaps, ch), Place: now.Place(ch, missed.Messages)})
		m := to.place
		t.changeLocked(e.key).on[ch] = &m
	}
	ours := !e.elsewhere
	c.mu.Unlock()
	if ours {
		c.catchUp(e.key, missed)
	}
}

// begins sets where a receiver's messages begin.
func (c *receiver) begins(m membership) {
	c.place, c.last = m, maps.Clone(m.Last)
	if c.last == nil {
		c.last = map[bridge.Slot]ulid.ULID{}
	}
}

// wait waits a moment until the space has a callback's document. If it does not take it now, it gets
// it later.
func (t *together) wait(ctx context.Context, e endpointKey) {
	ctx, cancel := context.WithTimeout(ctx, shareFor)
	defer cancel()
	_ = t.documents.Wait(ctx, t.service.signer.keyOf(e))
}

// Heard is bridge.DocumentOwner's.
func (t *together) Heard(key string, text []byte) {
	var d document
	if text != nil {
		if err := json.Unmarshal(text, &d); err != nil || d.Sender == 0 {
			t.service.log.WithField("key", key).Error("a callback of the space cannot be read: it is left out")
			return
		}
	}
	c := t.service
	c.mu.Lock()
	if text == nil {
		delete(t.docs, key)
	} else {
		t.docs[key] = d
	}
	if ch := t.changes[key]; ch != nil && (text != nil || ch.apply(d).empty()) && bytes.Equal(encode(ch.apply(d)), encode(d)) {
		delete(t.changes, key)
	}
	c.mu.Unlock()
	t.settle(key)
}

// Wanted is bridge.DocumentOwner's.
func (t *together) Wanted(key string, theirs []byte) []byte {
	var d document
	if theirs != nil && json.Unmarshal(theirs, &d) != nil {
		return theirs
	}
	c := t.service
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := t.changes[key]
	if ch == nil {
		return theirs
	}
	wanted := ch.apply(d)
	text := encode(wanted)
	if wanted.empty() {
		text = nil
	}
	if bytes.Equal(text, theirs) {
		delete(t.changes, key)
	}
	return text
}

// Ready is bridge.DocumentOwner's. What the space does not have is offered to it.
func (t *together) Ready(has func(key string) bool) {
	c := t.service
	_ = c.past.Join(func(now history.Moment) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for key, e := range t.keys {
			at := c.endpoints[e]
			if has(key) || at == nil || !at.listed || len(at.attached) == 0 {
				continue
			}
			ch := t.changeLocked(e)
			for on, to := range at.attached {
				if ch.on[on] == nil {
					to.begins(membership{NoEcho: to.noEcho, Joined: c.now().UnixNano(), Place: now.Place(on, nil)})
					m := to.place
					ch.on[on] = &m
				}
			}
			state := at.state.lasting()
			ch.state = &state
		}
		return nil
	})
	select {
	case <-t.ready:
	default:
		close(t.ready)
	}
}

// settle makes a callback here as the space has it.
func (t *together) settle(key string) {
	c := t.service
	c.mu.Lock()
	d := t.changes[key].apply(t.docs[key])
	e, known := t.keys[key]
	delete(t.loose, key)
	c.mu.Unlock()
	if !known && d.Sender == 0 {
		return
	}
	if !known {
		s, there := c.hub.SenderByID(d.Sender)
		if !there {
			c.mu.Lock()
			t.loose[key] = struct{}{}
			c.mu.Unlock()
			return
		}
		e = endpointKey{sender: s, url: d.URL}
	}
	err := c.past.Join(func(now history.Moment) error { return t.settleAt(now, e, key) })
	if err != nil {
		c.log.WithError(err).WithField("sender", e.sender.ID()).Warn("a callback of the space cannot be made here")
	}
}

// settleAt does the work of settle, while the history stands still.
func (t *together) settleAt(now history.Moment, key endpointKey, name string) error {
	c := t.service
	c.mu.Lock()
	d := t.changes[name].apply(t.docs[name])
	drop, join := map[*receiver]bool{}, map[bool][]bridge.Channel{}
	at := c.endpoints[key]
	if at != nil {
		d = t.adoptLocked(at, d)
		for ch, to := range at.attached {
			if m, on := d.On[ch]; !on || m.NoEcho != to.noEcho {
				to.quiet, drop[to] = true, true
			}
		}
	}
	for ch, m := range d.On {
		if at == nil || at.attached[ch] == nil || drop[at.attached[ch]] {
			join[m.NoEcho] = append(join[m.NoEcho], ch)
		}
	}
	c.mu.Unlock()
	if len(drop) > 0 {
		c.hub.Kept().Drop(key.sender, func(a *bridge.Attachment) bool {
			to, ok := a.Member.(*receiver)
			return ok && drop[to]
		})
	}
	for noEcho, channels := range join {
		attach := func(ch bridge.Channel) *bridge.Attachment {
			a := c.attachment(key.sender, ch, key.url, noEcho, false)
			a.Replays = true // what is on its way is after the place where it begins
			return a
		}
		if _, err := c.hub.Kept().Join(key.sender, channels, key.url, noEcho, true, attach); err != nil {
			return err
		}
	}
	t.adopt(now, key, d)
	return nil
}

// adopt takes the state of a document, and begins where it says.
func (t *together) adopt(now history.Moment, key endpointKey, d document) {
	c := t.service
	c.mu.Lock()
	e := c.endpoints[key]
	if e == nil && d.State != (endpointState{}) {
		e = c.newEndpointLocked(key)
		e.listed = true
	}
	if e == nil {
		c.mu.Unlock()
		return
	}
	d = t.adoptLocked(e, d)
	var begun []bridge.Channel
	for ch, to := range e.attached {
		if m, on := d.On[ch]; on && m.Joined != to.place.Joined {
			to.begins(m)
			begun = append(begun, ch)
		}
	}
	if e.rests() && (e.phase == lined || e.phase == pausing) {
		c.parkLocked(e)
	}
	ours := !e.elsewhere
	if ours && d.Replay.At > e.replay {
		e.replay = d.Replay.At
		c.replayLocked(e, d.Replay.IDs)
	}
	c.changedLocked(e)
	c.workLocked(e)
	c.goOnLocked()
	c.mu.Unlock()
	if ours && len(begun) > 0 {
		t.goOn(now, e, begun)
	}
}

// adoptLocked gives an endpoint the state that a document has, with what this gateway changes.
func (t *together) adoptLocked(e *endpoint, d document) document {
	t.stateLocked(e)
	if d = t.changes[e.name].apply(d); d.Sender != 0 {
		e.takeState(d.State)
	}
	return d
}

// takeState takes what all gateways have of a state.
func (e *endpoint) takeState(s endpointState) {
	if e.disabled() && s.Disabled.IsZero() {
		e.state.FailingSince = stamp{}
	}
	s.FailingSince, s.LastError, s.LastErrorAt = e.state.FailingSince, e.state.LastError, e.state.LastErrorAt
	e.state, e.shared = s, s.lasting()
}

// goOn queues what a callback has not got on channels, from the places where its receivers are.
func (t *together) goOn(now history.Moment, e *endpoint, channels []bridge.Channel) {
	c := t.service
	slices.Sort(channels)
	var missed history.Missed
	for _, ch := range channels {
		c.mu.Lock()
		to := e.attached[ch]
		c.mu.Unlock()
		if to == nil {
			continue
		}
		c.mu.Lock()
		place := to.place
		to.place.Gap = false
		c.mu.Unlock()
		after, gap := now.After(place.Place, ch, e.key.sender, to.noEcho)
		missed.Messages = append(missed.Messages, after...)
		if gap || place.Gap {
			missed.Gaps = append(missed.Gaps, ch)
		}
	}
	slices.SortStableFunc(missed.Messages, func(a, b *bridge.Message) int { return a.ID.Compare(b.ID) })
	c.catchUp(e.key, missed)
}
