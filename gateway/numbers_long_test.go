//go:build long

package gateway_test

import "testing"

// What make test does some hundred times is done some thousand times here.

func TestLongAThousandCommandsAtThirtyPercentLoss(t *testing.T) { overABadRadio(t, 1000) }
func TestLongTenThousandConnects(t *testing.T)                  { comeAndGo(t, 10_000) }
func TestLongAThousandHangingReceivers(t *testing.T)            { hangingReceivers(t, 10) }
