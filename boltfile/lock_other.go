//go:build !unix || solaris || aix

package boltfile

import (
	"errors"
	"os"
)

func lock(*os.File) (free bool, err error) { return false, errors.ErrUnsupported }
