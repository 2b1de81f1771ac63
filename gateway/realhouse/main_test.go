//go:build homeassistant

package realhouse

import (
	"testing"

	"go.uber.org/goleak"

	"watchtower/internal/harness/house"
)

// all runs the tests, and ends the Home Assistant that they share.
type all struct{ *testing.M }

func (a all) Run() int {
	defer house.Close()
	return a.M.Run()
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(all{m})
}
