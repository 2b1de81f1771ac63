package gateway

import (
	"encoding/json"

	"watchtower/bridge"
)

// What is half confirmed is in memory only. The store has the channels, so that the start
// after a crash can say that it was forgotten.

func (g *Gateway) keepHalfConfirmed(on []bridge.Channel) {
	text, err := json.Marshal(on)
	if err == nil {
		err = g.store.Document("half_confirmed").Save(text)
	}
	if err != nil {
		g.log.WithError(err).Warn("the channels with half confirmed messages were not written")
	}
}

// tellForgotten tells of what an earlier run that was killed has forgotten.
func (g *Gateway) tellForgotten() {
	text, err := g.store.Document("half_confirmed").Load()
	if err != nil || len(text) == 0 {
		return // nothing was half confirmed ever, or the store is closed
	}
	var on []bridge.Channel
	if json.Unmarshal(text, &on) != nil || len(on) == 0 {
		return
	}
	g.logForgotten(on)
	g.hub.Directory().TellForgotten(on)
	g.keepHalfConfirmed(nil)
}

// forgetHalfConfirmed forgets what is half confirmed, because the gateway stops.
func (g *Gateway) forgetHalfConfirmed() {
	if on := g.hub.Directory().ForgetHalfConfirmed(); len(on) > 0 {
		g.logForgotten(on)
	}
}

func (g *Gateway) logForgotten(on []bridge.Channel) {
	g.log.WithField("channels", on).Warn("messages that were half confirmed are forgotten: they have to be said again")
}
