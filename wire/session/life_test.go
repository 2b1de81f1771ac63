package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire/frame"
)

// After a second move the repeated request no longer has the newest number: that is the
// number of the p after the first move.
func TestMovingAsksForAFewBelowTheNewest(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, nil)
	frames := make([][]byte, 20)
	for i := range frames {
		frames[i] = d.frame(frame.Ping, 0, nil)
		b.handle(alice, frames[i])
	}
	for i, f := range frames {
		b.pass(2 * time.Second)
		got := b.handle(eve, f)
		if below := len(frames) - 1 - i; below > 8 {
			assert.Empty(t, got, below)
			continue
		}
		require.Equal(t, "q", ops(got))
		assert.Len(t, got[0].raw, 28)
		assert.Equal(t, uint32(i+1), got[0].Seq)
	}
	b.pass(2 * time.Second)
	challenge := b.handle(bob, frames[15])[0].Body
	d.at = bob
	assert.Equal(t, "a", ops(d.tell(frame.Ping, 0, challenge)))
	assert.Equal(t, "a", ops(b.handle(bob, frames[15])), "where it is now it has its answer")
}

// A name keeps why its last device left.
func TestWhyADeviceLeft(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, named("lamp"))
	left := func() bridge.Departure {
		info, err := b.hub.Registry().Sender(bridge.SenderID(d.id))
		require.NoError(t, err)
		return info.Left
	}
	assert.Equal(t, bridge.LeftUnnoticed, left(), "it is here")
	d.must(frame.Bye, seconds(0))
	assert.Equal(t, bridge.LeftByGoodbye, left())
	d.again()
	assert.Equal(t, bridge.LeftUnnoticed, left())
	b.pass(211 * time.Second)
	assert.Equal(t, bridge.LeftBySilence, left(), "by the timer")
	d.again()
	b.now = b.now.Add(211 * time.Second)
	d.tell(frame.Ping, 0, nil)
	assert.Equal(t, bridge.LeftBySilence, left(), "at its next frame")
}

// A device that only acknowledges is alive.
func TestAcknowledgingIsLife(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(2))
	for seq := range uint32(60) {
		require.Equal(t, "m", ops(s.say("x")), "minute %d", seq)
		b.now = b.now.Add(time.Minute)
		require.Empty(t, l.delivered(seq+1))
	}
	b.pass(209 * time.Second)
	assert.Equal(t, 2, b.table.Len())
	b.pass(2 * time.Second)
	assert.Equal(t, 1, b.table.Len(), "and no longer than 3.5 keep-alives")
	l.again()
	l.must(frame.Join, ids(7))
	s.say("x")
	l.delivered(1)
	for range 6 { // a k that acknowledges nothing does not keep the session alive
		b.pass(40 * time.Second)
		l.delivered(1)
		l.delivered(2)
	}
	assert.Equal(t, 1, b.table.Len())
	l.again()
	l.must(frame.Join, ids(7))
	s.say("x")
	l.must(frame.Bye, seconds(600))
	l.delivered(1)
	assert.Empty(t, s.say("y"), "a late k does not wake it")
	b.pass(599 * time.Second)
	assert.Equal(t, 2, b.table.Len(), "nor shorten its sleep")
}
