package mdns

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Service is what is announced.
type Service struct {
	Type   string         // _http._tcp
	Listen netip.AddrPort // where it listens; an unspecified address of IPv6 is all of both families
	Text   []string       // key=value, of at most 255 bytes each, in addition to Options.Text
}

// Options say who announces.
type Options struct {
	Name string   // of each of the services, for people; the first 55 bytes count
	Host string   // a label of letters, digits and hyphens that hardly any other host has
	Text []string // of each of the services
	// Services returns what is announced. It is called once, when Serve begins.
	Services func() []Service
}

// The lifetimes of records, in seconds (RFC 6762, section 10).
const (
	ttlHost  = 120
	ttlOther = 4500
)

// longestName leaves room in a label for the number of a name that is taken.
const longestName = 55

var (
	local    = nameOf("local")
	allTypes = nameOf("_services", "_dns-sd", "_udp", "local")
)

// who is the names under which all is announced.
type who struct {
	instance, host int // numbers that they have because others have the names; 0: none
}

func (w who) label(o Options) string {
	label := o.Name[:min(len(o.Name), longestName)]
	if w.instance > 0 {
		label += fmt.Sprintf(" (%d)", w.instance+1)
	}
	return strings.ToValidUTF8(label, "")
}

// hostName returns the name of a host. Services that listen elsewhere than the first have
// another, because a name has all addresses that are reached by it.
func (w who) hostName(o Options, nth int) name {
	label := o.Host
	if nth > 0 {
		label += fmt.Sprintf("-%c", 'a'+nth)
	}
	if w.host > 0 {
		label += fmt.Sprintf("-%d", w.host+1)
	}
	return nameOf(label, "local")
}

// listened lists where services listen, first everywhere. This order gives the hosts' names.
func listened(services []Service) (all []netip.Addr) {
	for _, s := range services {
		if !slices.Contains(all, s.Listen.Addr()) {
			all = append(all, s.Listen.Addr())
		}
	}
	slices.SortStableFunc(all, func(a, b netip.Addr) int { return cmp.Compare(narrow(a), narrow(b)) })
	return all
}

func narrow(a netip.Addr) int {
	switch {
	case !a.IsUnspecified():
		return 2
	case a.Is4():
		return 1
	}
	return 0
}

// recordsAt returns the records of a link; none, if no service is reached there.
func recordsAt(o Options, services []Service, w who, p place, v6 bool) (all []record) {
	for nth, listen := range listened(services) {
		at := p.reached(listen)
		if !slices.ContainsFunc(at, func(a netip.Addr) bool { return a.Is6() == v6 }) {
			continue
		}
		host := w.hostName(o, nth)
		for _, s := range services {
			if s.Listen.Addr() == listen {
				all = append(all, ofService(o, s, w, host)...)
			}
		}
		all = append(all, ofHost(host, at)...)
	}
	for i := range all {
		all[i].class = classIN
	}
	return all
}

func ofService(o Options, s Service, w who, host name) []record {
	kind := nameOf(append(strings.Split(s.Type, "."), "local")...)
	instance := nameOf(w.label(o))[:1+len(w.label(o))] + kind
	var text []byte
	for _, t := range append(slices.Clone(o.Text), s.Text...) {
		text = append(append(text, byte(len(t))), t...)
	}
	return []record{
		{name: allTypes, typ: typePTR, ttl: ttlOther, target: kind},
		{name: kind, typ: typePTR, ttl: ttlOther, target: instance},
		{name: instance, typ: typeSRV, flush: true, ttl: ttlHost, fixed: binary.BigEndian.AppendUint16(make([]byte, 4), s.Listen.Port()), target: host},
		{name: instance, typ: typeTXT, flush: true, ttl: ttlOther, fixed: text},
	}
}

func ofHost(host name, at []netip.Addr) (all []record) {
	// The bits of the types that the host has, for those that it lacks.
	bits := []byte{0, 4, 0, 0, 0, 0}
	for _, a := range at {
		typ := uint16(typeA)
		if a.Is6() {
			typ = typeAAAA
		}
		bits[2+typ/8] |= 128 >> (typ % 8)
		all = append(all, record{name: host, typ: typ, flush: true, ttl: ttlHost, fixed: a.AsSlice()})
	}
	return append(all, record{name: host, typ: typeNSEC, flush: true, ttl: ttlHost, fixed: append([]byte(host), bits...)})
}

// unique reports whether nobody else may have a record's name.
func (r record) unique() bool {
	switch r.typ {
	case typeA, typeAAAA, typeSRV, typeTXT:
		return true
	}
	return false
}
