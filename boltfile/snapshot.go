package boltfile

import (
	"fmt"
	"io"
	"strconv"

	"go.etcd.io/bbolt"
)

// Snapshot is a file as it was at one moment. Later writes are not in it. Close it soon:
// while it is open, bbolt reuses no old page, and a write that needs the file to grow may
// have to wait.
type Snapshot struct{ tx *bbolt.Tx }

// Snapshot takes a snapshot.
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

// Close ends the snapshot.
func (s *Snapshot) Close() { _ = s.tx.Rollback() } // cannot fail in a transaction that reads

// Verify checks, without writing, whether Open could use a file: it must not be damaged,
// nor be written by a newer version.
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
