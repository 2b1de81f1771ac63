package gateway

import (
	"context"
	"fmt"
	"maps"
	"net"
	nethttp "net/http"

	"watchtower/callback"
	"watchtower/config"
	"watchtower/history"
	"watchtower/homeassistant"
	"watchtower/http"
	"watchtower/irc"
	"watchtower/mdns"
	"watchtower/mqtt"
	"watchtower/sdk"
	"watchtower/static"
	"watchtower/tcp"
	"watchtower/udp"
)

// Server is what every protocol implements. Serve returns when every goroutine that it
// started has ended. After Quiesce it takes no more requests, but still delivers messages.
type Server interface {
	Serve(ctx context.Context) error
	Quiesce(ctx context.Context)
}

// Port is one address that a protocol listens on.
type Port struct {
	Key     string // in logs and the info topic: mqtts
	Name    string // for people: MQTT over TLS
	URL     bool   // its address is shown as KEY://HOST:PORT
	Setting string // mqtt.tls_listen
	Listen  string // host:port as configured; empty: off
	Bind    func() error
	Addr    func() net.Addr // once it is bound
}

// Protocol describes a protocol that the gateway speaks. docs/ARCHITECTURE.md has the
// recipe.
type Protocol struct {
	Section string // of the configuration
	// New makes the server and its ports, and starts nothing. A nil server means that the
	// protocol is off.
	New func(*Gateway) (Server, []Port, error)
}

// protocols lists what the gateway speaks, in the order in which they start. The first is
// the bus.
func protocols() []Protocol {
	return []Protocol{
		{"mqtt", newMQTT},
		{"mqtt.remote", newRemote},
		{"homeassistant", newHomeAssistant},
		{"channels", newMaps},
		{"tcp", newTCP},
		{"udp", newUDP},
		{"history", newHistory},
		{"irc", newIRC},
		{"callbacks", newCallbacks},
		{"http", newHTTP},
		{"mdns", newMDNS},
		{"cluster", newCluster},
	}
}

// speak makes the parts of all protocols that are on.
func (g *Gateway) speak() error {
	for _, p := range append(protocols(), g.more...) {
		server, ports, err := p.New(g)
		if err != nil {
			return err
		}
		if server == nil {
			continue
		}
		made := &part{section: p.Section, server: server}
		for _, o := range ports {
			if o.Listen != "" {
				made.ports = append(made.ports, &port{Port: o})
			}
		}
		g.parts = append(g.parts, made)
	}
	return nil
}

func newMQTT(g *Gateway) (_ Server, _ []Port, err error) {
	if g.broker, err = mqtt.New(g.hub, g.mqttOptions(g.secure), g.log); err != nil {
		return nil, nil, err
	}
	g.hub.SetBus(g.broker)
	ports := []Port{{"mqtt", "MQTT", true, "mqtt.listen", g.cfg.MQTT.Listen, g.broker.Listen, g.broker.Addr}}
	if g.secure != nil {
		ports = append(ports, Port{"mqtts", "MQTT over TLS", true, "mqtt.tls_listen", g.cfg.MQTT.TLSListen, g.broker.ListenTLS, g.broker.TLSAddr})
	}
	return g.broker, ports, nil
}

func newHomeAssistant(g *Gateway) (_ Server, _ []Port, err error) {
	if g.space != nil && g.remote == nil {
		shared := homeassistant.NewShared(g.hub, g.space.tree, g.broker, g.store.Document("homeassistant"), g.space.leases, g.homeAssistantOptions(), g.log)
		g.house = shared
		tree := g.space.tree
		g.broker.ShareOwn(g.discovery()+"/", g.discovery()+"_", tree.HomeAssistants(), tree.Refused())
		return shared, nil, nil
	}
	g.house, err = homeassistant.New(g.hub, g.houseBus(), g.store.Document("homeassistant"), g.homeAssistantOptions(), g.log)
	if err != nil {
		return nil, nil, fmt.Errorf("data_dir: %w", err)
	}
	return g.house, nil, nil
}

