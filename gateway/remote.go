package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"watchtower/bridge"
	"watchtower/channelmap"
	"watchtower/cluster"
	"watchtower/config"
	"watchtower/homeassistant"
	"watchtower/http"
	"watchtower/mqtt/remote"
)

// newRemote makes what puts the channels on a broker that is not the gateway's.
func newRemote(g *Gateway) (_ Server, _ []Port, err error) {
	if g.cfg.MQTT.Remote.URL == "" {
		return nil, nil, nil
	}
	slot, err := g.remoteSlot()
	if err != nil {
		return nil, nil, err
	}
	o := remote.Options{MQTT: g.cfg.MQTT, Limits: g.cfg.Limits, Own: g.broker, Key: g.secrets.key, Slot: slot}
	o.Memory = func(key string) remote.Memory { return g.store.Document("remote_filters_" + key) }
	if g.remote, err = remote.New(g.hub, o, g.log); err != nil {
		return nil, nil, err
	}
	return remoteServer{g.remote, g}, nil, nil
}

// remoteServer chooses another slot for the next start if this one is another gateway's.
type remoteServer struct {
	*remote.Bus
	g *Gateway
}

// Serve implements Server.
func (s remoteServer) Serve(ctx context.Context) error {
	err := s.Bus.Serve(ctx)
	if errors.Is(err, cluster.ErrRival) {
		if e := s.g.store.Document(slotDocument).Save([]byte{freeSlot()}); e != nil {
			err = errors.Join(err, fmt.Errorf("data_dir: %w", e))
		}
		err = fmt.Errorf("another gateway at the broker happens to have this one's number; at its next start this one has another: %w", err)
	}
	return err
}

// slotDocument is where the gateway's number among those at a foreign broker is kept.
const slotDocument = "remote_slot"

func freeSlot() byte { return byte(1 + bridge.RandomUint32()%255) }

// firstSlot is a gateway's number at its first start: its name's, so that gateways which happen to have
// one number are found at the first try and not now and then.
func (g *Gateway) firstSlot() []byte {
	h := fnv.New32a()
	_, _ = h.Write([]byte(g.name)) // never fails
	return []byte{byte(1 + h.Sum32()%255)}
}

func (g *Gateway) remoteSlot() (bridge.Slot, error) {
	b, err := g.store.Meta(slotDocument, g.firstSlot)
	if err != nil || len(b) != 1 || b[0] == 0 {
		return 0, fmt.Errorf("data_dir: the gateway's number at the foreign broker cannot be read: %w", err)
	}
	return bridge.Slot(b[0]), nil
}

// remoteIDs gives the hub its number among the gateways at a foreign broker, and makes the ids of
// names the same at all that have one secret key.
func (g *Gateway) remoteIDs(o *bridge.Options) error {
	if g.cfg.MQTT.Remote.URL == "" {
		return nil
	}
	var err error
	if o.Slot, err = g.remoteSlot(); err != nil {
		return err
	}
	if g.secrets.key == "" {
		return nil
	}
	mac := hmac.New(sha256.New, []byte(g.secrets.key))
	mac.Write([]byte("watchtower ids of names"))
	o.IDKey = mac.Sum(nil)
	return nil
}

// foreign is the foreign broker for HTTP; nil: there is none.
func (g *Gateway) foreign() http.Foreign {
	if g.remote == nil {
		return nil
	}
	return g.remote
}

// foreignFault is why the channels are not at the foreign broker just now, or nil.
func (g *Gateway) foreignFault() error {
	if g.remote == nil {
		return nil
	}
	return g.remote.Healthy()
}

// remoteTopics are the topics of others at the foreign broker, as channels are mapped to them.
type remoteTopics struct{ *remote.Topics }

// Listen implements channelmap.Tree.
func (t remoteTopics) Listen(filters []channelmap.Filter) {
	var all []remote.Filter
	for _, f := range filters {
		all = append(all, remote.Filter{Topic: f.Topic, QoS: f.QoS, Retained: f.Retained})
	}
	t.Topics.Listen(all)
}

// bothTrees are two trees as one: the devices of a map may be at either.
type bothTrees [2]channelmap.Tree

// Listen implements channelmap.Tree.
func (b bothTrees) Listen(filters []channelmap.Filter) {
	for _, t := range b {
		t.Listen(filters)
	}
}

// Publish implements channelmap.Tree.
func (b bothTrees) Publish(topic string, payload []byte, qos byte, retain bool) error {
	return errors.Join(b[0].Publish(topic, payload, qos, retain), b[1].Publish(topic, payload, qos, retain))
}

// ownNames are the names of the gateway's own senders.
func (g *Gateway) ownNames() []string {
	names := []string{channelmap.SenderName, homeassistant.VoiceName(g.name), homeassistant.VoiceName(g.knownAs())}
	if g.cfg.MQTT.Remote.URL != "" {
		names = append(names, remote.HouseName)
	}
	return names
}

// houseBus is where Home Assistant is: at the gateway's own broker, and at the foreign one if
// there is one.
func (g *Gateway) houseBus() homeassistant.Bus {
	if g.remote == nil {
		return g.broker
	}
	return g.remote.House(g.broker, g.cfg.HomeAssistant.DiscoveryPrefix, slices.Collect(maps.Keys(houseNames(g.cfg))))
}

// RemoteReport is what a foreign broker does, and the access rules by which nobody speaks there
// as another, by broker.
type RemoteReport struct {
	remote.Report
	Rules map[string]string `json:"rules"`
}

// ErrRemoteAway is an error of CheckRemote: nothing answers there.
var ErrRemoteAway = remote.ErrAway

// CheckRemote tries the broker of mqtt.remote.url.
func CheckRemote(ctx context.Context, cfg config.Config) (r RemoteReport, err error) {
	r.Rules = remote.Rules(cfg.MQTT.BaseTopic, cfg.MQTT.Remote.User, cfg.HomeAssistant.DiscoveryPrefix)
	name := cfg.Gateway.Name
	if name == "" {
		name = "check"
	}
	discovery := ""
	if len(houseNames(cfg)) > 0 {
		discovery = cfg.HomeAssistant.DiscoveryPrefix
	}
	r.Report, err = remote.Check(ctx, cfg.MQTT, name, discovery)
	return r, err
}
