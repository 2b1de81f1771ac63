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

// Verdict is what became of a password.
type Verdict int

// The verdicts. Only Wrong says anything of the password: after Later and Full the
// client is to be told to try again.
const (
	Right Verdict = iota
	Wrong
	Later // its address was wrong too often, and waits
	Full  // too many wait to be hashed, or it would have taken too long
)

const (
	// hashing is how many passwords are hashed at a time.
	hashing = 2
	// waitingMost is how many passwords wait to be hashed.
	waitingMost = 1024
)

// Passwords checks users' passwords. Hashing is slow on purpose, so it is what
// strangers use up first. Who was right once is known by a fast digest, so that a
// house of devices that all come back at once does not wait. All others wait in a
// queue, in an order that leaves those behind who guess:
//
//  1. addresses that have not failed lately go before those that have, and those that
//     proved themselves first of all;
//  2. then those go first in whose neighbourhood (a /24 of IPv4, a /48 of IPv6) there
//     were fewer failures;
//  3. then, in turn, who came last and who has waited longest: neither an attack that
//     was there before nor one that comes after keeps somebody out.
//
// When the queue is full, the last of it makes room for one who goes before it. An
// address has no more passwords in it than tries left.
type Passwords struct {
	gate  *Gate // nil: no limit
	salt  [32]byte
	near  *Limiter[netip.Prefix] // failures by neighbourhood, which bound nothing
	right func(hash, password []byte) bool

	mu      sync.Mutex
	known   map[string]secret
	busy    int // that are being hashed
	waiting []*ticket
	of      map[netip.Prefix]int // in waiting, or being hashed
	newest  bool                 // whose turn it is among equals
}

// secret is a user's right password, as a digest, and the hash that it is right for.
type secret struct{ hash, digest [sha256.Size]byte }

// ticket is one password that waits.
type ticket struct {
	user   string
	secret secret
	at     netip.Addr
	called chan turn // has room for one
}

// turn is what a ticket came to.
type turn int

const (
	mayHash turn = iota
	isRight      // somebody else gave the same
	isWrong
	isLeft // another took its place
)

// NewPasswords returns a queue that is empty. It starts nothing: who checks a
// password hashes it, when it is its turn.
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

// Check says whether a password is right for a user, whose bcrypt hash is given. It
// waits until ctx ends. What it comes to is counted at the gate: the caller has no
// more to do than to answer.
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
		if p.gate.Waits(c) > 0 { // it was wrong meanwhile
			p.next(t, false, false)
			return Later
		}
		right := p.right(hash, password)
		became = isWrong
		if right {
			became = isRight
		}
		p.next(t, true, right)
	}
	return p.verdict(c, became)
}

// Forget forgets which passwords were right.
func (p *Passwords) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.known)
}

// verdict counts what a password came to.
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

// wait returns when a ticket may be hashed, or what it came to.
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
	if became == mayHash { // it was called just now, and has no time to
		p.next(t, false, false)
		return isLeft
	}
	return became
}

// next lets another hash, after a ticket was, or was not. Those who gave the same
// password for the same user know as much then.
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

// settleLocked takes a ticket out of the queue, and tells it why.
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

// makeRoomLocked lets the last of a full queue go for one who goes before it.
func (p *Passwords) makeRoomLocked(t *ticket) bool {
	last := p.lastLocked()
	if !p.ranksOf(t).before(p.ranksOf(p.waiting[last])) {
		return false
	}
	p.settleLocked(last, isLeft)
	return true
}

// firstLocked is the ticket whose turn it is. All are looked at: that costs nothing
// beside one hash.
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

// lastLocked is the ticket whose turn would come last.
func (p *Passwords) lastLocked() int {
	last, ranks := 0, p.ranksOf(p.waiting[0])
	for i, t := range p.waiting[1:] {
		if r := p.ranksOf(t); ranks.before(r) {
			last, ranks = i+1, r
		}
	}
	return last
}

// ranks order those who wait, the least first.
type ranks struct{ class, near int }

// The classes of addresses.
const (
	hasProved = iota
	isNew
	hasFailed // and one more for each failure
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

// neighbourhood is what somebody may have many addresses of.
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
