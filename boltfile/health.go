package boltfile

import (
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// After a failed write, an empty write tries the file every probeEvery. The file counts as
// healthy once a write succeeds and none has failed for failedFor: on a full disk a small
// write may succeed where a large one fails. The log repeats the failure after toldEvery.
const (
	probeEvery = time.Second
	failedFor  = 2 * time.Second
	toldEvery  = time.Minute
)

// health knows whether a file can be written.
type health struct {
	mu      sync.Mutex
	failing error     // the last failure; nil: the file can be written
	since   time.Time // the failure began
	last    time.Time // the last write failed
	better  bool      // a write succeeded after that
	told    time.Time // the last log line about a failure
	said    bool      // this failure was logged
	closed  bool
	ending  chan struct{} // closed with the file
	probing sync.WaitGroup
}

func newHealth() *health { return &health{ending: make(chan struct{})} }

// Healthy returns an error that says why the file cannot be written, or nil.
func (f *File) Healthy() error {
	f.health.mu.Lock()
	defer f.health.mu.Unlock()
	if f.health.failing == nil {
		return nil
	}
	return fmt.Errorf("%s cannot be written to disk: %w", f.kind.What, f.health.failing)
}

// written notes that a write succeeded.
func (f *File) written() {
	h := f.health
	h.mu.Lock()
	h.better = true
	h.mu.Unlock()
}

// notWritten notes that a write failed, and starts the probe unless it runs.
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

// probe tries to write the file until it can be written.
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

// recovered ends the failure, unless a write has failed meanwhile.
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
