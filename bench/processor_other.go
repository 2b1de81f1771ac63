//go:build !linux

package bench

import (
	"errors"
	"time"
)

// processor is not known of another process.
func processor(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
