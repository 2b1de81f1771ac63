package mdns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Found is a service that somebody announces.
type Found struct {
	Instance  string
	Type      string // _http._tcp
	Host      string
	Port      uint16
	Text      map[string]string // the keys in lower case
	Addresses []netip.Addr
}

// mostFound is how many records Browse keeps.
const mostFound = 1024

// asksAfter is when Browse asks, from its beginning on.
var asksAfter = []time.Duration{0, 300 * time.Millisecond, time.Second}

// Browse asks for services of these types on each interface, and listens until ctx ends.
// It needs neither the port of multicast DNS nor a daemon. The error says that there is no
// interface to ask on.
func Browse(ctx context.Context, types ...string) ([]Found, error) {
	all, err := places()
	if err != nil {
		return nil, err
	}
	b := &browser{}
	var m message
	for _, t := range types {
		m.questions = append(m.questions, question{nameOf(append(strings.Split(t, "."), "local")...), typePTR, classIN})
	}
	var readers sync.WaitGroup
	defer readers.Wait()
	var sockets []*socket
	for _, v6 := range []bool{false, true} {
		here := map[bool]netip.Addr{false: netip.IPv4Unspecified(), true: netip.IPv6Unspecified()}[v6]
		if s, err := openSocket(v6, netip.AddrPortFrom(here, 0)); err == nil {
			defer func() { _ = s.conn.Close() }()
			sockets = append(sockets, s)
			readers.Go(func() { b.read(s, all) })
		}
	}
	begun, sent := time.Now(), 0
	for _, after := range asksAfter {
		timer := time.NewTimer(time.Until(begun.Add(after)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return b.services(types), nil
		case <-timer.C:
		}
		for _, s := range sockets {
			for _, p := range all {
				if p.has(s.v6) && s.send(p.Interface, everybody, m.pack()) == nil {
					sent++
				}
			}
		}
	}
	if sent == 0 {
		return nil, errors.New("no network interface takes multicast")
	}
	<-ctx.Done()
	return b.services(types), nil
}

// has reports whether an interface has an address of a family.
func (p place) has(v6 bool) bool {
	return slices.ContainsFunc(p.addresses, func(a netip.Addr) bool { return a.Is6() == v6 })
}

// browser keeps what was answered.
type browser struct {
	mu      sync.Mutex
	records []heard
}

type heard struct {
	record
	zone string // of the interface
}

// read takes answers until the socket is closed.
func (b *browser) read(s *socket, all []place) {
	buf := make([]byte, largest)
	for {
		n, index, from, err := s.read(buf)
		if err != nil {
			return
		}
		m, err := parse(buf[:n])
		i := slices.IndexFunc(all, func(p place) bool { return p.Index == index || index == 0 && p.neighbour(from.Addr()) })
		if err != nil || !m.response() || i < 0 || !all[i].neighbour(from.Addr()) {
			continue
		}
		b.mu.Lock()
		for _, rec := range slices.Concat(m.answers, m.additionals) {
			if len(b.records) < mostFound && !slices.ContainsFunc(b.records, func(h heard) bool { return h.same(rec) }) {
				b.records = append(b.records, heard{rec, all[i].Name})
			}
		}
		b.mu.Unlock()
	}
}

// services puts together what was answered.
func (b *browser) services(types []string) (out []Found) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, kind := range types {
		of := nameOf(append(strings.Split(kind, "."), "local")...)
		for _, ptr := range b.records {
			if ptr.typ != typePTR || !ptr.name.is(of) {
				continue
			}
			f := Found{Instance: ptr.target.first(), Type: kind, Text: map[string]string{}}
			for _, r := range b.records {
				switch {
				case !r.name.is(ptr.target):
				case r.typ == typeSRV && len(r.fixed) == 6:
					f.Port = uint16(r.fixed[4])<<8 | uint16(r.fixed[5])
					f.Host = r.target.String()
					f.Addresses = b.addresses(r.target)
				case r.typ == typeTXT:
					f.text(r.fixed)
				}
			}
			out = append(out, f)
		}
	}
	return out
}

func (b *browser) addresses(host name) (all []netip.Addr) {
	for _, r := range b.records {
		a, ok := netip.AddrFromSlice(r.fixed)
		if !ok || !r.name.is(host) || r.typ != typeA && r.typ != typeAAAA {
			continue
		}
		if a.Is6() && a.IsLinkLocalUnicast() {
			a = a.WithZone(r.zone)
		}
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b netip.Addr) int { return rank(a) - rank(b) })
	return all
}

// text reads the key=value pairs of a service. The first of a key counts.
func (f *Found) text(b []byte) {
	for len(b) > 0 && 1+int(b[0]) <= len(b) {
		key, value, _ := strings.Cut(string(b[1:1+int(b[0])]), "=")
		if key = strings.ToLower(key); key != "" {
			if _, had := f.Text[key]; !had {
				f.Text[key] = value
			}
		}
		b = b[1+int(b[0]):]
	}
}
