// Package store keeps senders, their tokens and callback memberships on disk,
// in one bbolt file. It implements bridge.Store.
//
// Writes go in groups: one goroutine takes all that is pending and commits it
// in one transaction, as soon as the disk is idle. So callers never wait for
// the disk unless they ask to, and ten thousand changes cost few syncs.
// The package knows nothing of what a record means: bridge owns that.
package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"watchtower/boltfile"
	"watchtower/bridge"
)

// ErrClosed is the error of every change after Close.
var ErrClosed = errors.New("the store is closed")

// The buckets: records by sender id (4 bytes, big endian), and small values.
var (
	sendersBucket = []byte("senders")
	metaBucket    = []byte("meta")
)

// kind describes the file. Raise the format when you add a table that is always there, or
// change what rows mean. Tables of other parts are made on first use, and are not in the
// list.
var kind = boltfile.Kind{What: "senders", Format: 1, Tables: [][]byte{sendersBucket, metaBucket}}

// Store is a bridge.Store. Its methods may be called from any goroutine.
type Store struct {
	db *boltfile.File

	mu       sync.Mutex
	pending  *group             // nil: nothing to write
	late     map[string]*[]byte // documents that could not be written, by key
	closed   bool
	wake     chan struct{} // there is something pending, or it is closed
	done     chan struct{} // the writer has ended
	failed   changes       // what the last commit could not write; the writer's own
	closing  sync.Once
	closeErr error
}

// changes are the newest record of each sender; nil if it is deleted.
type changes map[bridge.SenderID]*bridge.Record

// group is what is written in one transaction.
type group struct {
	changes changes
	done    chan struct{}
	err     error // valid after done
}

// Open opens the file, or creates it (boltfile.Open). It leaves a damaged file as it is,
// because nothing else has that data.
func Open(path string, log *logrus.Logger) (*Store, error) {
	db, err := boltfile.Open(path, kind, log)
	if errors.Is(err, boltfile.ErrDamaged) {
		return nil, damaged(err)
	}
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.write()
	return s, nil
}

// damaged adds what people can do.
func damaged(err error) error {
	return fmt.Errorf("%w. Nothing was changed. Put back a backup (watchtower restore FILE), or move it and broker.db away to begin anew: then every device registers anew and gets another id", err)
}

// Verify checks a file that will be used later (boltfile.Verify).
func Verify(path string) error { return boltfile.Verify(path, kind) }

// Snapshot is what is on disk now (boltfile.Snapshot).
func (s *Store) Snapshot() (*boltfile.Snapshot, error) { return s.db.Snapshot() }

// Fresh reports whether there was nothing in the file before it was opened.
func (s *Store) Fresh() bool { return s.db.Fresh() }

// Close writes what is pending and closes the file. Every later change fails
// with ErrClosed.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.signal()
		<-s.done
		s.closeErr = s.db.Close()
	})
	return s.closeErr
}

// Load returns all records, in the order of their ids. All processors decode them. An error names
// each record that cannot be read.
func (s *Store) Load() ([]bridge.Record, error) {
	var rows []row
	err := s.db.Each(sendersBucket, func(k, v []byte) error {
		rows = append(rows, row{k, v})
		return nil
	})
	if err != nil {
		return nil, closedError(err)
	}
	records, broken := make([]bridge.Record, len(rows)), make([]error, len(rows))
	var decoding sync.WaitGroup
	several := runtime.GOMAXPROCS(0)
	for n := range several {
		decoding.Go(func() {
			for i := len(rows) * n / several; i < len(rows)*(n+1)/several; i++ {
				if err := rows[i].decode(&records[i]); err != nil {
					broken[i] = fmt.Errorf("%s: the record of sender %s is damaged: %w", s.db.Path(), keyName(rows[i].key), err)
				}
			}
		})
	}
	decoding.Wait()
	if err := errors.Join(broken...); err != nil {
		return nil, damaged(err)
	}
	return records, nil
}

// row is a record on disk.
type row struct{ key, value []byte }

func (on row) decode(r *bridge.Record) error {
	if len(on.key) != 4 {
		return errors.New("the key is not an id")
	}
	if err := json.Unmarshal(on.value, r); err != nil {
		return err
	}
	if r.ID != bridge.SenderID(binary.BigEndian.Uint32(on.key)) {
		return fmt.Errorf("it says it is sender %d", r.ID)
	}
	return nil
}

