package auth

// HashBy replaces bcrypt by right.
func (p *Passwords) HashBy(right func(hash, password []byte) bool) { p.right = right }

// Waiting returns how many passwords wait to be hashed.
func (p *Passwords) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// The bounds.
const (
	Hashing     = hashing
	WaitingMost = waitingMost
	ProvedMost  = provedMost
	Reported    = reported

	WrongReported = wrongReported
)

// Proved returns how many addresses are known to have proved themselves.
func (g *Gate) Proved() int { return len(g.proved.known) }
