package gateway

import (
	"watchtower/mqtt/remote"
)

// newRemote makes what puts the channels on a broker that is not the gateway's.
func newRemote(g *Gateway) (_ Server, _ []Port, err error) {
	if g.cfg.MQTT.Remote.URL == "" {
		return nil, nil, nil
	}
	if g.remote, err = remote.New(g.hub, remote.Options{MQTT: g.cfg.MQTT, Limits: g.cfg.Limits, Own: g.broker, Key: g.secrets.key}, g.log); err != nil {
		return nil, nil, err
	}
	return g.remote, nil, nil
}

// remoteFault says why the channels are not at the foreign broker just now, though they should.
// Nil: they are, or there is none.
func (g *Gateway) remoteFault() error {
	if g.remote == nil {
		return nil
	}
	return g.remote.Healthy()
}