func keyName(k []byte) string {
	if len(k) == 4 {
		return fmt.Sprint(binary.BigEndian.Uint32(k))
	}
	return fmt.Sprintf("%x", k)
}

// Save writes a record in place of an earlier one of the same sender. It keeps
// r's slices: nobody may change them. See bridge.Store.
func (s *Store) Save(r bridge.Record) (wait func() error) { return s.change(r.ID, &r) }

// Delete removes a sender's record. See bridge.Store.
func (s *Store) Delete(id bridge.SenderID) (wait func() error) { return s.change(id, nil) }

func (s *Store) change(id bridge.SenderID, r *bridge.Record) (wait func() error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return func() error { return ErrClosed }
	}
	if s.pending == nil {
		s.pending = &group{changes: changes{}, done: make(chan struct{})}
	}
	g := s.pending
	g.changes[id] = r
	s.mu.Unlock()
	s.signal()
	return func() error {
		<-g.done
		return g.err
	}
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// retryEvery is the time until a failed write is tried again.
const retryEvery = time.Second

// write commits one group after the other, until the store is closed and
// nothing is pending.
func (s *Store) write() {
	defer close(s.done)
	for {
		var retry <-chan time.Time
		if len(s.failed) > 0 || s.anyLate() {
			retry = time.After(retryEvery)
		}
		select {
		case <-s.wake:
		case <-retry:
		}
		s.mu.Lock()
		g, closed := s.pending, s.closed
		s.pending = nil
		s.mu.Unlock()
		if g == nil && (len(s.failed) > 0 || s.anyLate()) {
			g = &group{changes: changes{}, done: make(chan struct{})}
		}
		if g != nil {
			s.commit(g)
		}
		if closed {
			return // nothing can be pending: change refuses
		}
	}
}

// commit writes a group, and with it what an earlier group could not write. So a disk
// that was full for a while loses no change, even if nobody waits for it.
func (s *Store) commit(g *group) {
	if len(s.failed) > 0 {
		merged := s.failed
		maps.Copy(merged, g.changes)
		g.changes = merged
	}
	s.failed = nil
	written, err := s.commitChanges(g.changes)
	if g.err = err; err != nil {
		s.failed = g.changes
	}
	if err == nil {
		s.notLate(written)
	}
	close(g.done)
}

// Healthy returns why the file cannot be written, or nil.
func (s *Store) Healthy() error { return s.db.Healthy() }

// Flush waits until everything that was saved before is on disk.
func (s *Store) Flush() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	if s.pending == nil {
		s.pending = &group{changes: changes{}, done: make(chan struct{})}
	}
	g := s.pending
	s.mu.Unlock()
	s.signal()
	<-g.done
	return g.err
}

func (s *Store) commitChanges(c changes) (documents map[string]*[]byte, err error) {
	err = s.db.Update(func(tx *bbolt.Tx) (err error) {
		if documents, err = s.putLate(tx); err != nil {
			return err
		}
		b := tx.Bucket(sendersBucket)
		for _, id := range slices.Sorted(maps.Keys(c)) { // in order: fewer pages are touched
			key := binary.BigEndian.AppendUint32(nil, uint32(id))
			if c[id] == nil {
				if err := b.Delete(key); err != nil {
					return err
				}
				continue
			}
			value, err := json.Marshal(c[id])
			if err != nil {
				return err
			}
			if err := b.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	return documents, err
}

// Meta returns the small value of that key. The first time it calls make for the value,
// and returns once that is on disk.
func (s *Store) Meta(key string, make func() []byte) ([]byte, error) {
	var value []byte
	err := s.db.View(func(tx *bbolt.Tx) error {
		value = slices.Clone(tx.Bucket(metaBucket).Get([]byte(key)))
		return nil
	})
	if err != nil || value != nil {
		return value, closedError(err)
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(metaBucket)
		if value = slices.Clone(b.Get([]byte(key))); value != nil {
			return nil // somebody else was faster
		}
		value = make()
		return b.Put([]byte(key), value)
	})
	if err != nil {
		return nil, closedError(err)
	}
	return value, nil
}

func closedError(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}
