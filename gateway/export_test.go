package gateway

import (
	"errors"

	"watchtower/bridge"
)

// BreakBus makes the bus refuse every message, before the gateway is served.
func (g *Gateway) BreakBus() { g.hub.SetBus(brokenBus{g.broker}) }

type brokenBus struct{ bridge.Bus }

func (brokenBus) Publish(*bridge.Message) error { return errors.New("the bus is broken") }
