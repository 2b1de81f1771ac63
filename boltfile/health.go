package boltfile

import (
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// While a file cannot be written, it is tried every few seconds whether it can be again.
// Nobody has failed for failedFor then: what is small may find room where what is
// large does not. The log says it again after toldEvery.
const (
	probeEvery = time.Second
	failedFor  = 2 * time.Second
	toldEvery  = time.Minute
)

// health is whether a file can be written.
type health struct {
	mu      sync.Mutex
	failing error     // nil: it can be
	since   time.Time // failing
	last    time.Time // a write failed
	better  bool      // one has gone well since
	told    time.Time // the log said so
	said    bool      // it did of this failure
	closed  bool
	ending  chan struct{} // closed with the file
	probing sync.WaitGroup
}

func newHealth() *health { return &health{ending: make(chan struct{})} }

// Healthy says why the file cannot be written, if it cannot.
func (f *File) Healthy() error {
	f.health.mu.Lock()
	defer f.health.mu.Unlock()
	if f.health.failing == nil {
		return nil
	}
	return fmt.Errorf("%s cannot be written to disk: %w", f.kind.What, f.health.failing)
}

// written notes that a write has gone well.
func (f *File) written() {
	h := f.health
	h.mu.Lock()
	h.better = true
	h.mu.Unlock()
}

// notWritten notes that a write has failed, and has it tried until one goes well.
func (f *File) notWritten(err error) {
	h := f.health
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	begins := h.failing == nil
	h.failing, h.last, h.better = err, now, false
	if begins {
		h.since, h.said = now, false
	}
	if now.Sub(h.told) >= toldEvery {
		h.told, h.said = now, true
		f.log.WithError(err).WithField("file", f.Path()).Error(f.kind.What + " not written: trying again")
	}
	if begins && !h.closed {
		h.probing.Go(f.probe)
	}
}

// probe tries whether the file can be written, until it can.
func (f *File) probe() {
	h := f.health
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		select {
		case <-h.ending:
			return
		case <-t.C:
		}
		h.mu.Lock()
		wait, better := time.Since(h.last) < failedFor, h.better
		h.mu.Unlock()
		if wait || !better && f.Update(func(*bbolt.Tx) error { return nil }) != nil {
			continue
		}
		if f.recovered() {
			return
		}
	}
}

// recovered ends a failure, unless something has failed meanwhile.
func (f *File) recovered() bool {
	h := f.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.better {
		return false
	}
	h.failing = nil
	if !h.said {
		return true
	}
	f.log.WithField("file", f.Path()).WithField("after", time.Since(h.since).Round(time.Second).String()).Info(f.kind.What + " written again")
	return true
}

// stop waits for the probe.
func (h *health) stop() {
	h.mu.Lock()
	first := !h.closed
	h.closed = true
	h.mu.Unlock()
	if first {
		close(h.ending)
	}
	h.probing.Wait()
}
