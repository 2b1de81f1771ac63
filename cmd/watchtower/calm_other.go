//go:build !linux

package main

import (
	"context"
	"time"
)

// calm does nothing on this system.
func calm(context.Context, time.Duration) {}
