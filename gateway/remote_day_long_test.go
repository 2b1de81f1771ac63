//go:build long

package gateway_test

import (
	"strings"
	"testing"
)

// A day's life, with restarts in every order.
func TestLongDaysAtAForeignBroker(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	d.lives("the start")
	var orders func(before, left []string)
	orders = func(before, left []string) {
		if len(left) == 0 {
			for _, what := range before {
				d.restart(what)
			}
			d.lives(strings.Join(before, ", "))
		}
		for i, what := range left {
			rest := append(append([]string{}, left[:i]...), left[i+1:]...)
			orders(append(append([]string{}, before...), what), rest)
		}
	}
	orders(nil, []string{"the broker", "the gateway", "Home Assistant", "zigbee2mqtt"})
}
