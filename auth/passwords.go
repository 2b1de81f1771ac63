package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"watchtower/config"
)

// Verdict is the result of Check.
type Verdict int

// The verdicts. After Later and Full the password may be right or wrong: the answer must
// tell the client to try again.
const (
	Right Verdict = iota
	Wrong
	Later // the address was wrong too often, and has to wait
	Full  // too many passwords wait, of all or of this address, or the context ended
)

const (
	// hashing is the most passwords that are hashed at a time.
	hashing = 2
	// waitingMost is the most passwords that wait to be hashed.
	waitingMost = 1024
)

// Passwords checks users' passwords. Hashing is slow on purpose, so attackers can use up
// its time. A password that was right once is recognized by a fast digest, so that
// devices which all come back at once do not wait. All other passwords wait in a queue.
// Its order puts those who guess last:
//
//  1. First come addresses that proved themselves, then unknown ones. Addresses that
//     failed lately come last, those with fewer failures before those with more.
//  2. Among these, those come first in whose neighbourhood (a /24 of IPv4, a /48 of IPv6)
//     there were fewer failures.
//  3. Among equals, the newest and the oldest take turns. So neither an attack that began
//     earlier nor one that begins later keeps a client out.
//
// When the queue is full, a new password displaces the last one if it goes before that.
// An address has no more passwords in the queue than it has tries left.
type Passwords struct {
	gate  *Gate // nil: no limit
	salt  [32]byte
	near  *Limiter[netip.Prefix] // counts failures by neighbourhood; it refuses nothing
	right func(hash, password []byte) bool

	mu      sync.Mutex
	known   map[string]secret
	busy    int // passwords that are being hashed
	waiting []*ticket
	of      map[netip.Prefix]int // passwords of an address that wait or are being hashed
	newest  bool                 // among equals, the newest had the last turn
}

// secret holds digests of a password and of the bcrypt hash that it is compared with.
type secret struct{ hash, digest [sha256.Size]byte }

// ticket is one password that waits.
type ticket struct {
	user   string
	secret secret
	at     netip.Addr
	called chan turn // receives one value; buffered
}

// turn is the result of a ticket.
type turn int

const (
	mayHash turn = iota // it is its turn
	isRight             // by its own hash, or that of a ticket with the same password
	isWrong             // likewise
	isLeft              // not checked: no room, no tries left, or its time ended
)

// NewPasswords returns an empty queue. It starts no goroutine: the caller of Check hashes
// the password itself when its turn comes.
func NewPasswords(g *Gate) *Passwords {
	o := Options{Limits: config.Default().Limits}.withDefaults()
	if g != nil {
		o = g.opts
	}
	p := &Passwords{
		gate: g, known: map[string]secret{}, of: map[netip.Prefix]int{},
		near:  NewLimiter[netip.Prefix](Limit{Burst: 1 << 20, Every: o.FailureInterval, Most: addressesMost}, o.Now),
		right: func(hash, password []byte) bool { return bcrypt.CompareHashAndPassword(hash, password) == nil },
	}
	_, _ = rand.Read(p.salt[:]) // cannot fail
	return p
}

// Check says whether a password is right for a user with this bcrypt hash. It waits for
// its turn until ctx ends. It counts the result at the gate: the caller only has to
// answer.
func (p *Passwords) Check(ctx context.Context, c Caller, user string, hash, password []byte) Verdict {
	if p.gate.Waits(c) > 0 {
		return Later
	}
	s := secret{sha256.Sum256(hash), sha256.Sum256(append(p.salt[:], password...))}
	if p.knows(user, s) {
		return p.verdict(c, isRight)
	}
	t := &ticket{user: user, secret: s, at: c.At, called: make(chan turn, 1)}
	became := p.wait(ctx, t)
	if became == mayHash {
		if p.gate.Waits(c) > 0 { // its address used up its tries meanwhile
			p.next(t, false, false)
			return Later
		}
		right := p.right(hash, password)
		became = isWrong
		if right {
			became = isRight
		}
		v := p.verdict(c, became) // before others of its address are let in
		p.next(t, true, right)
		return v
	}
	return p.verdict(c, became)
}

// Forget forgets the digests of right passwords.
func (p *Passwords) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.known)
}

// verdict counts the result at the gate and turns it into a Verdict.
func (p *Passwords) verdict(c Caller, became turn) Verdict {
	switch became {
	case isRight:
		p.gate.Right(c)
		return Right
	case isWrong:
		p.near.Take(neighbourhood(c.At))
		if p.gate.Wrong(c, WrongPassword) > 0 {
			return Later
		}
		return Wrong
	}
	if p.gate != nil {
		p.gate.count(c.Via, Busy)
	}
	return Full
}

