package cluster

import (
	"context"
	"time"
)

// A frame costs every gateway and the transport a wake-up and a write or a read, whatever is in
// it. While little is said each message goes at once. From some 5,000 messages a second on a frame
// waits for more, until one gap after the one before. From some 40,000 on several are in each frame
// anyway. It is worth it only where messages come by themselves: publishers who wait until they have
// heard what they said would only be slowed down.
const (
	gap       = 800 * time.Microsecond
	fewest    = 4          // entries in a gap, from which on frames wait
	enough    = 32         // and from which on they do not
	fullBytes = 16 << 10   // a frame with so many bytes goes at once, and so does one of entriesMost
	measured  = 4 * gap    // how long entries are counted before the next decision
	restsFor  = 1000 * gap // no frame waits for so long after that has slowed publishers down
	slowed    = 0.5        // of what was said before: frames that wait slow publishers down
)

// gather decides how long a frame waits for more. It is used by one goroutine.
type gather struct {
	sent time.Time // when the last frame was

	since time.Time // when counting began
	from  uint64    // the number of the next entry then

	on    bool
	free  float64   // entries in a gap, when frames did not wait yet
	rests time.Time // until when no frame waits
}

// wait returns how long the next frame waits. Next is the number of the next entry.
func (g *gather) wait(now time.Time, next uint64) time.Duration {
	if passed := now.Sub(g.since); passed >= measured {
		g.decide(now, float64(next-g.from)*float64(gap)/float64(passed))
		g.since, g.from = now, next
	}
	if !g.on {
		return 0
	}
	return gap - now.Sub(g.sent)
}

func (g *gather) decide(now time.Time, entries float64) {
	switch {
	case !g.on:
		g.on, g.free = entries >= fewest && entries < enough && now.After(g.rests), entries
	case entries >= enough:
		g.on = false
	case entries < g.free*slowed:
		g.on, g.rests = false, now.Add(restsFor)
	}
}

// gathers lets more come into the next frame, if that is worth it.
func (n *Node) gathers(ctx context.Context, g *gather) {
	wait := g.wait(time.Now(), n.stream.number())
	if wait <= 0 || !n.stream.hold() {
		return
	}
	defer n.stream.release()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-n.stream.wake:
	case <-t.C:
	}
}
