// Package keys holds the keys by which devices of session frames register: the one that
// all share, and those of names. A name's key is made from a master that only the gateway
// knows, and from the name's generation. So no key is stored: only the masters, and the
// generations of revoked names (docs/protocol.md, "Keys of their own").
package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// Document is where a Ring is kept. Save returns once the value is on disk; if it fails,
// it may write the value later.
type Document interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// The modes of a Ring (wire.device_keys).
const (
	Required = "required" // every device needs a key of its own
	Accepted = "accepted" // a name that had its own key once is refused to the shared one
	Off      = "off"      // names have no keys
)

// Kind says what a key is that let a device in.
type Kind string

// The kinds. Of the zero Kind are keys that count no more.
const (
	Shared   Kind = "shared"
	Own      Kind = "own"
	Previous Kind = "previous" // made from the master before the present one
)

// Options of a Ring.
type Options struct {
	Mode   string
	Shared func() frame.Key // the key that all share; it may take some milliseconds
	Now    func() time.Time // nil: time.Now

	// Unwritten, if not nil, gets the error of a first master that could not be written. Until
	// it can be, no key of a name is shown.
	Unwritten func(error)
}

// Ring is a session.Keys. Its methods may be called from any goroutine.
type Ring struct {
	opts     Options
	document Document
	changing sync.Mutex // held while a change is written
	now      atomic.Pointer[ring]
	rotated  chan struct{} // the date of the previous master has changed
	unsaved  atomic.Bool   // the first master is not on disk
}

// ring is what a Ring knows; it never changes.
type ring struct {
	kept
	number bridge.Proof // of the master; that of the one before is one less
}

// kept is the part that is on disk.
type kept struct {
	Master      []byte          `json:"master"`
	Previous    []byte          `json:"previous,omitempty"`
	Until       time.Time       `json:"until,omitzero"` // the previous master counts until then
	Generations map[string]byte `json:"generations,omitempty"`
}

const masterSize = len(frame.Master{})

// firstMaster is the number of the master that a start finds.
const firstMaster = bridge.ByShared + 2

// Open returns the ring of a document. If that is empty, generate makes a master, which Open
// writes to disk: if it cannot, Key tries again. With a nil generate it returns ErrNone.
func Open(d Document, generate func() []byte, o Options) (*Ring, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Ring{opts: o, document: d, rotated: make(chan struct{}, 1)}
	b, err := d.Load()
	if err != nil {
		return nil, err
	}
	k := kept{}
	switch {
	case b != nil:
		if err := json.Unmarshal(b, &k); err != nil || len(k.Master) != masterSize || len(k.Previous) != masterSize && len(k.Previous) != 0 {
			return nil, errors.New("the master of the devices' keys is damaged")
		}
	case generate == nil:
		return nil, ErrNone
	default:
		k.Master = generate()
		if err := d.Save(encode(k)); err != nil {
			r.unsaved.Store(true)
			if o.Unwritten != nil {
				o.Unwritten(err)
			}
		}
	}
	r.now.Store(&ring{k, firstMaster})
	return r, nil
}

// ErrNone says that there is no master yet.
var ErrNone = errors.New("there is no master of the devices' keys")

func encode(k kept) []byte {
	b, _ := json.Marshal(k) // a plain struct: cannot fail
	return b
}

// Shared implements session.Keys.
func (r *Ring) Shared() frame.Key { return r.opts.Shared() }

// Required implements session.Keys.
func (r *Ring) Required() bool { return r.opts.Mode == Required }

// Own implements session.Keys.
func (r *Ring) Own(name []byte) (list []session.OwnKey, on bool) {
	if r.opts.Mode == Off {
		return nil, false
	}
	if len(name) == 0 {
		return nil, true
	}
	now := r.now.Load()
	generation := now.Generations[string(name)]
	list = append(list, session.OwnKey{Key: frame.Master(now.Master).Key(generation, name), By: now.number})
	if now.counts(r.opts.Now()) {
		list = append(list, session.OwnKey{Key: frame.Master(now.Previous).Key(generation, name), By: now.number - 1})
	}
	return list, true
}

// counts reports whether the previous master counts.
func (now *ring) counts(at time.Time) bool { return len(now.Previous) > 0 && at.Before(now.Until) }

// Kind says what a proof is.
func (r *Ring) Kind(p bridge.Proof) Kind {
	now := r.now.Load()
	switch {
	case p == bridge.ByShared:
		return Shared
	case p == now.number:
		return Own
	case p == now.number-1 && p.Own() && now.counts(r.opts.Now()):
		return Previous
	}
	return ""
}

