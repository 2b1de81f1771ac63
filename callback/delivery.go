package callback

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	nethttp "net/http"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// The life of a delivery: it waits in its endpoint, becomes the current one, waits
// for a turn, is posted, and is done, given up, or posted again after a pause.

// workLocked begins to deliver what waits for an endpoint, if the endpoint is idle.
func (c *Service) workLocked(e *endpoint) {
	if !c.serving || c.closed || e.phase != idle || len(e.waiting) == 0 || e.rests() {
		return
	}
	c.busy++
	c.nextLocked(e)
	c.goOnLocked()
}

// nextLocked makes a busy endpoint's next delivery the current one, or the endpoint idle.
// The caller calls goOnLocked afterwards.
func (c *Service) nextLocked(e *endpoint) {
	for {
		if e.rests() && c.ctx.Err() == nil {
			c.parkLocked(e)
			return
		}
		if len(e.waiting) == 0 || c.ctx.Err() != nil {
			c.leaveLocked(e)
			return
		}
		e.current = e.waiting[0]
		e.waiting[0] = nil
		e.waiting = e.waiting[1:]
		e.tries, e.wasCut, e.gap = 0, false, c.opts.RetryGap
		if !c.overLocked(e) {
			c.turns.lineUp(e)
			return
		}
	}
}

// doneLocked ends an endpoint's current delivery.
func (c *Service) doneLocked(e *endpoint) {
	c.restLocked(e)
	e.hold(e.current, -1)
	e.current = nil
	c.changedLocked(e)
}

// restLocked ends a pause, or the wait for a turn.
func (c *Service) restLocked(e *endpoint) {
	if e.phase == lined {
		c.turns.leave(e)
	}
	if e.retry != nil {
		e.retry.Stop()
		e.retry = nil
	}
}

// dropCurrentLocked drops an endpoint's current delivery, and goes on with the next.
func (c *Service) dropCurrentLocked(e *endpoint, why bridge.Reason) {
	c.drop(e.key.sender, why, 1)
	c.doneLocked(e)
	c.nextLocked(e)
	c.goOnLocked()
}

// parkLocked makes a busy endpoint idle that was switched off. Its deliveries wait.
func (c *Service) parkLocked(e *endpoint) {
	c.requeueLocked(e)
	c.changedLocked(e)
	c.forgetIdleLocked(e)
	c.busy--
	c.settleLocked()
}

// requeueLocked puts an endpoint's current delivery before those that wait.
func (c *Service) requeueLocked(e *endpoint) {
	c.restLocked(e)
	e.phase = idle
	if e.current != nil {
		e.waiting = slices.Insert(e.waiting, 0, e.current)
		e.current = nil
	}
}

// letGoAtEnd drops the waiting deliveries that do not outlive the process.
func (c *Service) letGoAtEnd(e *endpoint) {
	c.drop(e.key.sender, bridge.Failed, e.discard(func(d *delivery) bool { return c.keeper == nil || !e.listed || d.report() }))
}

// leaveLocked makes an endpoint idle. Its deliveries stay for the next start, or fail if
// they are not kept on disk.
func (c *Service) leaveLocked(e *endpoint) {
	c.requeueLocked(e)
	c.letGoAtEnd(e)
	c.parkLocked(e)
}

// ended notes the result of an attempt, and goes on.
func (c *Service) ended(a *attempt, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := a.e
	c.turns.end(a)
	switch {
	case e.current != a.d: // the delivery was dropped meanwhile
		c.nextLocked(e)
	case err == nil:
		c.count(delivered, 1)
		c.hub.Seen(e.key.sender)
		e.state.FailingSince, e.lastTaken = time.Time{}, c.now()
		c.doneLocked(e)
		c.nextLocked(e)
	case e.elsewhere || errors.Is(err, errElsewhere): // another gateway goes on with it
		c.parkLocked(e)
	case c.ctx.Err() != nil: // the gateway's end stopped the attempt: it does not count
		c.leaveLocked(e)
	case c.failedLocked(e, a, err) == disabled:
		c.goOnLocked()
		c.mu.Unlock()
		if c.keeper != nil {
			c.keeper.saveLogged() // the reason must be on disk before the membership is removed
		}
		c.hub.Kept().End(e.key.sender, e.key.url)
		c.mu.Lock()
		c.nextLocked(e)
	}
	c.goOnLocked()
}

// failedLocked notes a failed attempt. It goes on, unless the callback is disabled now.
func (c *Service) failedLocked(e *endpoint, a *attempt, err error) outcome {
	if a.cut {
		c.count(gaveWay, 1)
		e.wasCut = true
		c.againLocked(e, jitter(e.gap))
		return gaveWay
	}
	c.logFailure(a.d, e.tries, err)
	var answered statusError
	errors.As(err, &answered)
	gone, last := answered.code == nethttp.StatusGone, e.tries >= c.opts.Retries
	now := c.now()
	e.state.LastError, e.state.LastErrorAt = describe(err), now.Round(0)
	if e.state.FailingSince.IsZero() {
		e.state.FailingSince = now
	}
	c.changedLocked(e)
	if !a.d.report() && !a.d.to.hasEnded() {
		switch failing := now.Sub(e.state.FailingSince); {
		case gone:
			c.disableLocked(e, "its receiver answered 410 Gone")
			return disabled
		case last && failing > c.opts.DisableAfter:
			c.disableLocked(e, fmt.Sprintf("every attempt has failed since %s (callbacks.disable_after)", e.state.FailingSince.UTC().Format("2006-01-02 15:04")))
			return disabled
		}
	}
	if !last && !gone {
		c.count(retried, 1)
		e.tries++
		c.againLocked(e, max(jitter(e.gap), answered.after))
		return retried
	}
	e.current = nil
	c.giveUpLocked(e, a.d)
	c.nextLocked(e)
	return givenUp
}

