package mdns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lan is a network whose clock is moved.
type lan struct {
	t     *testing.T
	now   time.Time
	hosts []*host
	air   []flight
	heard []flight // what was sent
	apart bool     // nothing arrives at others
}

type flight struct {
	by   *host
	on   linkID
	to   netip.AddrPort
	from netip.AddrPort
	b    []byte
}

// host is a responder with interfaces.
type host struct {
	*responder
	places  []place
	renamed []string
}

func newLAN(t *testing.T) *lan { return &lan{t: t, now: time.Unix(1e9, 0)} }

var services = []Service{
	{Type: "_watchtower._udp", Listen: netip.MustParseAddrPort("[::]:3033")},
	{Type: "_http._tcp", Listen: netip.MustParseAddrPort("[::]:8080"), Text: []string{"path=/"}},
}

// joins adds a host with an interface for each address.
func (l *lan) joins(name, label string, addresses ...string) *host {
	h := &host{}
	o := Options{Name: name, Host: label, Text: []string{"name=" + name, "id=" + label}}
	h.responder = newResponder(o, services, func(on linkID, to netip.AddrPort, b []byte) {
		p := h.places[on.index-1]
		f := flight{h, on, to, netip.AddrPortFrom(p.addresses[0], port), b}
		l.air, l.heard = append(l.air, f), append(l.heard, f)
	}, func(taken string) { h.renamed = append(h.renamed, taken) })
	for i, a := range addresses {
		p := netip.MustParsePrefix(a)
		h.places = append(h.places, place{Interface: net.Interface{Index: i + 1}, addresses: []netip.Addr{p.Addr()}, networks: []netip.Prefix{p.Masked()}})
	}
	h.set(l.now, h.places)
	l.hosts = append(l.hosts, h)
	return h
}

