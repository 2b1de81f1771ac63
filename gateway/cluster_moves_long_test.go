//go:build long

package gateway_test

import (
	"testing"
	"time"

	"watchtower/internal/harness"
)

// A thousand moves.
func TestLongASessionMovesWithItsClient(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 3, "")
	var all []*running
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, together(t, servers.URL(), name, nil))
	}
	meetAll(t, all)
	sessionsMove(t, all, movesLong, 4*time.Millisecond)
}

const movesLong = 1_000
