package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"watchtower/config"
)

// port is a port that is on.
type port struct {
	Port
	bound bool
}

// part is one protocol of a gateway, with its ports that are on.
type part struct {
	section string
	server  Server
	ports   []*port
}

// ready reports whether the part can be served: one of its ports is bound, or it has no
// ports.
func (p *part) ready() bool {
	return len(p.ports) == 0 || slices.ContainsFunc(p.ports, func(o *port) bool { return o.bound })
}

// Listen binds every port, and writes the URL and key into the data directory. An error
// names every port that cannot be bound. After an error, call Close to release the others.
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
	if a, err := netip.ParseAddrPort(g.Listening().At("tcp")); err == nil {
		g.tcpPort = a.Port()
	}
	g.leaveWord()
	return nil
}

// bindPatience is how long Listen waits for a port that is in use, for example by an
// outgoing connection or by a gateway that is just ending.
const bindPatience = time.Second

// patientBind binds a port. While it is in use, it tries again, up to bindPatience.
func patientBind(o *port) error {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := o.Bind()
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
	flag := flagOf(o.Setting)
	return fmt.Errorf("%s: cannot listen on %s: %s. Move %s with --%s HOST:PORT, or turn it off with --%s \"\"",
		o.Setting, o.Listen, what, o.Name, flag, flag)
}

// Bound is a port that is bound.
type Bound struct {
	Port
	Flag    string // the setting's flag, without dashes; empty: none
	Address string
}

// Listening lists the bound ports, in the order for people: those with URLs first.
type Listening []Bound

// Listening returns the bound ports; call it after Listen.
func (g *Gateway) Listening() (at Listening) {
	for _, p := range slices.Backward(g.parts) {
		for _, o := range p.ports {
			if o.bound {
				at = append(at, Bound{o.Port, flagOf(o.Setting), o.Addr().String()})
			}
		}
	}
	slices.SortStableFunc(at, func(a, b Bound) int { return cmp.Compare(order(a), order(b)) })
	return at
}

func order(b Bound) int {
	if b.URL {
		return 0
	}
	return 1
}

// flagOf returns the command line's flag for a setting, without dashes.
func flagOf(path string) string { return flags()[path] }

// flags are the flags by the settings' paths.
var flags = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	for _, s := range config.Settings() {
		all[s.Path] = cmp.Or(s.Alias, s.Flag)
	}
	return all
})

// At returns the address of the port with a key; empty if it is off.
func (l Listening) At(key string) string {
	for _, b := range l {
		if b.Key == key {
			return b.Address
		}
	}
	return ""
}

// byKey maps the keys of the ports to their addresses, for logs and for the info topic.
func (l Listening) byKey() map[string]string {
	all := map[string]string{}
	for _, b := range l {
		all[b.Key] = b.Address
	}
	return all
}

// listeners lists the gateway's TCP listeners, which callbacks may not call.
func (g *Gateway) listeners() []netip.AddrPort {
	var out []netip.AddrPort
	for _, b := range g.Listening() {
		if a, err := netip.ParseAddrPort(b.Address); err == nil && b.Addr().Network() == "tcp" {
			out = append(out, a)
		}
	}
	return out
}
