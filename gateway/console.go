package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"watchtower/bridge"
	"watchtower/history"
	"watchtower/operator"
)

// forConsole fills in what operators may see.
func (g *Gateway) forConsole(o *operator.Options) {
	started := g.hub.Now()
	o.About = func() operator.About {
		names := map[bridge.Channel]string{}
		for c, ch := range g.reloads.inForce().Channels {
			if ch.Name != "" {
				names[bridge.Channel(c)] = ch.Name
			}
		}
		return operator.About{
			Name: g.name, Version: Version, Started: started, Listeners: g.Listening().byKey(), Hosts: hostsOf(g.Listening()),
			Channels: names, BaseTopic: g.cfg.MQTT.BaseTopic,
		}
	}
	o.Ready, o.Apart, o.Foreign = g.healthy, g.apart, g.foreignFault
	o.Space = g.shownSpace
	o.Waiting = g.waiting
	o.LastOn = func(c bridge.Channel) (last *bridge.Message) {
		_ = g.past.Join(func(now history.Moment) error {
			last = now.Last(c)
			return nil
		})
		return last
	}
	o.Missed = g.missed
	o.Refusals = g.refusals
	o.Topics = topics{g}
	o.Callbacks = callbacks{g}
	o.House = g.announced
	o.Settings = g.settings
	o.Devices = devices{g}
	o.DeviceKey = func() (hex, c string) { k := g.deviceKey(); return k.Hex(), k.C() }
}

// refusals are those of the gate, as operators see them.
func (g *Gateway) refusals(since time.Time) (list []operator.Refusal) {
	for _, t := range g.gate.Wrongs(since) {
		list = append(list, operator.Refusal{Address: t.At.String(), Name: t.Name, Via: t.Via.String(), Reason: t.Why.String(), Tries: t.Count, Last: t.Last.UTC()})
	}
	return list
}

// Alive returns if the gateway can be asked something: it is not stuck. A service manager's
// watchdog may use it; whether the gateway can do its work says /health.
func (g *Gateway) Alive() { g.hub.Directory().CountMembers(1) }

// healthy says why the gateway cannot do its work just now, or nil.
func (g *Gateway) healthy() error {
	state, broker := g.store.Healthy(), g.state.Healthy()
	if state != nil && broker != nil {
		return fmt.Errorf("%w; %w", state, broker) // errors.Join makes two lines
	}
	return cmp.Or(state, broker)
}

// waiting is how many messages wait in all queues.
func (g *Gateway) waiting() (n int) {
	for _, l := range g.hub.Directory().Links() {
		n += l.Queued()
	}
	posts, _ := g.callbacks.Queued()
	return n + posts
}

var errNoSince = errors.New("is no since")

// missed returns what was broadcast on a channel since.
func (g *Gateway) missed(c bridge.Channel, text string) (messages []*bridge.Message, gap bool, err error) {
	if text == "" {
		return nil, false, nil
	}
	since, ok := history.ParseSince(text)
	if !ok {
		return nil, false, errNoSince
	}
	err = g.past.Join(func(now history.Moment) error {
		missed := now.Missed(since, []bridge.Channel{c}, nil, false)
		messages, gap = missed.Messages, len(missed.Gaps) > 0
		return nil
	})
	return messages, gap, err
}

// announced returns what Home Assistant is told.
func (g *Gateway) announced() operator.House {
	now := g.house.Snapshot()
	h := operator.House{
		Enabled: g.cfg.HomeAssistant.Enabled, Prefix: g.cfg.HomeAssistant.DiscoveryPrefix,
		Devices: []operator.HouseDevice{}, Faults: []operator.HouseProblem{},
	}
	if !now.Birth.IsZero() {
		at := now.Birth.UTC()
		h.Birth = &at
	}
	for _, d := range now.Devices {
		shown := operator.HouseDevice{Sender: d.Sender, Name: d.Name, Device: d.Device}
		for _, e := range d.Entities {
			shown.Entities = append(shown.Entities, operator.HouseEntity{
				Component: e.Component, Name: e.Name, Template: e.Template, State: operator.ShowState(e.State),
			})
		}
		h.Devices = append(h.Devices, shown)
	}
	for _, f := range now.Faults {
		h.Faults = append(h.Faults, operator.HouseProblem(f))
	}
	return h
}

// Hosts lists names and addresses by which others may reach this machine, if a port is bound
// to all of its addresses.
func (g *Gateway) Hosts() []string { return hostsOf(g.Listening()) }

// hostsOf lists names and addresses by which others may reach this machine, if a port is
// bound to all of its addresses.
func hostsOf(at Listening) (hosts []string) {
	everywhere := false
	for _, b := range at {
		host, _, _ := net.SplitHostPort(b.Address)
		ip := net.ParseIP(host)
		everywhere = everywhere || ip != nil && ip.IsUnspecified()
	}
	if !everywhere {
		return []string{}
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name, name+".local")
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, ip.IP.String())
		}
	}
	return hosts
}
