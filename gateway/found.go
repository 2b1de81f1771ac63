package gateway

import (
	"fmt"
	"net/netip"

	"watchtower/mdns"
)

// announced are the services of the gateway's ports, by the ports' keys.
var announced = map[string]string{
	"udp": "_watchtower._udp", "tcp": "_watchtower._tcp",
	"mqtt": "_mqtt._tcp", "mqtts": "_secure-mqtt._tcp",
	"http": "_http._tcp", "https": "_https._tcp",
}

// mdnsOptions say how the gateway is announced in the local network. Its id tells gateways
// apart that have one name.
func (g *Gateway) mdnsOptions() mdns.Options {
	return mdns.Options{
		Name: "Watchtower " + g.name, Host: fmt.Sprintf("watchtower-%08x", g.id),
		Text:     []string{"name=" + g.name, "version=" + Version, fmt.Sprintf("id=%08x", g.id)},
		Services: g.services,
	}
}

// services lists what is announced: each bound port.
func (g *Gateway) services() (all []mdns.Service) {
	for _, b := range g.Listening() {
		at, err := netip.ParseAddrPort(b.Address)
		if err != nil || announced[b.Key] == "" {
			continue
		}
		s := mdns.Service{Type: announced[b.Key], Listen: at}
		if b.Key == "http" || b.Key == "https" {
			s.Text = []string{"path=/"}
		}
		all = append(all, s)
	}
	return all
}