func (p *Passwords) knows(user string, s secret) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.known[user]
	return ok && k.hash == s.hash && subtle.ConstantTimeCompare(k.digest[:], s.digest[:]) == 1
}

// wait returns mayHash when it is the ticket's turn. Any other result is final.
func (p *Passwords) wait(ctx context.Context, t *ticket) turn {
	p.mu.Lock()
	at := Subnet(t.at)
	switch {
	case p.gate != nil && p.of[at] >= p.gate.opts.Failures-p.gate.failures.Spent(at):
		p.mu.Unlock()
		return isLeft
	case p.busy < hashing:
		p.busy++
		p.of[at]++
		p.mu.Unlock()
		return mayHash
	case len(p.waiting) >= waitingMost && !p.makeRoomLocked(t):
		p.mu.Unlock()
		return isLeft
	}
	p.waiting = append(p.waiting, t)
	p.of[at]++
	p.mu.Unlock()
	select {
	case became := <-t.called:
		return became
	case <-ctx.Done():
	}
	p.mu.Lock()
	for i, w := range p.waiting {
		if w == t {
			p.settleLocked(i, isLeft)
		}
	}
	p.mu.Unlock()
	became := <-t.called
	if became == mayHash { // its turn came just now, but its time has ended
		p.next(t, false, false)
		return isLeft
	}
	return became
}

// next ends a ticket's turn, and gives the turn to the first that waits. If the ticket was
// hashed, all waiting tickets with the same user and password get its result.
func (p *Passwords) next(t *ticket, hashed, right bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaveLocked(t)
	p.busy--
	if hashed {
		became := isWrong
		if right {
			became = isRight
			p.known[t.user] = t.secret
		}
		for i := len(p.waiting) - 1; i >= 0; i-- {
			if w := p.waiting[i]; w.user == t.user && w.secret == t.secret {
				p.settleLocked(i, became)
			}
		}
	}
	if len(p.waiting) == 0 {
		return
	}
	p.busy++
	first := p.firstLocked()
	w := p.waiting[first]
	p.waiting = append(p.waiting[:first], p.waiting[first+1:]...)
	w.called <- mayHash
}

// settleLocked takes a ticket out of the queue and gives it its result.
func (p *Passwords) settleLocked(i int, became turn) {
	t := p.waiting[i]
	p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
	p.leaveLocked(t)
	t.called <- became
}

func (p *Passwords) leaveLocked(t *ticket) {
	at := Subnet(t.at)
	if p.of[at]--; p.of[at] == 0 {
		delete(p.of, at)
	}
}

// makeRoomLocked removes the last ticket of a full queue if t goes before it, and reports
// whether it did.
func (p *Passwords) makeRoomLocked(t *ticket) bool {
	last := p.lastLocked()
	if !p.ranksOf(t).before(p.ranksOf(p.waiting[last])) {
		return false
	}
	p.settleLocked(last, isLeft)
	return true
}

// firstLocked returns the index of the ticket whose turn it is. It looks at all: compared
// with one hash that costs nothing.
func (p *Passwords) firstLocked() int {
	p.newest = !p.newest
	best, ranks := 0, p.ranksOf(p.waiting[0])
	for i, t := range p.waiting[1:] {
		r := p.ranksOf(t)
		if r.before(ranks) || p.newest && r == ranks {
			best, ranks = i+1, r
		}
	}
	return best
}

// lastLocked returns the index of the ticket whose turn would come last.
func (p *Passwords) lastLocked() int {
	last, ranks := 0, p.ranksOf(p.waiting[0])
	for i, t := range p.waiting[1:] {
		if r := p.ranksOf(t); ranks.before(r) {
			last, ranks = i+1, r
		}
	}
	return last
}

// ranks are what waiting tickets are ordered by, the least first.
type ranks struct{ class, near int }

// The classes of addresses.
const (
	hasProved = iota
	isNew
	hasFailed // plus the number of failures
)

func (r ranks) before(other ranks) bool {
	return r.class < other.class || r.class == other.class && r.near < other.near
}

func (p *Passwords) ranksOf(t *ticket) ranks {
	r := ranks{class: isNew, near: p.near.Spent(neighbourhood(t.at))}
	if p.gate == nil {
		return r
	}
	if n := p.gate.failures.Spent(Subnet(t.at)); n > 0 {
		r.class = hasFailed + n
	} else if p.gate.proved.has(t.at) {
		r.class = hasProved
	}
	return r
}

// neighbourhood returns the prefix around an address in which one attacker may have many
// addresses.
func neighbourhood(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 24
	switch {
	case !a.IsValid():
		bits = 0
	case a.Is6():
		bits = 48
	}
	return netip.PrefixFrom(a, bits).Masked()
}
