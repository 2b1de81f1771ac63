package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"watchtower/bridge"
)

// take writes that this gateway has a lease.
func (l *Leases) take(ctx context.Context, free state, name string, moves bool, lose context.CancelFunc) (*held, error) {
	if err := l.makeSure(ctx, free, name); err != nil {
		return nil, err
	}
	value := holderText(l.slot, free.run)
	if err := l.write(ctx, free.kv, name, []byte(value), free.revision); err != nil {
		return nil, err
	}
	h := &held{leases: l, name: name, run: free.run, moves: moves, lose: lose}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.validLocked(free.run) || string(l.entries[name].value) != value {
		return nil, errLost
	}
	l.held[name] = h
	delete(l.free, name)
	if !moves {
		l.log.WithField("lease", name).Info("this gateway has got a lease: it does what only one of the space does")
	}
	return h, nil
}

// makeSure makes sure that the run of a lease's last holder is over. What was heard of that run after
// the lease was taken is true for ever, since a run that is over does not begin again. What was heard
// before may be out of date: the bucket is heard late. Then the run is written as it is known, which
// fails if it is out of date.
func (l *Leases) makeSure(ctx context.Context, free state, name string) error {
	l.mu.Lock()
	lease := l.entries[name]
	slot, run := lease.holderOf()
	key := runKey(slot)
	known := l.entries[key]
	l.mu.Unlock()
	switch {
	case lease.revision != free.revision || slot != 0 && slot != l.slot && known.runOf() == run:
		return errChanged
	case slot == 0 || slot == l.slot || known.revision > lease.revision:
		return nil
	}
	return l.write(ctx, free.kv, key, known.value, known.revision)
}

var errLost = errors.New("the lease was lost")

// giveBack writes that a lease is nobody's, unless it was lost.
func (l *Leases) giveBack(h *held) {
	l.mu.Lock()
	kv, revision, ours := l.kv, l.entries[h.name].revision, l.hasLocked(h)
	if l.held[h.name] == h {
		delete(l.held, h.name)
	}
	l.mu.Unlock()
	if !ours {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tryPatience)
	defer cancel()
	_ = l.write(ctx, kv, h.name, nil, revision) // else the others wait until this run is over
	if !h.moves {
		l.log.WithField("lease", h.name).Info("this gateway has given a lease back")
	}
}

// write writes a key if it is as it was heard, and notes it.
func (l *Leases) write(ctx context.Context, kv jetstream.KeyValue, key string, value []byte, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	now, err := kv.Update(ctx, key, value, revision)
	if err == nil {
		l.mu.Lock()
		l.noteLocked(kv, key, entry{value: value, revision: now, made: time.Now()})
		l.mu.Unlock()
		return nil
	}
	if err = conflict(err); errors.Is(err, errChanged) {
		l.read(ctx, kv, key)
	}
	return err
}

// read notes what the bucket has of a key.
func (l *Leases) read(ctx context.Context, kv jetstream.KeyValue, key string) {
	e, err := kv.Get(ctx, key)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked(kv, key, entry{value: e.Value(), revision: e.Revision(), made: e.Created()})
}

// noteLocked notes what the bucket has of a key, unless something newer is known.
func (l *Leases) noteLocked(kv jetstream.KeyValue, key string, e entry) {
	was := l.entries[key]
	if e.revision <= was.revision || l.kv != kv {
		return
	}
	e.at, e.since = time.Now(), was.since
	same := string(was.value) == string(e.value) && was.revision != 0
	if !same {
		e.since = e.at
	}
	l.entries[key] = e
	if h := l.held[key]; h != nil && string(e.value) != holderText(l.slot, h.run) {
		delete(l.held, key)
		h.lose()
	}
	if key == runKey(l.slot) && l.run != 0 && e.runOf() != l.run {
		l.loseLocked("another gateway has ended this one's run, which was silent for too long: what only one of the space does is another's now")
	}
	if !same {
		l.changedLocked()
	}
}

// Held is bridge.Lease's.
func (h *held) Held() bool {
	h.leases.mu.Lock()
	defer h.leases.mu.Unlock()
	return h.leases.hasLocked(h)
}

func (l *Leases) hasLocked(h *held) bool { return l.held[h.name] == h && l.validLocked(h.run) }

// Load is bridge.Lease's. It also makes an earlier holder's Save fail.
func (h *held) Load(ctx context.Context) ([]byte, error) {
	l, key := h.leases, leftPrefix+h.name
	for {
		l.mu.Lock()
		kv, e := l.kv, l.entries[key]
		l.mu.Unlock()
		err := l.write(ctx, kv, key, e.value, e.revision)
		if err == nil {
			return e.value, nil
		}
		if !errors.Is(err, errChanged) || !wait(ctx, retry/10) {
			return nil, err
		}
	}
}

// Save is bridge.Lease's.
func (h *held) Save(ctx context.Context, value []byte) error {
	l, key := h.leases, leftPrefix+h.name
	if len(value) > bridge.LeftBytes {
		return fmt.Errorf("%d bytes are more than a lease keeps", len(value))
	}
	for {
		l.mu.Lock()
		kv, revision := l.kv, l.entries[key].revision
		l.mu.Unlock()
		if !h.Held() { // asked after the revision was read: so nobody else has written that one
			return errLost
		}
		err := l.write(ctx, kv, key, value, revision)
		if !errors.Is(err, errChanged) || !wait(ctx, retry/10) { // changed by an earlier Save, of which no answer came
			return err
		}
	}
}

// Left is bridge.Leases'.
func (l *Leases) Left(name string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[leftPrefix+name].value
}

// Holders lists the leases that a gateway has, by name.
func (l *Leases) Holders() (all []bridge.LeaseHolder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, e := range l.entries {
		if strings.HasPrefix(name, runPrefix) || strings.HasPrefix(name, leftPrefix) || strings.HasPrefix(name, forPrefix) {
			continue
		}
		if slot, run := e.holderOf(); slot != 0 && l.thereLocked(slot, run) {
			all = append(all, bridge.LeaseHolder{Name: name, Slot: slot, Since: e.made})
		}
	}
	slices.SortFunc(all, func(a, b bridge.LeaseHolder) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// HasHolder reports whether some gateway has a lease, as far as this one can know: one that cannot
// reach the servers knows nothing.
func (l *Leases) HasHolder(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	slot, run := l.entries[name].holderOf()
	return l.validLocked(l.run) && slot != 0 && l.thereLocked(slot, run)
}