// againLocked makes an endpoint try again after a pause, unless the delivery is over or
// the gateway stops.
func (c *Service) againLocked(e *endpoint, gap time.Duration) {
	switch {
	case c.overLocked(e):
		c.nextLocked(e)
		return
	case c.stopping:
		c.leaveLocked(e)
		return
	case e.rests():
		c.parkLocked(e)
		return
	}
	e.gap = min(2*e.gap, c.opts.MaxGap)
	e.phase = pausing
	var t *time.Timer
	t = time.AfterFunc(gap, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if e.retry != t { // stopped after it fired
			return
		}
		e.retry = nil
		if c.overLocked(e) {
			c.nextLocked(e)
		} else {
			c.turns.lineUp(e)
		}
		c.goOnLocked()
	})
	e.retry = t
}

// jitter makes a gap up to a quarter longer, so that a receiver that was down does not
// get all retries at once.
func jitter(gap time.Duration) time.Duration { return gap + rand.N(gap/4+1) }

// giveUpLocked counts a delivery as given up, and keeps it for a replay.
func (c *Service) giveUpLocked(e *endpoint, d *delivery) {
	c.count(givenUp, 1)
	c.drop(e.key.sender, bridge.Failed, 1)
	e.hold(d, -1)
	if !d.report() && !d.to.hasEnded() {
		e.keepFailed(d, e.state.LastError, &c.opts)
	}
}

// disableLocked disables a callback and gives up its deliveries. The caller ends the
// membership.
func (c *Service) disableLocked(e *endpoint, reason string) {
	e.state.Disabled, e.state.Reason = c.now().Round(0), reason
	if c.together != nil {
		for _, to := range e.attached {
			c.together.leftLocked(e, to)
		}
	}
	c.changedLocked(e)
	c.count(disabled, 1)
	c.log.WithFields(logrus.Fields{"sender": e.key.sender.ID(), "reason": reason}).Warn("callback disabled")
	all := append([]*delivery{e.current}, e.waiting...)
	e.current, e.waiting = nil, nil
	for _, d := range all {
		c.giveUpLocked(e, d)
	}
}

func (c *Service) logFailure(d *delivery, tries int, err error) {
	// The URL is left out: its path or query may be a secret.
	c.log.WithFields(logrus.Fields{
		"sender": d.to.key.sender.ID(), "attempt": tries + 1, "refused": errors.As(err, new(*bridge.Error)), "why": describe(err),
	}).Debug("callback failed")
}

// goOnLocked begins the attempts whose turn it is. If endpoints must wait for a turn, it
// starts the timer for makeRoom.
func (c *Service) goOnLocked() {
	for e := c.turns.next(); e != nil; e = c.turns.next() {
		if c.overLocked(e) {
			c.nextLocked(e)
			continue
		}
		c.beginLocked(e)
	}
	if len(c.turns.ready.members) > 0 && c.turns.timer == nil && c.ctx.Err() == nil {
		c.turns.timer = time.AfterFunc(cutEvery, c.makeRoom)
	}
}

func (c *Service) makeRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns.timer = nil
	c.turns.makeRoom(time.Now())
	c.goOnLocked()
}

// overLocked drops the current delivery if its callback has ended or it has expired.
func (c *Service) overLocked(e *endpoint) bool {
	d := e.current
	switch {
	case d.to.hasEnded():
		c.drop(e.key.sender, bridge.Disconnected, 1)
	case d.expired(c.now()):
		c.count(tooLate, 1)
		c.drop(e.key.sender, bridge.Expired, 1)
	default:
		return false
	}
	c.doneLocked(e)
	return true
}

// beginLocked makes an attempt in a goroutine.
func (c *Service) beginLocked(e *endpoint) {
	a := &attempt{e: e, d: e.current, secrets: c.secretsLocked(e), lease: c.leaseLocked(e), began: time.Now()}
	a.ctx, a.cancel = context.WithCancel(c.ctx)
	e.phase, e.attempt = posting, a
	c.turns.begin(a)
	c.workers.Go(func() {
		err := c.poster.post(a.ctx, a)
		a.cancel()
		c.ended(a, err)
	})
}

// settleLocked closes settled once the service is closed and no endpoint is busy.
func (c *Service) settleLocked() {
	select {
	case <-c.settled:
	default:
		if c.closed && c.busy == 0 {
			close(c.settled)
		}
	}
}

// secretsLocked returns the secrets to sign with: the current one, and earlier ones for
// RotationOverlap after their rotation. Delivery reports to a URL without a callback have
// none.
func (c *Service) secretsLocked(e *endpoint) [][]byte {
	if listed := c.endpoints[endpointKey{sender: e.key.sender, url: e.key.url}]; e.key.reports && listed != nil {
		e = listed
	}
	if !e.listed {
		return nil
	}
	all := [][]byte{c.signer.secret(e.key, e.state.Secret)}
	n, now := e.state.Secret, c.now()
	if n > 0 && now.Sub(e.state.Rotated) < c.opts.RotationOverlap {
		all = append(all, c.signer.secret(e.key, n-1))
	}
	for i, at := range e.state.Earlier {
		if at != 0 && n > uint32(i)+1 && now.Sub(time.Unix(at, 0)) < c.opts.RotationOverlap {
			all = append(all, c.signer.secret(e.key, n-2-uint32(i)))
		}
	}
	return all
}
