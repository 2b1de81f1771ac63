package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
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
				taken = append(taken, g.listenError(o, err))
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

// listenError says why a port cannot be bound, and how to move it: in the configuration file, if
// there is one, and no flag or variable says where to listen.
func (g *Gateway) listenError(o *port, err error) error {
	what, host := err.Error(), ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		what = "it is in use, by another program or a connection of one"
	case errors.Is(err, syscall.EACCES):
		what = "this user may not listen there (ports below 1024 need a privilege)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		what = "this machine has no such address"
	}
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		host, _, _ = net.SplitHostPort(o.Listen) // it was checked
	}
	flag := flagOf(o.Setting)
	how := fmt.Sprintf("Move %s with --%s HOST:PORT, or turn it off with --%[2]s \"\"", o.Name, flag)
	if file := g.cfg.File(); file != "" && g.listensByFile(o.Setting) {
		section, key, _ := strings.Cut(o.Setting, ".")
		how = fmt.Sprintf("In %s give %s another port, as in %s: {%s: %q}, or turn it off by %s: \"\"",
			file, o.Name, section, key, net.JoinHostPort(host, anotherPort(o.Listen)), key)
	}
	return fmt.Errorf("%s: cannot listen on %s: %s. %s", o.Setting, o.Listen, what, how)
}

// listensByFile reports whether the configuration file decides about a setting.
func (g *Gateway) listensByFile(setting string) bool {
	return slices.ContainsFunc(g.cfg.Values(), func(v config.Value) bool {
		return v.Path == setting && (v.From == "file" || v.From == "default")
	})
}

// anotherPort is one that an address could have instead: the next, which needs no privilege.
func anotherPort(listen string) string {
	_, port, _ := net.SplitHostPort(listen) // it was checked
	n, _ := strconv.Atoi(port)
	if n < 1024 {
		n += 8000
	}
	return strconv.Itoa(min(n+1, 65535))
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
