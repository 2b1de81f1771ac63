package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

func TestMoving(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(1))
	s.say("1")
	request := l.frame(frame.Join, 0, ids(9))
	got := b.handle(eve, request)
	require.Equal(t, "q", ops(got))
	assert.Equal(t, eve, got[0].to)
	assert.Len(t, got[0].raw, 28)
	assert.Equal(t, l.seq, got[0].Seq)
	assert.True(t, l.key.Verify(got[0].raw))
	challenge := got[0].Body
	assert.Empty(t, b.handle(eve, request), "one a second")
	b.pass(time.Second)
	assert.Equal(t, "q", ops(b.handle(eve, request)))

	l.seq = 1 // an old number
	b.pass(time.Second)
	assert.Empty(t, b.handle(eve, frame.Append(nil, frame.Frame{Op: frame.Join, ID: l.id, Seq: 1, Body: ids(7)}, l.key))[1:], "the newest number gets a q and no answer")
	l.seq = 2
	wrong := l.frame(frame.Ping, 0, make([]byte, 8))
	assert.Empty(t, b.handle(eve, wrong))
	move := l.frame(frame.Ping, 0, challenge)
	elsewhere := at(5)
	assert.Empty(t, b.handle(elsewhere, move), "a challenge is good for one address")
	assert.Empty(t, b.handle(eve, l.copyOfK(1)), "no k from elsewhere")
	l.at = eve
	got = b.handle(eve, move)
	require.Equal(t, "a", ops(got))
	assert.Equal(t, eve, got[0].to)
	assert.Equal(t, "a", ops(b.handle(eve, request)), "its number was not used")
	assert.Empty(t, l.delivered(1))
	assert.Equal(t, eve, s.say("2")[0].to)
	before := b.dropped(session.Elsewhere)
	assert.Empty(t, b.handle(alice, request), "the old address is elsewhere now")
	assert.Equal(t, before+1, b.dropped(session.Elsewhere))
}

func (d *device) copyOfK(seq uint32) []byte {
	return frame.Append(nil, frame.Frame{Op: frame.Delivered, ID: d.id, Seq: seq}, d.key)
}

func TestMovingToWhereAnotherWas(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, nil)
	third := at(3)
	l.at = bob
	got := l.tell(frame.Ping, 0, l.tell(frame.Ping, 0, nil)[0].Body)
	assert.Equal(t, "a", ops(got))
	assert.Equal(t, frame.UnknownID, s.tell(frame.Ping, 0, nil)[0].Code(), "an address has one device")
	assert.Equal(t, 1, b.table.Len())
	b.pass(time.Second)
	l.at = third
	l.tell(frame.Ping, 0, l.tell(frame.Ping, 0, nil)[0].Body)
	b.register(bob, nil)
	assert.Equal(t, 2, b.table.Len())
	b.register(third, nil)
	assert.Equal(t, 2, b.table.Len())
}

func TestMovingWakes(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, nil)
	l.must(frame.Bye, seconds(3600))
	s.say("1")
	b.pass(1000 * time.Second)
	l.at = eve
	got := l.tell(frame.Ping, 0, nil)
	require.Equal(t, "q", ops(got))
	got = l.tell(frame.Ping, 0, got[0].Body)
	assert.Equal(t, "ma", ops(got))
}
