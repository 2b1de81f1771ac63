package intake

import (
	"net/netip"
	"sync"

	"watchtower/bridge"
)

// pool is the bytes of unfinished input of known senders.
type pool struct {
	most, share int // 0: no bound

	mu   sync.Mutex
	held int
	lent map[any]int // by who it is lent to
}

func (p *pool) take(who any, n int) bool {
	if p.most == 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held+n > p.most || p.lent[who]+n > p.share {
		return false
	}
	p.held += n
	p.lent[who] += n
	return true
}

func (p *pool) giveBack(who any, n int) {
	if p.most == 0 || n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held -= n
	if p.lent[who] -= n; p.lent[who] == 0 {
		delete(p.lent, who)
	}
}

// Loan is what one message that has begun holds. Its zero value lends anything. It
// is used by one goroutine at a time.
type Loan struct {
	in       *Intake
	protocol bridge.Protocol
	held     int

	who any // a known sender's

	guest *Guest // a stranger's
	from  *stranger
	at    netip.Prefix
}

// Lend returns a loan of a known sender, who may be anything that can be compared.
func (in *Intake) Lend(p bridge.Protocol, who any) Loan {
	return Loan{in: in, protocol: p, who: who}
}

// Lend returns a loan of a stranger, which counts for an address.
func (g *Guest) Lend(at netip.Prefix) Loan {
	if g.door == nil {
		return Loan{}
	}
	return Loan{in: g.door.in, protocol: g.door.protocol, guest: g, at: at}
}

// Setting is the one that bounds a loan.
func (l *Loan) Setting() string {
	if l.guest != nil {
		return StrangersSetting
	}
	return UnfinishedSetting
}

// Take takes n bytes more. It reports false, and counts that, if there are none.
func (l *Loan) Take(n int) bool {
	switch {
	case l.in == nil:
		return true
	case l.guest == nil && l.in.known.take(l.who, n), l.guest != nil && l.borrow(n):
		l.held += n
		return true
	}
	l.in.Refused(l.protocol, l.Setting(), l.at)
	return false
}

// Close gives everything back. The loan can be used again.
func (l *Loan) Close() {
	switch {
	case l.in == nil || l.held == 0:
	case l.guest == nil:
		l.in.known.giveBack(l.who, l.held)
	default:
		l.repay()
	}
	l.held = 0
}

// borrow takes bytes of the strangers'.
func (l *Loan) borrow(n int) bool {
	in, g := l.in, l.guest
	if in.opts.StrangersBytes == 0 {
		return true
	}
	var out []expulsion
	in.mu.Lock()
	ok := g.party != nil && in.lent[l.at]+n <= in.opts.StrangersBytes/shares && in.makeLocked(n, g, &out)
	if ok {
		if l.held == 0 {
			l.from = g.stranger
		}
		if s := g.stranger; s != nil && s == l.from {
			s.lent += n
			g.party.bytes += n
		}
		in.lent[l.at] += n
		in.held += n
	}
	in.mu.Unlock()
	in.carry(out)
	return ok
}

func (l *Loan) repay() {
	in, g := l.in, l.guest
	if in.opts.StrangersBytes == 0 {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.lent[l.at] -= l.held; in.lent[l.at] == 0 {
		delete(in.lent, l.at)
	}
	if l.from != nil && l.from.expelled {
		return
	}
	in.held -= l.held
	if s := g.stranger; s != nil && s == l.from {
		s.lent -= l.held
		g.party.bytes -= l.held
	}
}
