package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// port is one address that a part listens on.
type port struct {
	name, setting, flag string // "MQTT over TLS", "mqtt.tls_listen", "mqtt-tls-listen"
	listen              string // host:port as configured
	bind                func() error
	addr                func() net.Addr
	bound               bool
}

// part is one protocol of a gateway, with the ports that are on.
type part struct {
	setting string
	server  server
	ports   []*port
}

// on adds a port, unless it is off.
func (p *part) on(o port) {
	if o.listen != "" {
		p.ports = append(p.ports, &o)
	}
}

// ready reports whether there is something to serve: a port that is bound, or a
// part that has none.
func (p *part) ready() bool {
	return len(p.ports) == 0 || slices.ContainsFunc(p.ports, func(o *port) bool { return o.bound })
}

// Listen binds every listener, and leaves word of that in the data directory. An
// error names every one that cannot be bound. After it Close gives back what was bound.
func (g *Gateway) Listen() error {
	var taken []error
	for _, p := range g.parts {
		for _, o := range p.ports {
			if err := patientBind(o); err != nil {
				taken = append(taken, listenError(o, err))
				continue
			}
			o.bound = true
		}
	}
	if err := errors.Join(taken...); err != nil {
		return err
	}
	if a, err := netip.ParseAddrPort(g.Listening().TCP); err == nil {
		g.tcpPort = a.Port()
	}
	g.leaveWord()
	return nil
}

// bindPatience is how long a port may be in use: by an outgoing connection, or by a
// gateway that is just ending.
const bindPatience = time.Second

// patientBind binds a port, and tries again while it is in use.
func patientBind(o *port) error {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := o.bind()
		if !errors.Is(err, syscall.EADDRINUSE) || time.Since(began) > bindPatience {
			return err
		}
	}
}

func listenError(o *port, err error) error {
	what := err.Error()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		what = "it is in use, by another program or a connection of one"
	case errors.Is(err, syscall.EACCES):
		what = "this user may not listen there (ports below 1024 need a privilege)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		what = "this machine has no such address"
	}
	return fmt.Errorf("%s: cannot listen on %s: %s. Move %s with --%s HOST:PORT, or turn it off with --%s \"\"",
		o.setting, o.listen, what, o.name, o.flag, o.flag)
}

// Listening is where each protocol is bound; empty where it is off.
type Listening struct{ HTTP, HTTPS, UDP, TCP, MQTT, MQTTS string }

// Listening returns the addresses after Listen.
func (g *Gateway) Listening() Listening {
	at := map[string]string{}
	for _, p := range g.parts {
		for _, o := range p.ports {
			if o.bound {
				at[o.setting] = o.addr().String()
			}
		}
	}
	return Listening{
		HTTP: at["http.listen"], HTTPS: at["http.tls_listen"], UDP: at["udp.listen"], TCP: at["tcp.listen"],
		MQTT: at["mqtt.listen"], MQTTS: at["mqtt.tls_listen"],
	}
}

// byName is where each protocol that is on is bound, for logs and for the info topic.
func (l Listening) byName() map[string]string {
	all := map[string]string{"http": l.HTTP, "https": l.HTTPS, "udp": l.UDP, "tcp": l.TCP, "mqtt": l.MQTT, "mqtts": l.MQTTS}
	for name, at := range all {
		if at == "" {
			delete(all, name)
		}
	}
	return all
}

// own lists the gateway's TCP listeners, which callbacks may not call.
func (g *Gateway) own() []netip.AddrPort {
	l := g.Listening()
	var out []netip.AddrPort
	for _, s := range []string{l.HTTP, l.HTTPS, l.TCP, l.MQTT, l.MQTTS} {
		if a, err := netip.ParseAddrPort(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}
