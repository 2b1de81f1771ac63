package auth

import (
	"cmp"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/config"
)

// Reason says why a client was refused.
type Reason uint8

// The reasons. Each has a test that provokes it through the running program.
const (
	WrongKey      Reason = iota // the secret key, the key of basic frames, or a tag made from one
	WrongPassword               // of a configured user
	WrongToken                  // of no sender, or of another one
	WrongSender                 // an id that no sender has
	Waiting                     // not checked: its address was wrong too often
	Busy                        // not checked: too many passwords wait to be hashed
	numReasons
)

// Reasons lists every reason.
var Reasons = func() (all [numReasons]Reason) {
	for i := range all {
		all[i] = Reason(i)
	}
	return
}()

func (r Reason) String() string {
	return [...]string{"wrong_key", "wrong_password", "wrong_token", "wrong_sender", "waiting", "busy"}[r]
}

// addressesMost is the most addresses that have a bucket at a time.
const addressesMost = 10_000

// Options of a Gate.
type Options struct {
	config.Limits
	Addresses int              // the most that are remembered; 0: 10,000
	Now       func() time.Time // nil: time.Now
}

func (o Options) withDefaults() Options {
	o.Addresses = cmp.Or(o.Addresses, addressesMost)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Gate says who may try a key, password or token, and counts wrong tries. Its methods may
// be called from any goroutine. A nil Gate lets everybody try.
type Gate struct {
	opts      Options
	failures  *Limiter[netip.Prefix] // over connections
	keys      *Limiter[netip.Prefix] // K over UDP
	tags      *Limiter[netip.Prefix] // r over UDP
	strangers *Limiter[struct{}]     // K over UDP, of all sources that have not proved their address
	proved    *proved
	report    *report // about addresses that wait
	wrong     *report // about wrong keys of devices, over UDP and TCP
	wrongs    wrongs
	refused   [bridge.MostProtocols][numReasons]atomic.Uint64
}

// NewGate returns a gate that is open to everybody.
func NewGate(o Options, log *logrus.Logger) *Gate {
	o = o.withDefaults()
	limit := Limit{Burst: o.Failures, Every: o.FailureInterval, Most: o.Addresses}
	waits, wrong := newReports(log)
	return &Gate{
		opts:      o,
		failures:  NewLimiter[netip.Prefix](limit, o.Now),
		keys:      NewLimiter[netip.Prefix](limit, o.Now),
		tags:      NewLimiter[netip.Prefix](limit, o.Now),
		strangers: NewLimiter[struct{}](limit, o.Now),
		proved:    newProved(provedMost),
		report:    waits,
		wrong:     wrong,
	}
}

// Caller is a client that tries. A handshake or a trusted proxy has proved its address.
type Caller struct {
	Via       bridge.Protocol
	At        netip.Addr
	Forwarded bool   // its X-Forwarded-For was ignored, because the peer is no trusted proxy
	Name      string // as it calls itself, for operators to see; empty: it does not
}

// Address returns the IP address in a, or the zero Addr if there is none.
func Address(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case nil:
		return netip.Addr{}
	default:
		ap, err := netip.ParseAddrPort(a.String())
		if err != nil {
			return netip.Addr{}
		}
		return ap.Addr().Unmap().WithZone("")
	}
}

// Subnet returns the prefix that a client is counted by: its IPv4 address, or the /64 of
// its IPv6 address, because one client may have all of that. A link-local IPv6 address
// counts alone, because all of a network's share a /64.
func Subnet(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() && !a.IsLinkLocalUnicast() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// Quiet reports whether no address has failed lately, so that none waits. It takes no
// lock: callers may ask it at every request.
func (g *Gate) Quiet() bool { return g == nil || g.failures.Quiet() }

// Shut reports whether a caller has to wait, without counting it.
func (g *Gate) Shut(c Caller) bool { return !g.Quiet() && g.failures.Wait(Subnet(c.At)) > 0 }

// Waits returns how long a caller has to wait until it may try; 0: it may try now. A
// caller that has to wait is counted and logged.
func (g *Gate) Waits(c Caller) time.Duration {
	if g == nil {
		return 0
	}
	at := Subnet(c.At)
	wait := g.failures.Wait(at)
	if wait > 0 {
		g.count(c.Via, Waiting)
		g.report.refused(at, c, g.opts.Now())
	}
	return wait
}

// Wrong counts a failure. If the caller had no try left, Wrong returns how long it has to
// wait: then the answer must say that, and not that the try was wrong.
func (g *Gate) Wrong(c Caller, why Reason) (wait time.Duration) {
	if g == nil {
		return 0
	}
	at := Subnet(c.At)
	g.count(c.Via, why)
	g.wrongs.note(c, why, g.opts.Now())
	if g.failures.Take(at) {
		g.report.failed(at, c, g.opts.Now())
		return 0
	}
	g.report.refused(at, c, g.opts.Now())
	return max(1, g.failures.Wait(at)) // 0 if it got a try back just now
}

// tellWrong logs that a device has a wrong key. Clients of other protocols are logged by these.
func (g *Gate) tellWrong(c Caller) {
	if g != nil {
		g.wrong.refused(Subnet(c.At), c, g.opts.Now())
	}
}

// Right notes that a caller showed a right credential, which proves its address.
func (g *Gate) Right(c Caller) {
	if g != nil {
		g.proved.add(c.At)
	}
}

// Refused returns how many tries of a protocol were refused for a reason.
func (g *Gate) Refused(p bridge.Protocol, why Reason) uint64 {
	if g == nil {
		return 0
	}
	return g.refused[p][why].Load()
}

func (g *Gate) count(p bridge.Protocol, why Reason) { g.refused[p][why].Add(1) }

// Streams is the gate for frames over connections.
type Streams struct {
	gate *Gate
	via  bridge.Protocol
}

// Streams returns the gate for frames over connections.
func (g *Gate) Streams(via bridge.Protocol) Streams { return Streams{g, via} }

// AdmitKey reports whether the key in a K from an address may be checked.
func (s Streams) AdmitKey(from netip.Addr) bool {
	return s.gate.Waits(Caller{Via: s.via, At: from}) == 0
}

// WrongKey counts a K with a wrong key.
func (s Streams) WrongKey(from netip.Addr) { s.WrongTag(from, nil) }

// WantsCookie returns false: TCP's handshake has proved the address already.
func (s Streams) WantsCookie(netip.Addr) bool { return false }

// AdmitTag reports whether the tag of an r from an address may be checked.
func (s Streams) AdmitTag(from netip.Addr, _ bool) bool { return s.AdmitKey(from) }

// WrongTag counts an r with a wrong tag. Name is what it calls itself; empty: nothing.
func (s Streams) WrongTag(from netip.Addr, name []byte) {
	c := Caller{Via: s.via, At: from, Name: bridge.Shorten(name)}
	s.gate.Wrong(c, WrongKey)
	s.gate.tellWrong(c)
}

// Proved notes that an address has registered.
func (s Streams) Proved(from netip.Addr) { s.gate.Right(Caller{Via: s.via, At: from}) }
