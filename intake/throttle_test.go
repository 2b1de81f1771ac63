package intake

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestNobodySilencesTheLogForOthers(t *testing.T) {
	th := NewThrottle(time.Minute)
	now := time.Unix(1e9, 0)
	through := func(who, what string) bool { return th.Allow(who, what, now) }
	assert.True(t, through("a", "x"))
	assert.False(t, through("a", "x"), "once a minute")
	n := 1
	for i := range 5000 {
		if through("a", fmt.Sprint(i)) {
			n++
		}
	}
	assert.Equal(t, throttleOfOne, n)
	assert.True(t, through("b", "x"))
	for i := range 2 * throttleEvents {
		through(fmt.Sprint("many", i), "x")
	}
	assert.Len(t, th.last, throttleEvents, "it is bounded")
	now = now.Add(time.Minute)
	assert.True(t, through("a", "x"))
	assert.True(t, through("c", "y"))
	assert.False(t, through("c", "y"))
	assert.Less(t, len(th.last), throttleEvents, "what is long ago is forgotten")
	assert.LessOrEqual(t, len(th.of), len(th.last))
}
