package callback

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/bridge/jsonline"
	"watchtower/history"
)

// Join is a request to make a URL a sender's callback on channels.
type Join struct {
	Sender   *bridge.Sender
	Channels []bridge.Channel // ascending, each once
	URL      string
	NoEcho   bool           // it does not get the sender's own broadcasts
	Since    *history.Since // nil: only new messages
}

// Join makes a URL the callback of channels, and queues the missed messages. It returns the
// secret once the membership is on disk. fresh says that the sender had no callback with
// this URL before: then a client without a token may see the secret too.
func (c *Service) Join(ctx context.Context, j Join) (secret string, fresh bool, err error) {
	if err := c.CheckURL(ctx, j.URL); err != nil {
		return "", false, err
	}
	if err := c.room(j.Sender, j.URL); err != nil {
		return "", false, err
	}
	fresh = !c.known(j.Sender, j.URL)
	attach := func(ch bridge.Channel) *bridge.Attachment {
		a := c.attachment(j.Sender, ch, j.URL, j.NoEcho, true)
		a.Replays = j.Since != nil
		return a
	}
	var wait func() error
	err = c.past.Join(func(now history.Moment) (err error) {
		wait, err = c.hub.Kept().Join(j.Sender, j.Channels, j.URL, j.NoEcho, j.Since != nil, attach)
		switch {
		case err != nil:
		case c.together != nil:
			c.together.joined(now, j)
		case j.Since != nil:
			c.catchUp(endpointKey{sender: j.Sender, url: j.URL}, now.Missed(*j.Since, j.Channels, j.Sender, j.NoEcho))
		}
		return err
	})
	if err == nil {
		err = wait()
	}
	if err != nil {
		return "", false, err
	}
	if c.together != nil {
		c.together.wait(ctx, endpointKey{sender: j.Sender, url: j.URL})
	}
	return c.secret(j.Sender, j.URL), fresh, nil
}

// catchUp queues the gaps, and then the missed messages that do not wait already. If they
// do not fit into the queue, the oldest are dropped and counted, and leave a gap.
func (c *Service) catchUp(key endpointKey, missed history.Missed) {
	c.mu.Lock()
	waits, attached := map[string]bool{}, map[bridge.Channel]*receiver{}
	room, bytes := c.opts.Queue, queueBytes
	if e := c.endpoints[key]; e != nil {
		for _, d := range e.waiting {
			waits[d.id] = true
		}
		if d := e.current; d != nil && !d.to.hasEnded() { // an ended one is not tried again
			waits[d.id] = true
		}
		attached = maps.Clone(e.attached)
		room, bytes = room-len(e.waiting)-len(attached), bytes-e.bytes
	}
	c.mu.Unlock()
	var fit []*delivery // the newest first
	gaps := missed.Gaps
	for _, m := range slices.Backward(missed.Messages) {
		d := c.deliveryOf(m, bodyOf(m))
		to := attached[m.Channel]
		if to == nil || waits[d.id] { // nil: it left meanwhile
			continue
		}
		if bytes -= d.size(); len(fit) >= room || bytes < 0 {
			room, gaps = 0, append(gaps, m.Channel)
			c.drop(key.sender, bridge.QueueFull, 1)
			continue
		}
		fit = append(fit, d)
	}
	now := c.now()
	slices.Sort(gaps)
	for _, ch := range slices.Compact(gaps) {
		if to := attached[ch]; to != nil {
			c.enqueue(to, &delivery{body: jsonline.AppendGap(nil, ch), id: fmt.Sprintf("gap-%s-%d", ulid.Make(), ch), channel: ch, said: now})
		}
	}
	for _, d := range slices.Backward(fit) {
		c.enqueue(attached[d.channel], d)
	}
}

// bodyOf encodes a message for posting.
func bodyOf(m *bridge.Message) []byte { return jsonline.Append(make([]byte, 0, jsonline.Size(m)), m) }

func (c *Service) deliveryOf(m *bridge.Message, body []byte) *delivery {
	return &delivery{
		body: body, hops: m.Hops, id: webhookIDOf(m), channel: m.Channel, expires: m.Expires, said: m.Time,
		slot: c.past.SlotOf(m), mid: m.ID,
	}
}

