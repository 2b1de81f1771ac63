// Package boltfile owns the bbolt files of the data directory. It opens all in the same
// way: readable by the owner only, locked against a second gateway, safe from a power
// cut, and checked whole before their content is used. A later failure of a file is an
// error, never a crash; it is logged once a minute. The stores know what the rows mean.
package boltfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"

	"watchtower/atomicfile"

	"github.com/sirupsen/logrus"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockPatience is how long Open waits for another process to release the file: after a
// restart the old process may still hold it for a moment.
const lockPatience = 500 * time.Millisecond

var (
	// ErrDamaged is in the error of Open if the file's structure is broken, for example
	// by a dying SD card.
	ErrDamaged = errors.New("the file is damaged")
	// ErrNewer is in the error of Open if a later version of the program wrote the file.
	ErrNewer = errors.New("a newer version of Watchtower wrote it")
	// ErrInUse is in the error if another process holds the file or directory.
	ErrInUse = errors.New("another gateway uses this data directory")
)

// Kind describes what a file holds.
type Kind struct {
	What   string   // for the log, as in "senders not written"
	Tables [][]byte // the buckets that must exist; others may
	// Format is the version of the rows' meaning. It rises whenever an older version of
	// the program would misunderstand them, and whenever a table is added: in a file of
	// the same format, a missing table is damage.
	Format int
}

// formatBucket holds the format under formatKey. Early files of format 1 do not have it.
var formatBucket, formatKey = []byte("format"), []byte("format")

// File is an open file. Its methods may be called from any goroutine.
type File struct {
	kind  Kind
	db    *bbolt.DB
	log   *logrus.Logger
	fresh bool

	health *health
}

// Open opens a file, or creates it with mode 0600. If another process holds it, Open gives
// up within a second. It reads the whole file once to check it. It writes only if the
// file, a table or the format is missing. On a full disk it opens an existing file, which
// is not healthy then.
func Open(path string, kind Kind, log *logrus.Logger) (*File, error) {
	fresh, err := Missing(path)
	if err != nil {
		return nil, err
	}
	if !fresh {
		oneBad, err := examine(path, func(*bbolt.Tx) error { return nil })
		if err != nil {
			return nil, err
		}
		if oneBad {
			log.WithField("file", path).Warn("one of the two heads of a file is damaged: what was last written to it may be missing")
		}
	}
	f := &File{kind: kind, log: log, fresh: fresh, health: newHealth()}
	if f.db, err = open(path, false); err != nil {
		return nil, err
	}
	if err := f.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}

// Missing reports whether there is no file, or an empty one.
func Missing(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	return err == nil && info.Size() == 0, err
}

// Inspect checks a file as Open does, and calls fn in a transaction that reads. It writes
// nothing.
func Inspect(path string, fn func(*bbolt.Tx) error) error {
	_, err := examine(path, fn)
	return err
}

// examine checks a file while nobody writes to it, and calls fn. OneBad is that of check.
// If another gateway opens the file after examine, it still leaves a whole file.
func examine(path string, fn func(*bbolt.Tx) error) (oneBad bool, err error) {
	db, err := open(path, true)
	if err != nil {
		return false, err
	}
	defer func() { _ = db.Close() }() // opened for reading: nothing to lose
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	if oneBad, err = check(file, info.Size()); err == nil {
		err = guarded(func() error { return db.View(fn) })
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return oneBad, nil
}

func open(path string, readOnly bool) (db *bbolt.DB, err error) {
	err = guarded(func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockPatience, FreelistType: bbolt.FreelistMapType, ReadOnly: readOnly})
		return err
	})
	var system syscall.Errno // says that the file cannot be opened, not that it is damaged
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, inUse(path)
	case errors.As(err, &system) && (errors.Is(err, fs.ErrPermission) || system == syscall.EROFS):
		return nil, fmt.Errorf("%w: the user that runs the gateway must be able to read and write it", err)
	case errors.As(err, &system), isDamage(err):
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
}

func inUse(path string) error {
	return fmt.Errorf("%w (%s is locked): stop it, or give this one its own with --data-dir", ErrInUse, path)
}

func isDamage(err error) bool { return errors.Is(err, ErrDamaged) }

// prepare checks the format and the tables of a file. It creates missing ones in a file
// that is new or of an older format.
func (f *File) prepare() error {
	format, marked, missing := 1, false, [][]byte(nil)
	err := f.View(func(tx *bbolt.Tx) (err error) {
		if b := tx.Bucket(formatBucket); b != nil {
			marked = true
			if format, err = strconv.Atoi(string(b.Get(formatKey))); err != nil || format < 1 {
				return damaged("its format is %q", b.Get(formatKey))
			}
		}
		for _, name := range f.kind.Tables {
			if tx.Bucket(name) == nil {
				missing = append(missing, name)
			}
		}
		return nil
	})
	marked = marked && format == f.kind.Format
	switch {
	case err != nil:
		return err
	case format > f.kind.Format:
		return fmt.Errorf("%w (its format is %d, this one knows %d): run that version", ErrNewer, format, f.kind.Format)
	case marked && len(missing) > 0:
		return damaged("its table %q is missing", missing[0])
	case marked:
		return nil
	}
	err = f.Update(func(tx *bbolt.Tx) error {
		for _, name := range append(missing, formatBucket) {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(formatBucket).Put(formatKey, []byte(strconv.Itoa(f.kind.Format)))
	})
	if err != nil && len(missing) == 0 && !isDamage(err) {
		return nil // the disk is full: the file can be used without a format
	}
	if err != nil || !f.fresh {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(f.Path()))
}

// Fresh reports whether the file was missing or empty before Open.
func (f *File) Fresh() bool { return f.fresh }

// Path returns the path of the file.
func (f *File) Path() string { return f.db.Path() }

// Close closes the file. Later calls fail with ErrDatabaseNotOpen.
func (f *File) Close() error {
	f.health.stop()
	return f.db.Close()
}

// View calls fn in a transaction that reads.
func (f *File) View(fn func(*bbolt.Tx) error) error {
	return guarded(func() error { return f.db.View(fn) })
}

// Update calls fn in a transaction that writes, and returns once that is on disk.
func (f *File) Update(fn func(*bbolt.Tx) error) error {
	var own error
	err := guarded(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error { own = fn(tx); return own })
	})
	switch {
	case err == nil:
		f.written()
	case isDamage(err) || own == nil && !errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		f.notWritten(err)
	}
	return err
}

// Each calls each for every row of a table, in the order of their keys. Each may keep the
// slices.
func (f *File) Each(table []byte, each func(key, value []byte) error) error {
	callers := false // true while each runs: its panics do not mean damage
	return guardedBut(&callers, func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket(table)
			if b == nil {
				return damaged("its table %q is missing", table)
			}
			return b.ForEach(func(k, v []byte) error {
				both := slices.Concat(k, v) // bbolt's own are valid only in the transaction
				k, v = both[:len(k):len(k)], both[len(k):]
				callers = true
				err := each(k, v)
				callers = false
				return err
			})
		})
	})
}

// guarded calls do, and turns two faults into an ErrDamaged: a panic of bbolt at a broken
// page, and a memory fault at a page that is beyond the file or that the disk cannot read.
func guarded(do func() error) error { return guardedBut(new(bool), do) }

// guardedBut does the same, but lets panics pass while callers is true.
func guardedBut(callers *bool, do func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			if *callers {
				panic(p)
			}
			err = damaged("%v", p)
		}
	}()
	return do()
}
