package intake

import (
	"net/netip"
	"sync"

	"watchtower/bridge"
)

// pool counts the bytes of incomplete messages of known senders.
type pool struct {
	most, share int // 0: no bound

	mu   sync.Mutex
	held int
	lent map[any]int // by sender
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

// Loan counts the bytes that one incomplete message holds. The zero value has no bound.
// Only one goroutine may use it at a time.
type Loan struct {
	in       *Intake
	protocol bridge.Protocol
	held     int

	who any // of a known sender's loan

	guest *Guest // of a stranger's loan
	from  *stranger
	at    netip.Prefix
}

// Lend returns a loan for a known sender. Who identifies the sender and must be
// comparable.
func (in *Intake) Lend(p bridge.Protocol, who any) Loan {
	return Loan{in: in, protocol: p, who: who}
}

// Lend returns a loan for a stranger, which counts for an address.
func (g *Guest) Lend(at netip.Prefix) Loan {
	if g.door == nil {
		return Loan{}
	}
	return Loan{in: g.door.in, protocol: g.door.protocol, guest: g, at: at}
}

// Setting returns the name of the setting that bounds the loan.
func (l *Loan) Setting() string {
	if l.guest != nil {
		return StrangersSetting
	}
	return UnfinishedSetting
}

// Take borrows n more bytes. If the limit forbids that, it counts a refusal and reports
// false.
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

// borrow takes n bytes from those of all strangers.
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
