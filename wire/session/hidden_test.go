package session_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire/frame"
)

// hidden is a registration whose device acknowledges, and has its bodies hidden.
func hidden(r *frame.Registration) { r.Options = frame.Acknowledge | frame.Hidden }

// Nothing of a body is seen by who listens, and what is repeated is the same to the byte.
func TestHiddenBodies(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	lamp, plain := b.register(alice, hidden), b.register(bob, nil)
	lamp.must(frame.Join, ids(7))
	plain.must(frame.Join, ids(7))
	const text = "a text that is long enough to be found"
	raw := lamp.frame(frame.Broadcast, frame.AckWanted, broadcast(text, 7))
	require.False(t, bytes.Contains(raw, []byte(text[:8])))
	got := b.handle(alice, append([]byte(nil), raw...))
	require.Equal(t, 3, len(got))
	for _, s := range got {
		switch {
		case s.to == bob:
			require.True(t, bytes.Contains(s.raw, []byte(text)), "the same message, to who asked for nothing")
			continue
		case s.Op == frame.Answer:
			require.NotEqual(t, byte(frame.Broadcast), s.Body[0])
		default:
			require.False(t, bytes.Contains(s.raw, []byte(text[:8])))
		}
		require.False(t, lamp.key.Verify(s.raw))
		require.True(t, lamp.key.Verify(lamp.hide(append([]byte(nil), s.raw...))))
	}
	again := b.handle(alice, append([]byte(nil), raw...))
	require.Equal(t, "a", ops(again), "executed once")
	first := got[0].raw
	if got[0].Op != frame.Answer || got[0].to == bob {
		first = got[1].raw
	}
	if frame.Op(first[0]) != frame.Answer {
		first = got[2].raw
	}
	assert.Equal(t, first, again[0].raw)
	late := b.pass(time.Second)
	require.Equal(t, "m", ops(late))
	for _, s := range got {
		if s.to == alice && s.Op == frame.Delivery {
			assert.Equal(t, s.raw, late[0].raw)
		}
	}
	assert.Empty(t, lamp.delivered(1))
	assert.Empty(t, b.pass(2*time.Second))
}

// Every request, refusal and challenge of a hidden session.
func TestEveryOpHidden(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	lamp := b.register(alice, hidden)
	lamp.must(frame.Join, ids(7, 300))
	assert.Equal(t, append([]byte{0}, ids(7, 300)...), lamp.must(frame.Channels, ids(0)))
	assert.Equal(t, append([]byte{0}, ids(lamp.id)...), lamp.must(frame.Members, ids(7, 0)))
	lamp.must(frame.Leave, ids(300))
	code, _ := lamp.ask(frame.Broadcast, broadcast("x", 300))
	assert.Equal(t, frame.NotJoined, code)
	code, _ = lamp.ask(frame.Join, ids(0))
	assert.Equal(t, frame.BadRequest, code)
	lamp.must(frame.Send, send("x", 7, lamp.id))
	assert.Empty(t, lamp.delivered(1))
	lamp.must(frame.Bye, seconds(600))
	lamp.must(frame.Ping, nil)

	request := lamp.frame(frame.Join, 0, ids(9))
	got := b.handle(eve, append([]byte(nil), request...))
	require.Equal(t, "q", ops(got))
	require.True(t, lamp.key.Verify(lamp.hide(got[0].raw)))
	lamp.at = eve
	lamp.must(frame.Ping, got[0].Body)
	again := b.handle(eve, request)
	require.Equal(t, "a", ops(again))
	lamp.must(frame.Bye, seconds(0))
	assert.Zero(t, b.table.Len())
}

// What an attacker makes of captured hidden frames, and of mixed options.
func TestHiddenFramesThatWereChanged(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	lamp, plain := b.register(alice, hidden), b.register(bob, nil)
	lamp.must(frame.Join, ids(7))
	raw := lamp.frame(frame.Broadcast, frame.AckWanted, broadcast("hello, all of you", 7))
	forged := 0
	for i := range raw {
		for bit := range 8 {
			changed := append([]byte(nil), raw...)
			changed[i] ^= 1 << bit
			for _, s := range b.handle(alice, changed) { // another op or id is answered by a hint
				require.Equal(t, frame.UnknownID, s.Code(), "%d.%d", i, bit)
				require.Empty(t, s.Body)
			}
			forged++
		}
	}
	assert.Equal(t, forged, b.dropped(bridge.Forged)+b.dropped(bridge.Malformed)+8*4, "of the id's 32 bits 31 or 32 are unknown")
	t.Log("a plain frame in a hidden session, and a hidden one in a plain session")
	before := b.dropped(bridge.Forged)
	assert.Empty(t, b.handle(alice, frame.Append(nil, frame.Frame{Op: frame.Join, ID: lamp.id, Seq: 90, Body: ids(9)}, lamp.key)))
	mixed := plain.frame(frame.Join, 0, ids(9))
	plain.key.Mask(mixed)
	assert.Empty(t, b.handle(bob, mixed))
	other := psk.SessionKey(0, lamp.reg.CNonce, lamp.reg.Cookie, lamp.id)
	assert.Empty(t, b.handle(alice, frame.Append(nil, frame.Frame{Op: frame.Join, ID: lamp.id, Seq: 90, Body: ids(9)}, other)), "the session key without the bit")
	assert.Equal(t, before+3, b.dropped(bridge.Forged))
	t.Log("its own frames, and the gateway's, reflected")
	got := b.handle(alice, append([]byte(nil), raw...))
	require.Len(t, got, 2)
	before = b.dropped(bridge.Malformed)
	for _, s := range got {
		assert.Empty(t, b.handle(alice, s.raw))
	}
	assert.Equal(t, before+2, b.dropped(bridge.Malformed))
	assert.Equal(t, "a", ops(b.handle(alice, raw)), "the request itself, replayed: its answer")
}

// An older gateway ignores the bit. Its answer does not verify, so the device does not
// take it for a session whose bodies are hidden.
func TestTheSessionKeysOfBothKindsDiffer(t *testing.T) {
	a := psk.SessionKey(0, [8]byte{1}, [8]byte{2}, 3)
	assert.Equal(t, a, psk.SessionKey(^frame.Hidden, [8]byte{1}, [8]byte{2}, 3))
	assert.NotEqual(t, a, psk.SessionKey(frame.Hidden, [8]byte{1}, [8]byte{2}, 3))
}
