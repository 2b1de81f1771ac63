package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"watchtower/ticker"
)

// A gateway rests in a second in which it allocates no more than restBytes, which is some ten messages.
// To give memory back takes a collection of garbage. It is worth one if worthBytes were allocated since the
// last time: at rest that is a minute or more.
const (
	lookEvery  = time.Second
	restBytes  = 8 << 10
	worthBytes = 512 << 10
)

// calm gives back memory that is not needed any more, as soon as the gateway rests: after the start, after a load,
// and after many have connected.
func calm(ctx context.Context) {
	look := ticker.New(lookEvery)
	defer look.Stop()
	var was rest
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			if was.over(allocated()) {
				giveBack()
			}
			look.Next()
		}
	}
}

// rest notices that the gateway rests.
type rest struct {
	seen  uint64 // allocated until it last looked, in bytes
	given uint64 // allocated until memory was last given back
}

// over reports whether memory should be given back now: all bytes that were allocated so far say so.
func (r *rest) over(all uint64) bool {
	grown := all - r.seen
	r.seen = all
	if grown > restBytes || all-r.given < worthBytes {
		return false
	}
	r.given = all
	return true
}

// allocated returns how many bytes the program has allocated so far.
func allocated() uint64 {
	read := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(read)
	return read[0].Value.Uint64()
}

// giveBack gives back what is garbage, and the program's code.
func giveBack() {
	debug.FreeOSMemory()
	dropCode()
}
