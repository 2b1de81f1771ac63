// Package boltfile opens the bbolt files of the data directory, all in the same
// way: private, locked against a second gateway, and sure to be there after a
// power cut.
package boltfile

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockPatience is how long Open waits for another process to let go of the
// file: a restart may overlap a little.
const lockPatience = 500 * time.Millisecond

// ErrDamaged is in the error of Open where the file's structure is broken, as a
// dying SD card leaves it.
var ErrDamaged = errors.New("the file is damaged")

// Open opens the file with its buckets, or creates it with mode 0600. Where
// another process holds it, Open gives up within a second. All of it is read
// once, so that damage shows here and not in the middle of the work.
func Open(path string, buckets ...[]byte) (*bbolt.DB, error) {
	db, err := open(path)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("another gateway uses this data directory (%s is locked): stop it, or give this one its own with --data-dir", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := readAll(db, path); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), db.Close())
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	return db, nil
}

func open(path string) (db *bbolt.DB, err error) {
	defer damage(&err, debug.SetPanicOnFault(true))
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockPatience, FreelistType: bbolt.FreelistMapType})
	var system syscall.Errno // the file cannot be opened: nothing is said about what is in it
	if err != nil && !errors.Is(err, bolterrors.ErrTimeout) && !errors.As(err, &system) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return db, err
}

// readAll visits every page that holds something.
func readAll(db *bbolt.DB, path string) (err error) {
	defer damage(&err, debug.SetPanicOnFault(true))
	return db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), tx.Size())
		}
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, v []byte) error {
				_ = crc32.ChecksumIEEE(v)
				return nil
			})
		})
	})
}

// damage makes an error of the panic with which bbolt meets a broken page, and
// of the fault where a page is not in the file or the disk does not give it.
func damage(err *error, before bool) {
	debug.SetPanicOnFault(before)
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrDamaged, p)
	}
}

// syncDir makes a new file's name survive a power cut, which bbolt leaves out.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