// attachment makes a callback for one channel. It is called with the hub's lock. With on, it is
// switched on if it was disabled.
func (c *Service) attachment(s *bridge.Sender, ch bridge.Channel, url string, noEcho, on bool) *bridge.Attachment {
	to := &receiver{key: endpointKey{sender: s, url: url}, channel: ch, noEcho: noEcho, ended: make(chan struct{})}
	c.mu.Lock()
	e := c.endpoints[to.key]
	if e == nil {
		c.makeRoomLocked(s)
		e = c.newEndpointLocked(to.key)
	}
	e.listed = true
	if on && e.disabled() {
		e.state.Disabled, e.state.FailingSince, e.state.Reason = time.Time{}, time.Time{}, ""
	}
	e.attached[ch] = to
	c.changedLocked(e)
	c.mu.Unlock()
	return &bridge.Attachment{
		Via: Protocol, Returns: true, Broadcasts: true, Sends: true, NoEcho: noEcho, Address: url,
		Member: to, Ended: func() { c.end(to) },
	}
}

// room refuses a new callback if its sender has too many, and none of them can make room
// because it is not attached any more.
func (c *Service) room(s *bridge.Sender, url string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.endpoints[endpointKey{sender: s, url: url}]; e != nil && e.shown() {
		return nil
	}
	if n, oldest := c.shownLocked(s); n >= c.opts.SenderCallbacks && oldest == nil {
		return fault(TooMany, "callback_url", "%d has callbacks to %d URLs, and may have no more (limits.sender_callbacks): leave some channels first", s.ID(), n)
	}
	return nil
}

// secretsKept is how many URLs without a callback are remembered for one sender, with their
// rotated secrets.
const secretsKept = 1000

// makeRoomLocked forgets a callback that makes room for a new one, and a remembered secret
// beyond secretsKept.
func (c *Service) makeRoomLocked(s *bridge.Sender) {
	if n, oldest := c.shownLocked(s); n >= c.opts.SenderCallbacks && oldest != nil {
		c.forgetLocked(oldest)
	}
	if len(c.shares.endpoints(s)) < secretsKept+c.opts.SenderCallbacks {
		return
	}
	var oldest *endpoint
	for _, e := range c.shares.endpoints(s) {
		if e.listed && !e.shown() && e.phase == idle && (oldest == nil || e.state.Rotated.Before(oldest.state.Rotated)) {
			oldest = e
		}
	}
	if oldest != nil {
		c.forgetLocked(oldest)
	}
}

// end takes a callback off its channel, and drops its waiting deliveries. If the callback
// was disabled, its failed ones stay, to be replayed after another join.
func (c *Service) end(to *receiver) {
	close(to.ended)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[to.key]
	if e == nil {
		return
	}
	c.drop(e.key.sender, bridge.Disconnected, e.discard(func(d *delivery) bool { return d.to == to }))
	if d := e.current; d != nil && d.to == to && e.phase != posting { // an attempt ends by itself
		c.dropCurrentLocked(e, bridge.Disconnected)
	}
	if e.attached[to.channel] == to { // else another receiver has replaced it
		delete(e.attached, to.channel)
		e.state.Known = true // its secret was shown
		e.shared.Known = e.shared.Known || to.quiet
		if !e.disabled() {
			e.takeFailed(func(d *delivery) bool { return d.channel == to.channel })
		}
		if c.together != nil && !to.quiet {
			c.together.leftLocked(e, to)
		}
	}
	c.changedLocked(e)
	c.forgetIdleLocked(e)
}

// restore attaches the callbacks that the hub remembers, with their waiting deliveries.
func (c *Service) restore() error {
	c.hub.Kept().Restore(func(s *bridge.Sender, m bridge.KeptMembership) {
		// Kept().Join would write each membership again.
		a := c.attachment(s, m.Channel, m.Address, m.NoEcho, true)
		if err := c.hub.Attach(s, m.Channel, a); err != nil {
			a.Ended()
			c.log.WithError(err).WithFields(logrus.Fields{"sender": s.ID(), "channel": m.Channel}).Warn("callback not restored")
		}
	})
	if c.keeper == nil {
		return nil
	}
	if err := c.keeper.restore(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.endpoints {
		c.forgetIdleLocked(e)
	}
	return nil
}
