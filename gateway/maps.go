package gateway

import (
	"errors"

	"watchtower/channelmap"
	"watchtower/config"
	"watchtower/mqtt"
)

// Maps reads the channels' maps. The error is a config.Faults.
func Maps(cfg *config.Config) (*channelmap.Maps, error) {
	all, err := channelmap.Compile(cfg.Channels)
	return all, located(cfg, err)
}

// located adds to faults where in the file they are.
func located(cfg *config.Config, err error) error {
	var faults config.Faults
	if errors.As(err, &faults) {
		for i := range faults {
			faults[i].Where = cfg.Where(faults[i].Path)
		}
	}
	return err
}

// readMaps reads the channels' maps for this gateway, whose broker may have own topics among
// those that they publish to.
func (g *Gateway) readMaps(cfg *config.Config) (*channelmap.Maps, error) {
	all, err := Maps(cfg)
	if err != nil {
		return nil, err
	}
	var faults config.Faults
	for path, topic := range all.Topics() {
		if err := g.broker.MayPublishOutside(topic); err != nil {
			faults = append(faults, config.Fault{Path: path, Problem: err.Error()})
		}
	}
	if len(faults) > 0 {
		return nil, located(cfg, faults)
	}
	return all, nil
}

func newMaps(g *Gateway) (Server, []Port, error) {
	all, err := g.readMaps(&g.cfg)
	if err != nil {
		return nil, nil, err
	}
	g.maps = channelmap.New(g.hub, all, g.log)
	topics := &clientsTopics{broker: g.broker, hear: g.maps.Hear}
	topics.ear = g.broker.Ear(g.maps.Hear)
	g.maps.Dock(topics)
	if g.remote != nil {
		g.maps.Dock(bothTrees{topics, &remoteTopics{g.remote.Topics(g.maps.Hear)}})
	}
	return g.maps, nil, nil
}

// clientsTopics are the topics of the embedded broker's clients, as channels are mapped to
// them.
type clientsTopics struct {
	broker *mqtt.Broker
	ear    *mqtt.Ear
	hear   func(topic string, payload []byte, retained bool)
	known  map[string]bool // filters; true: what is retained there was heard
}

// Listen implements channelmap.Tree.
func (t *clientsTopics) Listen(filters []channelmap.Filter) {
	var topics []string
	known := map[string]bool{}
	for _, f := range filters {
		topics = append(topics, f.Topic)
		known[f.Topic] = f.Retained
	}
	t.ear.Listen(topics)
	for _, f := range filters {
		if f.Retained && !t.known[f.Topic] {
			t.broker.EachRetained(f.Topic, func(topic string, payload []byte) { t.hear(topic, payload, true) })
		}
	}
	t.known = known
}

// Publish implements channelmap.Tree.
func (t *clientsTopics) Publish(topic string, payload []byte, qos byte, retain bool) error {
	return t.broker.PublishOutside(topic, payload, qos, retain)
}
