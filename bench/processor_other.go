//go:build !linux

package bench

import (
	"errors"
	"time"
)

// processor returns an error: only Linux tells the processor time of another process.
func processor(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
