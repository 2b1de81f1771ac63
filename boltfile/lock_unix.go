//go:build unix && !solaris && !aix

package boltfile

import (
	"errors"
	"os"
	"syscall"
)

// lock locks a directory until it is closed, and reports whether it was free.
func lock(d *os.File) (free bool, err error) {
	err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
