//go:build !race

// Only one goroutine runs: the race detector has nothing to find.

package mqtt

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// covers and overlap agree for filters and for the topics that these match.
func TestFiltersAreSetsOfTopics(t *testing.T) {
	t.Parallel()
	levels := []string{"", "a", "b", "$x"}
	var topics [][]string
	for _, one := range levels {
		topics = append(topics, []string{one})
		for _, two := range levels {
			topics = append(topics, []string{one, two})
			for _, three := range levels {
				topics = append(topics, []string{one, two, three})
				for _, four := range levels {
					topics = append(topics, []string{one, two, three, four})
				}
			}
		}
	}
	filter := func() []string {
		var f []string
		for range 1 + rand.IntN(3) {
			f = append(f, []string{"", "a", "b", "+", "+", "$x"}[rand.IntN(6)])
		}
		if rand.IntN(3) == 0 {
			f = append(f, "#")
		}
		return f
	}
	for range 20000 {
		p, f := filter(), filter()
		both, outside := false, false
		for _, topic := range topics {
			inP, inF := covers(p, topic), covers(f, topic)
			both = both || inP && inF
			outside = outside || inF && !inP
		}
		what := fmt.Sprintf("%q and %q", strings.Join(p, "/"), strings.Join(f, "/"))
		assert.Equal(t, both, overlap(p, f), "overlap of %s", what)
		if covers(p, f) {
			assert.False(t, outside, "%s covers", what)
		}
	}
}
