package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"watchtower/atomicfile"
)

// Aside returns a path in the same directory that no file has: path, why and the time.
func Aside(path, why string) string {
	base := path + "." + why + time.Now().Format("-20060102-150405")
	aside := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			return aside
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
}

// SetAside renames a file to its Aside and returns that. The new name survives a power
// cut.
func SetAside(path, why string) (aside string, err error) {
	aside = Aside(path, why)
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	return aside, atomicfile.SyncDir(filepath.Dir(path))
}

// LockDir locks a data directory until release is called, against other gateways and
// against commands that replace its files. If another process holds the lock, the error is
// an ErrInUse. Where the system cannot lock a directory, LockDir does nothing: only the
// locks of the files protect them.
func LockDir(dir string) (release func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for began := time.Now(); ; time.Sleep(lockPatience / 10) {
		switch free, err := lock(d); {
		case err != nil || free:
			return func() { d.Close() }, nil
		case time.Since(began) > lockPatience:
			d.Close()
			return nil, inUse(dir)
		}
	}
}
