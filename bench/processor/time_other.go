//go:build !linux

package processor

import (
	"errors"
	"time"
)

// Time returns an error: only Linux tells the processor time of another process.
func Time(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
