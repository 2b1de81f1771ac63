package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"watchtower/atomicfile"
)

// Aside is a name beside a file that says why and when it was given, and that is free.
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

// SetAside gives a file such a name, and returns it. It is so also after a power cut.
func SetAside(path, why string) (aside string, err error) {
	aside = Aside(path, why)
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	return aside, atomicfile.SyncDir(filepath.Dir(path))
}

// LockDir keeps other gateways, and whatever else changes all files of a data
// directory at once, out of it until release is called. Where the system cannot lock
// a directory the locks of the files have to do.
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
