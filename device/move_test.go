package device

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Two challenges that somebody recorded, sent again and again, do not carry the numbers so far
// that the gateway forgets an unanswered request.
func TestReplayedChallenges(t *testing.T) {
	c := &Client{}
	s := &live{seq: 1, pending: map[uint32]*pending{1: {seq: 1, moved: make(chan struct{}, 1)}}}
	for range 100 {
		c.prove(s, []byte("recorded"))
		c.prove(s, []byte("yeslater"))
	}
	assert.EqualValues(t, numbersKnown, s.seq)
}