// Over reports whether a device was let in by a key of its own that counts no more.
func (r *Ring) Over(p bridge.Proof) bool { return p.Own() && r.Kind(p) == "" }

// Key returns the present key of a name, and its generation, once its master is on disk.
func (r *Ring) Key(name string) (frame.Key, byte, error) {
	if err := check(name); err != nil {
		return frame.Key{}, 0, err
	}
	if r.unsaved.Load() {
		if err := r.change(func(*ring) error { return nil }); err != nil {
			return frame.Key{}, 0, err
		}
	}
	now := r.now.Load()
	generation := now.Generations[name]
	return frame.Master(now.Master).Key(generation, []byte(name)), generation, nil
}

// check refuses what is no name of a device.
func check(name string) error {
	if !bridge.ValidName(name) || len(name) > frame.MaxName {
		return &bridge.Error{Code: bridge.InvalidName, Field: "name", Detail: fmt.Sprintf("must be a device's name, 1 to %d of A–Z a–z 0–9 _ . : -, is %q", frame.MaxName, bridge.Shorten(name))}
	}
	return nil
}

// Status is what there is to see of a Ring.
type Status struct {
	Mode    string
	Until   time.Time       // the previous master counts until then; zero: there is none
	Revoked map[string]byte // the generations of names whose keys were revoked
}

// Status returns what there is to see.
func (r *Ring) Status() Status {
	now := r.now.Load()
	s := Status{Mode: r.opts.Mode, Revoked: maps.Clone(now.Generations)}
	if now.counts(r.opts.Now()) {
		s.Until = now.Until
	}
	return s
}

// Revoke makes the keys of a name count no more, and returns the generation of the next
// one. It returns once that is on disk. The caller ends the sessions.
func (r *Ring) Revoke(name string) (generation byte, err error) {
	if err := check(name); err != nil {
		return 0, err
	}
	err = r.change(func(next *ring) error {
		generation = next.Generations[name] + 1
		if generation == 0 {
			return &bridge.Error{Code: bridge.InvalidName, Field: "name", Detail: fmt.Sprintf("%q had 255 keys revoked: choose another name", name)}
		}
		next.Generations = maps.Clone(next.Generations)
		if next.Generations == nil {
			next.Generations = map[string]byte{}
		}
		next.Generations[name] = generation
		return nil
	})
	return generation, err
}

// Rotate puts a new master in force. Keys made from the one before count until a time, and
// those from an earlier one no more. It returns once that is on disk. The caller ends the
// sessions.
func (r *Ring) Rotate(master []byte, until time.Time) error {
	err := r.change(func(next *ring) error {
		next.Master, next.Previous, next.Until = master, next.Master, until.UTC()
		next.number++
		return nil
	})
	if err == nil {
		select {
		case r.rotated <- struct{}{}:
		default:
		}
	}
	return err
}

// change puts a change in force once it is on disk. If it cannot be written, nothing has
// changed.
func (r *Ring) change(how func(next *ring) error) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	now := r.now.Load()
	next := *now
	if err := how(&next); err != nil {
		return err
	}
	if err := r.document.Save(encode(next.kept)); err != nil {
		_ = r.document.Save(encode(now.kept)) // so that the change is not written later
		return &bridge.Error{Code: bridge.StoreFailed, Detail: "it could not be written to disk: nothing has changed"}
	}
	r.now.Store(&next)
	r.unsaved.Store(false)
	return nil
}

// forgetPrevious removes the previous master once it does not count any more.
func (r *Ring) forgetPrevious() {
	_ = r.change(func(next *ring) error {
		if next.counts(r.opts.Now()) || len(next.Previous) == 0 {
			return errNothing
		}
		next.Previous, next.Until = nil, time.Time{}
		return nil
	}) // if it fails, Run tries again
}

var errNothing = errors.New("nothing to change")

// mostWait is the longest time between two looks at the clock, which may be set.
const mostWait = time.Minute

// Run calls over at the date of each previous master, and removes that master, until ctx
// ends.
func (r *Ring) Run(ctx context.Context, over func()) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-r.rotated:
		case <-ctx.Done():
			return
		}
		now := r.now.Load()
		left := now.Until.Sub(r.opts.Now())
		switch {
		case len(now.Previous) == 0:
			t.Stop()
		case left > 0:
			t.Reset(min(left, mostWait))
		default:
			over()
			r.forgetPrevious()
			t.Reset(mostWait) // if that failed; else the next look finds nothing
		}
	}
}
