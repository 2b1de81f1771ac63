package gateway

import (
	"errors"
	"time"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/intake"
	"watchtower/mqtt"
)

// Hasten shortens the waits between messages to Home Assistant.
func Hasten(g *Gateway) {
	g.pace.Every, g.pace.Settle, g.pace.Spread = 20*time.Millisecond, 400*time.Millisecond, time.Millisecond
}

// Retained returns a topic's retained message.
func (g *Gateway) Retained(topic string) []byte { return g.broker.Retained(topic) }

// BreakBus makes the bus refuse every message, before the gateway is served.
func (g *Gateway) BreakBus() { g.hub.SetBus(brokenBus{g.broker}) }

type brokenBus struct{ bridge.Bus }

func (brokenBus) Publish(*bridge.Message) error { return errors.New("the bus is broken") }

// Rate counts messages a minute.
type Rate = rate

// PerMinute is perMinute.
func (r *rate) PerMinute(count uint64, now time.Time) int { return r.perMinute(count, now) }

// Speaking has a gateway speak one more protocol.
func Speaking(p Protocol) Option { return func(g *Gateway) { g.more = append(g.more, p) } }

// The gateway's parts.
func (g *Gateway) Hub() *bridge.Hub       { return g.hub }
func (g *Gateway) Gate() *auth.Gate       { return g.gate }
func (g *Gateway) Intake() *intake.Intake { return g.intake }
func (g *Gateway) MQTTStats() mqtt.Stats  { return g.broker.Stats() }
