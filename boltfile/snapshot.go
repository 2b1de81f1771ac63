package boltfile

import (
	"fmt"
	"io"
	"strconv"

	"go.etcd.io/bbolt"
)

// Snapshot is a file as it was at one moment. What is written later is not in it. Close
// it soon: as long as it is open no page of before is used again, and the file may wait
// to grow.
type Snapshot struct{ tx *bbolt.Tx }

// Snapshot takes one.
func (f *File) Snapshot() (s *Snapshot, err error) {
	err = guarded(func() error {
		tx, err := f.db.Begin(false)
		s = &Snapshot{tx}
		return err
	})
	return s, err
}

// WriteTo writes a file of the same content.
func (s *Snapshot) WriteTo(w io.Writer) (n int64, err error) {
	err = guarded(func() error { n, err = s.tx.WriteTo(w); return err })
	return n, err
}

// Close ends it.
func (s *Snapshot) Close() { _ = s.tx.Rollback() } // of a transaction that reads: cannot fail

// Verify checks a file that is to be used later as Open does, and writes nothing. That
// of a newer version is an error.
func Verify(path string, kind Kind) error {
	return Inspect(path, func(tx *bbolt.Tx) error {
		b := tx.Bucket(formatBucket)
		if b == nil {
			return nil
		}
		format, err := strconv.Atoi(string(b.Get(formatKey)))
		switch {
		case err != nil:
			return damaged("its format is %q", b.Get(formatKey))
		case format > kind.Format:
			return fmt.Errorf("%w (its format is %d, this one knows %d)", ErrNewer, format, kind.Format)
		}
		return nil
	})
}
