package harness

import (
	"runtime"
	"testing"
)

// Alone fails a test that runs beside others, because it measures what all of this process
// holds: t.Setenv panics in such a test.
func Alone(t testing.TB) {
	t.Helper()
	t.Setenv("WATCHTOWER_TEST_RUNS_ALONE", "yes")
}

// Heap returns the bytes of this process's heap that are alive. The test runs alone.
func Heap(t testing.TB) int {
	t.Helper()
	Alone(t)
	runtime.GC()
	runtime.GC() // what pools held is gone
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