// pass lets time pass.
func (l *lan) pass(d time.Duration) {
	for end := l.now.Add(d); ; {
		next := end
		for _, h := range l.hosts {
			for {
				at := h.advance(l.now)
				l.fly()
				if at.IsZero() || at.After(l.now) {
					break
				}
			}
		}
		for _, h := range l.hosts {
			if at := h.advance(l.now); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		l.fly()
		if !l.now.Before(end) {
			return
		}
		l.now = next
	}
}

// fly delivers what was sent, to all interfaces of all hosts, the sender's too.
func (l *lan) fly() {
	for len(l.air) > 0 {
		f := l.air[0]
		l.air = l.air[1:]
		for _, h := range l.hosts {
			if f.to != everybody || l.apart && h != f.by {
				continue
			}
			for _, p := range h.places {
				h.take(l.now, linkID{p.Index, f.on.v6}, f.from, f.b)
			}
		}
	}
}

// asks sends a question, and returns the answers.
func (l *lan) asks(from string, m message) (answers []message) {
	before := len(l.heard)
	l.air = append(l.air, flight{from: netip.MustParseAddrPort(from), b: m.pack(), by: &host{}})
	l.fly()
	l.pass(200 * time.Millisecond)
	for _, f := range l.heard[before:] {
		m, err := parse(f.b)
		require.NoError(l.t, err)
		if m.response() {
			answers = append(answers, m)
		}
	}
	return answers
}

// instances are the names under which a host is found.
func (h *host) instances() (all []string) {
	for _, link := range h.links {
		for _, r := range link.records {
			if r.typ == typeSRV && !slices.Contains(all, r.name.first()+" at "+r.target.first()) {
				all = append(all, r.name.first()+" at "+r.target.first())
			}
		}
	}
	slices.Sort(all)
	return all
}

var browses = message{questions: []question{{nameOf("_HTTP", "_tcp", "Local"), typePTR, classIN}}}

func TestProbesAnnouncesAnswersLeaves(t *testing.T) {
	l := newLAN(t)
	h := l.joins("house", "wt-1", "192.0.2.1/24")
	assert.Empty(t, l.asks("192.0.2.9:5353", browses), "its names are not proved yet")
	l.pass(5 * time.Second)
	require.Len(t, l.heard, 5)
	for i, f := range l.heard {
		m, err := parse(f.b)
		require.NoError(t, err)
		if i < 3 {
			assert.Len(t, m.questions, 3)
			assert.Len(t, m.authorities, 5, "SRV and TXT of each, and the address")
			assert.False(t, m.response())
		} else {
			assert.True(t, m.response())
			assert.Len(t, m.answers, len(h.links[linkID{1, false}].records))
		}
	}
	answers := l.asks("192.0.2.9:5353", browses)
	require.Len(t, answers, 1)
	m := answers[0]
	require.Len(t, m.answers, 1)
	assert.Equal(t, "house._http._tcp.local", m.answers[0].target.String())
	assert.False(t, m.answers[0].flush)
	var more []string
	for _, r := range m.additionals {
		assert.True(t, r.flush)
		more = append(more, fmt.Sprint(r.typ, " ", r.name, " ", strings.Trim(r.data(), "\x00")))
	}
	assert.Equal(t, []string{
		"33 house._http._tcp.local \x1f\x90\x04wt-1\x05local",
		"16 house._http._tcp.local \x0aname=house\x07id=wt-1\x06path=/",
		"1 wt-1.local \xc0\x00\x02\x01",
	}, more)
	assert.Empty(t, l.asks("192.0.2.9:5353", browses), "all heard it just now")
	l.pass(time.Second)
	known := browses
	known.answers = []record{{name: nameOf("_http", "_tcp", "local"), typ: typePTR, class: classIN, ttl: 3000, target: nameOf("House", "_http", "_tcp", "local")},
		{name: nameOf("_http", "_tcp", "local"), typ: typePTR, class: classIN, ttl: 3000, target: nameOf("printer 2.0", "_http", "_tcp", "local")}}
	assert.Empty(t, l.asks("192.0.2.9:5353", known), "who asks knows it")
	known.answers[0].ttl = 1000
	assert.Len(t, l.asks("192.0.2.9:5353", known), 1, "and forgets it soon")
	assert.Empty(t, l.asks("198.51.100.9:5353", known), "from behind a router")
	l.heard = nil
	h.goodbye(l.now)
	m, err := parse(l.heard[0].b)
	require.NoError(t, err)
	for _, r := range m.answers {
		assert.Zero(t, r.ttl)
	}
}

// A client that knows only DNS gets an answer of its own kind.
func TestPlainDNS(t *testing.T) {
	l := newLAN(t)
	l.joins("house", "wt-1", "192.0.2.1/24")
	l.pass(5 * time.Second)
	m := browses
	m.id = 77
	answers := l.asks("192.0.2.9:40000", m)
	require.Len(t, answers, 1)
	assert.Equal(t, netip.MustParseAddrPort("192.0.2.9:40000"), l.heard[len(l.heard)-1].to)
	assert.Equal(t, m.id, answers[0].id)
	assert.Equal(t, m.questions, answers[0].questions)
	for _, r := range slices.Concat(answers[0].answers, answers[0].additionals) {
		assert.False(t, r.flush)
		assert.LessOrEqual(t, r.ttl, uint32(10))
	}
}

// Whoever begins first keeps the name, the other gets a number; together one gives way.
// Both are found.
func TestOneName(t *testing.T) {
	for _, wait := range []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond, time.Second, 10 * time.Second} {
		for _, other := range []struct{ label, address string }{
			{"wt-2", "192.0.2.2/24"},
			{"wt-1", "192.0.2.2/24"}, // the host's name is the same
			{"wt-2", "192.0.2.1/24"}, // the machine is
		} {
			l := newLAN(t)
			a := l.joins("house", "wt-1", "192.0.2.1/24")
			l.pass(wait)
			b := l.joins("house", other.label, other.address)
			l.pass(20 * time.Second)
			got := slices.Concat(a.instances(), b.instances())
			slices.Sort(got)
			assert.Len(t, got, 2)
			assert.True(t, strings.HasPrefix(got[0], "house (2) at"), "%s: %v", wait, got)
			assert.True(t, strings.HasPrefix(got[1], "house at"), "%s: %v", wait, got)
			_, one, _ := strings.Cut(got[0], " at ")
			_, two, _ := strings.Cut(got[1], " at ")
			assert.NotEqual(t, one, two)
			l.heard = nil
			l.pass(time.Hour)
			assert.Empty(t, l.heard, "there is peace")
		}
	}
}

