package nats

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// follow hears the bucket until ctx ends.
func (l *Leases) follow(ctx context.Context) {
	for ctx.Err() == nil {
		opening, end := context.WithTimeout(ctx, tryPatience)
		kv, err := l.transport.open(opening, "LEASE", "what only one gateway of a space does")
		end()
		if err == nil {
			err = l.hear(ctx, kv)
		}
		if err != nil && ctx.Err() == nil {
			l.log.WithError(err).Debug("the space's leases cannot be read now")
			wait(ctx, retry)
		}
	}
}

// hear notes what others write, until that fails or ctx ends.
func (l *Leases) hear(ctx context.Context, kv jetstream.KeyValue) error {
	watch, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer watch.Stop() //nolint:errcheck // the connection may be gone
	l.mu.Lock()
	l.kv, l.ready, l.entries = kv, false, map[string]entry{} // the servers may have begun anew
	l.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.reopen:
			return errNoServer
		case e, open := <-watch.Updates():
			if !open {
				return errNoServer
			}
			l.mu.Lock()
			if e == nil {
				l.ready = true
				l.changedLocked()
			} else {
				l.noteLocked(kv, e.Key(), entry{value: e.Value(), revision: e.Revision(), made: e.Created()})
			}
			l.mu.Unlock()
		}
	}
}

// renewals writes this gateway's run again and again, until ctx ends.
func (l *Leases) renewals(ctx context.Context) {
	failing := time.Now()
	for {
		pause := l.pace.renew
		if err := l.renew(ctx); err != nil {
			pause = min(retry, l.pace.renew)
			if time.Since(failing) > l.pace.stop && l.transport.Healthy() == nil {
				failing = time.Now()
				select { // the bucket may be another one
				case l.reopen <- struct{}{}:
				default:
				}
			}
		} else {
			failing = time.Now()
		}
		if !wait(ctx, pause) {
			return
		}
	}
}

// renew writes this gateway's run.
func (l *Leases) renew(ctx context.Context) error {
	l.mu.Lock()
	if !l.ready {
		l.mu.Unlock()
		return errBehind
	}
	kv, key := l.kv, runKey(l.slot)
	revision := l.entries[key].revision
	sent, run := now(), l.run
	if run == 0 {
		run = uint64(sent.wall.UnixNano())
	}
	l.mu.Unlock()
	if err := l.write(ctx, kv, key, fmt.Append(nil, run), revision); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.run != 0 && l.run != run || l.entries[key].runOf() != run {
		return errLost // another gateway has ended it since
	}
	fresh := l.run == 0 || !l.begun.within(l.pace.stop)
	l.run, l.begun = run, sent
	if l.expiry != nil {
		l.expiry.Stop()
	}
	l.expiry = time.AfterFunc(l.pace.stop-time.Since(sent.monotonic), l.expired)
	if fresh {
		l.changedLocked()
	}
	return nil
}

// expired ends all works if this gateway's run was not written for too long.
func (l *Leases) expired() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.run != 0 && !l.begun.within(l.pace.stop) {
		l.loseLocked("the NATS servers take nothing: what only one gateway of the space does rests")
	}
}

// look ends the runs of gateways that are silent, and gives leases to gateways that have less to
// do, until ctx ends.
func (l *Leases) look(ctx context.Context) {
	for wait(ctx, l.pace.look) {
		l.mu.Lock()
		kv, silent := l.kv, map[string]uint64{}
		if l.ready && l.validLocked(l.run) {
			for key, e := range l.entries {
				if strings.HasPrefix(key, runPrefix) && key != runKey(l.slot) && e.runOf() != 0 && time.Since(e.at) >= l.pace.over {
					silent[key] = e.revision
				}
			}
		}
		l.shareLocked()
		l.tellLocked()
		wishes := l.wishesLocked()
		l.mu.Unlock()
		for _, w := range wishes {
			_ = l.write(ctx, kv, w.key, w.value, w.revision) // and again soon
		}
		for key, revision := range silent {
			if err := l.write(ctx, kv, key, nil, revision); err == nil {
				l.log.WithField("slot", key[len(runPrefix):]).Info("a gateway is silent for too long: its leases are free")
			}
		}
	}
}

// Prefer is bridge.Leases'.
func (l *Leases) Prefer(name string, wants bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prefer[name] = wants
}

// wish is a write that tells which leases this gateway wants more than others.
type wish struct {
	key      string
	value    []byte
	revision uint64
}

func (l *Leases) wishesLocked() (wishes []wish) {
	if !l.ready || !l.validLocked(l.run) {
		return nil
	}
	for name, wants := range l.prefer {
		key := forPrefix + name
		e := l.entries[key]
		slot, run := e.holderOf()
		switch other := l.thereLocked(slot, run); {
		case wants && !other:
			wishes = append(wishes, wish{key, []byte(holderText(l.slot, l.run)), e.revision})
		case !wants && slot == l.slot:
			wishes = append(wishes, wish{key, nil, e.revision})
		}
	}
	return wishes
}

// shareLocked ends works that another gateway should do.
func (l *Leases) shareLocked() {
	for name, h := range l.held {
		if slot, run := l.entries[forPrefix+name].holderOf(); slot != l.slot && l.thereLocked(slot, run) {
			h.lose()
			continue
		}
		if to := l.favouredLocked(name, l.pace.over); h.moves && to != 0 && to != l.slot && to == l.favouredLocked(name, 0) {
			h.lose()
		}
	}
}

// tellLocked writes to the log how many of the leases that move this gateway has.
func (l *Leases) tellLocked() {
	n := 0
	for _, h := range l.held {
		if h.moves {
			n++
		}
	}
	if n != l.told && !l.closing {
		l.told = n
		l.log.WithField("leases", n).Info("this gateway does its part of what the space's gateways share out")
	}
}