func newTCP(g *Gateway) (Server, []Port, error) {
	if g.cfg.TCP.Listen == "" {
		return nil, nil, nil
	}
	s := tcp.New(g.hub, g.tcpOptions(), g.log)
	return s, []Port{{"tcp", "TCP", false, "tcp.listen", g.cfg.TCP.Listen, s.Listen, s.Addr}}, nil
}

func newUDP(g *Gateway) (Server, []Port, error) {
	if g.cfg.UDP.Listen == "" {
		return nil, nil, nil
	}
	s := udp.New(g.hub, g.udpOptions(), g.log)
	return s, []Port{{"udp", "UDP", false, "udp.listen", g.cfg.UDP.Listen, s.Listen, s.Addr}}, nil
}

func newIRC(g *Gateway) (Server, []Port, error) {
	if g.cfg.IRC.Listen == "" && (g.cfg.IRC.TLSListen == "" || g.secure == nil) {
		return nil, nil, nil
	}
	s := irc.New(g.hub, g.ircOptions(), g.log)
	ports := []Port{{"irc", "IRC", true, "irc.listen", g.cfg.IRC.Listen, s.Listen, s.Addr}}
	if g.secure != nil {
		ports = append(ports, Port{"ircs", "IRC over TLS", true, "irc.tls_listen", g.cfg.IRC.TLSListen, s.ListenTLS, s.TLSAddr})
	}
	return s, ports, nil
}

func newHistory(g *Gateway) (Server, []Port, error) {
	g.past = history.New(g.hub, g.historyOptions(), g.log)
	if g.space != nil {
		g.broker.FillFrom(g.pastOf)
	}
	return g.past, nil, nil
}

func newCallbacks(g *Gateway) (_ Server, _ []Port, err error) {
	if g.callbacks, err = callback.New(g.hub, g.past, g.callbackOptions(), g.log); err != nil {
		return nil, nil, err
	}
	return g.callbacks, nil, nil
}

// publicFiles returns what serves the files that need no key, by path.
func publicFiles() (map[string]nethttp.Handler, error) {
	modules, err := sdk.Handlers()
	if err != nil {
		return nil, err
	}
	blueprints, err := homeassistant.Handlers()
	if err != nil {
		return nil, err
	}
	maps.Copy(modules, blueprints)
	return modules, nil
}

// openPages opens the directory of http.pages; nil: there is none.
func openPages(cfg config.Config) (*static.Directory, error) {
	if cfg.HTTP.Pages == "" {
		return nil, nil
	}
	pages, err := static.OpenDirectory(cfg.HTTP.Pages, cfg.DataDir, cfg.TLS.Key, cfg.File())
	if err != nil {
		return nil, fmt.Errorf("http.pages: %w", err)
	}
	return pages, nil
}

func newHTTP(g *Gateway) (Server, []Port, error) {
	o := g.httpOptions(g.secure)
	var err error
	if o.Public, err = publicFiles(); err != nil {
		return nil, nil, err
	}
	pages, err := openPages(g.cfg)
	if err != nil {
		return nil, nil, err
	}
	if pages != nil {
		o.Files = pages
	}
	g.web = http.New(g.hub, g.past, g.callbacks, o, g.log)
	ports := []Port{{"http", "HTTP", true, "http.listen", g.cfg.HTTP.Listen, g.web.Listen, g.web.Addr}}
	if g.secure != nil {
		ports = append(ports, Port{"https", "HTTPS", true, "http.tls_listen", g.cfg.HTTP.TLSListen, g.web.ListenTLS, g.web.TLSAddr})
	}
	return g.web, ports, nil
}

func newMDNS(g *Gateway) (Server, []Port, error) {
	if !g.cfg.MDNS {
		return nil, nil, nil
	}
	return mdns.New(g.mdnsOptions(), g.log), nil, nil
}