// Two networks become one.
func TestOneNameLater(t *testing.T) {
	l := newLAN(t)
	a, b, c := l.joins("house", "wt-1", "192.0.2.1/24"), l.joins("house", "wt-2", "192.0.2.2/24"), l.joins("house", "wt-3", "192.0.2.3/24")
	l.apart = true
	l.pass(20 * time.Second)
	assert.Equal(t, a.renamed, b.renamed)
	l.apart = false
	l.asks("192.0.2.9:5353", browses)
	l.pass(20 * time.Second)
	got := map[string]bool{}
	for _, h := range []*host{a, b, c} {
		require.Len(t, h.instances(), 1)
		name, _, _ := strings.Cut(h.instances()[0], " at ")
		got[name] = true
	}
	assert.Equal(t, map[string]bool{"house": true, "house (2)": true, "house (3)": true}, got)
}

// A host that is in a network twice is not taken for two.
func TestTwiceInANetwork(t *testing.T) {
	l := newLAN(t)
	h := l.joins("house", "wt-1", "192.0.2.1/24", "192.0.2.2/24")
	l.pass(time.Minute)
	assert.Empty(t, h.renamed)
	l.heard = nil
	h.places[1].addresses[0] = netip.MustParseAddr("192.0.2.3")
	h.places = slices.Clone(h.places)
	h.set(l.now, h.places)
	l.pass(time.Minute)
	assert.Len(t, l.heard, 3, "its old address ends, and it announces its new one")
	h.set(l.now, h.places[:1])
	l.pass(time.Minute)
	assert.Len(t, l.heard, 3)
	assert.Len(t, h.links, 1)
	assert.Empty(t, h.renamed)
}

// Who says that every name is taken makes it slow, and nothing worse.
func TestAllNamesAreTaken(t *testing.T) {
	l := newLAN(t)
	h := l.joins("house", "wt-1", "192.0.2.1/24")
	for range 100 {
		l.pass(300 * time.Millisecond)
		name := h.links[linkID{1, false}].records[2].name
		l.air = append(l.air, flight{from: netip.MustParseAddrPort("192.0.2.9:5353"), by: &host{}, b: message{flags: isResponse,
			answers: []record{{name: name, typ: typeSRV, class: classIN, ttl: 120, fixed: make([]byte, 6), target: local}}}.pack()})
		l.fly()
	}
	assert.Greater(t, len(h.renamed), manyRenames)
	assert.LessOrEqual(t, len(h.links[linkID{1, false}].records[2].name), 255)
	l.heard = nil
	l.pass(20 * time.Second)
	assert.NotEmpty(t, l.heard)
}

// Each service is announced where it listens, and with the addresses that it has there.
func TestWhereServicesListen(t *testing.T) {
	p := place{addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fe80::1")}}
	at := func(v6 bool, listen ...string) (all []string) {
		var s []Service
		for i, a := range listen {
			s = append(s, Service{Type: fmt.Sprintf("_s%d._tcp", i), Listen: netip.MustParseAddrPort(a)})
		}
		for _, r := range recordsAt(Options{Name: "n", Host: "h"}, s, who{}, p, v6) {
			if r.typ == typeSRV {
				all = append(all, r.name.rest().first()+" "+r.target.first())
			}
			if r.typ == typeA || r.typ == typeAAAA {
				a, _ := netip.AddrFromSlice(r.fixed)
				all = append(all, r.name.first()+" "+a.String())
			}
		}
		return all
	}
	assert.Equal(t, []string{"_s0 h", "h 192.0.2.1", "h fd00::1", "h fe80::1"}, at(false, "[::]:1"))
	assert.Equal(t, []string{"_s0 h", "h 192.0.2.1"}, at(false, "0.0.0.0:1"))
	assert.Empty(t, at(true, "0.0.0.0:1"))
	assert.Empty(t, at(false, "127.0.0.1:1", "[::1]:1", "192.0.2.2:1", "[fd00::1]:1"))
	assert.Equal(t, []string{"_s0 h", "h fe80::1"}, at(true, "[fe80::1%eth0]:1"))
	assert.Equal(t, []string{"_s2 h", "h 192.0.2.1", "h fd00::1", "h fe80::1", "_s1 h-c", "h-c 192.0.2.1"}, at(false, "127.0.0.1:1", "192.0.2.1:1", "[::]:1"))
}
