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

// Reason says why somebody was not let in.
type Reason uint8

// The reasons. Each has a test that provokes it through the running program.
const (
	WrongKey      Reason = iota // the secret key, the key of basic frames, or the tag that is made of one
	WrongPassword               // of a configured user
	WrongToken                  // of no sender, or of another
	WrongSender                 // an id that nobody has
	Waiting                     // its address was wrong too often: it was not looked at
	Busy                        // too many passwords wait to be hashed: it was not looked at
	numReasons
)

// Reasons lists every reason, for those who render tables of them.
var Reasons = func() (all [numReasons]Reason) {
	for i := range all {
		all[i] = Reason(i)
	}
	return
}()

func (r Reason) String() string {
	return [...]string{"wrong_key", "wrong_password", "wrong_token", "wrong_sender", "waiting", "busy"}[r]
}

// addressesMost is how many addresses have a bucket at a time.
const addressesMost = 10_000

// Options of a Gate.
type Options struct {
	config.Limits
	Addresses int              // that are remembered; 0: 10,000
	Now       func() time.Time // nil: time.Now
}

func (o Options) withDefaults() Options {
	o.Addresses = cmp.Or(o.Addresses, addressesMost)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Gate says who may try at a door, and counts who was wrong. Its methods may be
// called from any goroutine. A nil Gate lets everybody try.
type Gate struct {
	opts      Options
	failures  *Limiter[netip.Prefix] // over connections
	keys      *Limiter[netip.Prefix] // K over UDP
	tags      *Limiter[netip.Prefix] // r over UDP
	strangers *Limiter[struct{}]     // K over UDP, of those who have not proved their address
	proved    *proved
	report    *report
	refused   [bridge.MostProtocols][numReasons]atomic.Uint64
}

// NewGate returns a gate that is open to everybody.
func NewGate(o Options, log *logrus.Logger) *Gate {
	o = o.withDefaults()
	limit := Limit{Burst: o.Failures, Every: o.FailureInterval, Most: o.Addresses}
	return &Gate{
		opts:      o,
		failures:  NewLimiter[netip.Prefix](limit, o.Now),
		keys:      NewLimiter[netip.Prefix](limit, o.Now),
		tags:      NewLimiter[netip.Prefix](limit, o.Now),
		strangers: NewLimiter[struct{}](limit, o.Now),
		proved:    newProved(provedMost),
		report:    newReport(log),
	}
}

// Caller is who stands at a door. Its address has been proved by a handshake, or
// by a proxy that is trusted.
type Caller struct {
	Via       bridge.Protocol
	At        netip.Addr
	Forwarded bool // it came with X-Forwarded-For that counted for nothing
}

// Address is the IP address of a connection's end; the zero Addr if it has none.
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

// Subnet is what a client is known by: its address, or of IPv6 the /64 that one of
// them commands. Link-local addresses share theirs, and are each known by itself.
func Subnet(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() && !a.IsLinkLocalUnicast() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// Quiet reports whether nobody was wrong lately, so that nobody waits. It is for
// those who would ask at every request.
func (g *Gate) Quiet() bool { return g == nil || g.failures.Quiet() }

// Shut reports whether a caller has to wait, without counting it.
func (g *Gate) Shut(c Caller) bool { return !g.Quiet() && g.failures.Wait(Subnet(c.At)) > 0 }

// Waits is how long a caller has to wait until it may try; 0: it may. A caller that
// has to is counted and told of in the log.
func (g *Gate) Waits(c Caller) time.Duration {
	if g == nil {
		return 0
	}
	at := Subnet(c.At)
	wait := g.failures.Wait(at)
	if wait > 0 {
		g.count(c.Via, Waiting)
		g.report.refused(at, c.Via, c.Forwarded, g.opts.Now())
	}
	return wait
}

// Wrong counts a failure. It returns how long the caller has to wait, if it had no
// try left: then it is to be told that, and not that it was wrong.
func (g *Gate) Wrong(c Caller, why Reason) (wait time.Duration) {
	if g == nil {
		return 0
	}
	at := Subnet(c.At)
	g.count(c.Via, why)
	if g.failures.Take(at) {
		g.report.failed(at, c.Via, c.Forwarded, g.opts.Now())
		return 0
	}
	g.report.refused(at, c.Via, c.Forwarded, g.opts.Now())
	return max(1, g.failures.Wait(at)) // it may have been forgiven one just now
}

// Right notes that a caller showed what is right, and so that its address is where
// it comes from.
func (g *Gate) Right(c Caller) {
	if g != nil {
		g.proved.add(c.At)
	}
}

// Refused returns how often a protocol refused somebody for a reason.
func (g *Gate) Refused(p bridge.Protocol, why Reason) uint64 {
	if g == nil {
		return 0
	}
	return g.refused[p][why].Load()
}

func (g *Gate) count(p bridge.Protocol, why Reason) { g.refused[p][why].Add(1) }

// Streams is the gate as the frames of a protocol with connections see it.
type Streams struct {
	gate *Gate
	via  bridge.Protocol
}

// Streams returns the gate for frames over connections.
func (g *Gate) Streams(via bridge.Protocol) Streams { return Streams{g, via} }

// AdmitKey reports whether a K from an address is to be looked at.
func (s Streams) AdmitKey(from netip.Addr) bool {
	return s.gate.Waits(Caller{Via: s.via, At: from}) == 0
}

// WrongKey counts a K with a wrong key.
func (s Streams) WrongKey(from netip.Addr) { s.gate.Wrong(Caller{Via: s.via, At: from}, WrongKey) }

// WantsCookie reports whether a cookie changes anything: the handshake has shown as
// much.
func (s Streams) WantsCookie(netip.Addr) bool { return false }

// AdmitTag reports whether an r from an address is to be looked at.
func (s Streams) AdmitTag(from netip.Addr, _ bool) bool { return s.AdmitKey(from) }

// WrongTag counts an r with a wrong tag.
func (s Streams) WrongTag(from netip.Addr) { s.WrongKey(from) }

// Proved notes that an address has registered.
func (s Streams) Proved(from netip.Addr) { s.gate.Right(Caller{Via: s.via, At: from}) }
