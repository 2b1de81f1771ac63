package main

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// counted is how many collections were noticed since the last load.
func (l *loads) counted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.collections
}

func TestTheEndOfALoadIsNoticed(t *testing.T) {
	l := watchLoads()
	defer l.stop()
	for l.counted() < loadLeast {
		runtime.GC()
	}
	select {
	case <-l.over:
	case <-time.After(time.Minute):
		t.Fatal("a load's end was not noticed")
	}
	for l.counted() == 0 {
		runtime.GC()
	}
	require.Eventually(t, func() bool { return l.counted() == 0 }, time.Minute, 10*time.Millisecond)
	assert.Empty(t, l.over, "a few collections are no load")
}
