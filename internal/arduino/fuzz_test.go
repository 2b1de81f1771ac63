package arduino_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"watchtower/wire/frame"
)

// Whatever comes, with a right tag or a wrong one, the core neither reads nor writes outside
// of its memory: the puppets are compiled to stop if it does. Afterwards it still speaks.
func TestAnythingComes(t *testing.T) {
	t.Parallel()
	for _, options := range [][]string{nil, {"-DWT_HIDDEN=0"}, {"-DWT_SENSOR=1"}, {"-DWT_BUFFER=64"}, {"-DWT_BUFFER=1200"}} {
		anything(t, 3_000, options...)
	}
}

func anything(t *testing.T, n int, options ...string) {
	t.Helper()
	name := "whole"
	if options != nil {
		name = options[0][2:]
	}
	w := newWorld(t, puppetProgram(t, "c", name, options...), 1, 0)
	w.joined()
	dice := rand.New(rand.NewPCG(42, uint64(n)))
	seen := [][]byte{{}}
	for i := range n {
		if i%100 == 0 {
			_ = w.p.ask('b', channel, 0, 1, "hello") // may be refused: another is under way
		}
		w.now += time.Duration(dice.IntN(3000)) * time.Millisecond
		w.p.give(w.now, mutant(dice, seen))
		for _, raw := range w.p.taken() {
			if len(seen) < 200 {
				seen = append(seen, raw)
			}
			assert.LessOrEqual(t, len(raw), 1200)
		}
		w.p.over()
		w.p.heard()
	}
	// Whatever it believes now, it finds back.
	assert.True(t, w.pass(20*time.Minute, func() bool {
		if slices.Contains(w.p.dones, done{'b', 0}) {
			return true
		}
		if slices.Contains(w.p.over(), done{'r', 0}) {
			_ = w.p.ask('j', channel, 0, 1, "") // wt_done's part
		}
		_ = w.p.ask('b', channel, 0, 1, "still there") // until one succeeds
		return false
	}))
}

// mutant is a datagram of random bytes, or something like a frame, with a tag of the device's
// key or none.
func mutant(dice *rand.Rand, seen [][]byte) []byte {
	raw := slices.Clone(seen[dice.IntN(len(seen))])
	switch dice.IntN(4) {
	case 0:
		raw = make([]byte, dice.IntN(1250))
		for i := range raw {
			raw[i] = byte(dice.Uint32())
		}
	case 1:
		ops := "acemqkrbj"
		body := make([]byte, dice.IntN(80))
		for i := range body {
			body[i] = byte(dice.Uint32()) & 3
		}
		if len(body) > 0 && dice.IntN(2) == 0 {
			body[0] = 'r'
		}
		raw = frame.Append(nil, frame.Frame{Op: frame.Op(ops[dice.IntN(len(ops))]), Flags: byte(dice.Uint32()), ID: dice.Uint32N(3), Seq: dice.Uint32N(5), Body: body}, puppetKey)
	case 2:
		if len(raw) > 0 {
			raw[0] = "acemq"[dice.IntN(5)]
		}
	}
	for range dice.IntN(3) {
		if len(raw) > 0 {
			raw[dice.IntN(len(raw))] ^= 1 << dice.IntN(8)
		}
	}
	if dice.IntN(8) == 0 && len(raw) > 0 {
		raw = raw[:dice.IntN(len(raw))]
	}
	return raw
}
