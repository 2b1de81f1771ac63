//go:build !race

package session_test

import "testing"

func TestAHundredThousandSessions(t *testing.T) { manySessions(t, 100_000) }
