package intake

import (
	"container/list"
	"io"
	"net"
	"net/netip"
	"time"

	"watchtower/auth"
	"watchtower/bridge"
)

// Door is one kind of listener, with all its connections.
type Door struct {
	in       *Intake
	protocol bridge.Protocol
	setting  string // of most
	most     int    // connections; 0: no bound

	// Guarded by in.mu:
	conns     int
	parties   map[netip.Prefix]*party
	strangers list.List // of *stranger, the oldest first
}

// party is all connections of one address through one door.
type party struct {
	at        netip.Prefix
	conns     int
	bytes     int       // that its strangers hold
	strangers list.List // of *stranger, the oldest first
}

// Guest is one connection. Nothing bounds the zero value. It is small, because every
// connection keeps one.
type Guest struct {
	door     *Door
	party    *party    // nil: it has left
	stranger *stranger // nil: it is known
	exempt   bool      // its address may have any number of connections
}

// stranger is what a guest has in addition until it is known.
type stranger struct {
	guest         *Guest
	closer        io.Closer
	since         time.Time
	base, lent    int  // bytes: the fixed sum, and what it has borrowed
	expelled      bool // its borrowed bytes were given back already
	inDoor, inOwn *list.Element
}

// expulsion is a stranger that must be closed, which happens without the lock.
type expulsion struct {
	closer  io.Closer
	door    *Door
	at      netip.Prefix
	setting string // the limit that was reached
}

// carry closes and counts the expelled strangers.
func (in *Intake) carry(out []expulsion) {
	for _, e := range out {
		_ = e.closer.Close() // the connection's own goroutine notices an error
		in.Refused(e.door.protocol, e.setting, e.at)
	}
}

// Visit describes a connection that comes in.
type Visit struct {
	At     netip.Prefix // see Of
	Bytes  int          // size of its buffers while it is a stranger
	Exempt bool         // its address is a proxy's, which may have any number of connections
	Closer io.Closer    // closes it without waiting for anything
}

// Door adds a kind of listener that takes at most most connections (0: no bound).
// Setting is the name of the setting with that bound.
func (in *Intake) Door(p bridge.Protocol, setting string, most int) *Door {
	d := &Door{in: in, protocol: p, setting: setting, most: most, parties: map[netip.Prefix]*party{}}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.doors = append(in.doors, d)
	return d
}

// Of returns the prefix that an address is counted by, the same as for wrong keys.
func Of(a netip.Addr) netip.Prefix { return auth.Subnet(a) }

// From returns Of for a connection's remote address. All addresses that are no IP address
// count as one.
func From(addr net.Addr) netip.Prefix {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		if a, ok := netip.AddrFromSlice(tcp.IP); ok {
			return Of(a)
		}
		return netip.Prefix{}
	}
	if addr == nil {
		return netip.Prefix{}
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	return Of(ap.Addr())
}

// Enter takes a connection in as a stranger. It may close other strangers to make room.
// If it reports false, there is no room: the caller has to close the connection.
func (d *Door) Enter(g *Guest, v Visit) bool {
	in := d.in
	var out []expulsion
	in.mu.Lock()
	setting := d.roomLocked(v, &out)
	if setting == "" {
		*g = Guest{door: d, party: d.partyLocked(v.At), exempt: v.Exempt}
		d.conns++
		g.party.conns++
		g.estrangeLocked(v.Bytes, v.Closer)
	}
	in.mu.Unlock()
	in.carry(out)
	if setting != "" {
		in.Refused(d.protocol, setting, v.At)
	}
	return setting == ""
}

// roomLocked makes room for one more connection. If it cannot, it returns the setting
// that forbids one more; else "".
func (d *Door) roomLocked(v Visit, out *[]expulsion) (setting string) {
	in := d.in
	if p := d.parties[v.At]; !v.Exempt && p != nil && in.opts.ConnectionsPerAddress > 0 && p.conns >= in.opts.ConnectionsPerAddress {
		if p.strangers.Len() == 0 {
			return AddressSetting
		}
		in.expelLocked(p.strangers.Front().Value.(*stranger), AddressSetting, out)
	}
	if d.most > 0 && d.conns >= d.most {
		victim := d.victimLocked()
		if victim == nil {
			return d.setting
		}
		in.expelLocked(victim, d.setting, out)
	}
	if !in.makeLocked(v.Bytes, nil, out) {
		return StrangersSetting
	}
	return ""
}

// victimLocked returns the stranger that makes room for a connection: the oldest, if it
// is past the time to register, else the oldest of the address with the most strangers.
func (d *Door) victimLocked() *stranger {
	if d.strangers.Len() == 0 {
		return nil
	}
	oldest := d.strangers.Front().Value.(*stranger)
	if d.in.late(oldest) {
		return oldest
	}
	var most *party
	for _, p := range d.parties {
		if n := p.strangers.Len(); n > 0 && (most == nil || n > most.strangers.Len()) {
			most = p
		}
	}
	return most.strangers.Front().Value.(*stranger)
}

func (in *Intake) late(s *stranger) bool {
	return in.opts.Now().Sub(s.since) > in.opts.RegisterTimeout
}

// makeLocked makes room for bytes of a stranger, and reports false if it cannot. By is
// the guest that wants them, or nil for a new connection. A stranger within its time is
// not expelled for by if the address of by holds as much or more.
func (in *Intake) makeLocked(bytes int, by *Guest, out *[]expulsion) bool {
	for in.opts.StrangersBytes > 0 && in.held+bytes > in.opts.StrangersBytes {
		victim := in.holderLocked(by)
		if victim == nil {
			return false
		}
		in.expelLocked(victim, StrangersSetting, out)
	}
	return true
}

// holderLocked returns the stranger that makes room for bytes, over all doors: the oldest,
// if it is past the time to register, else the oldest of the address that holds the most
// bytes.
func (in *Intake) holderLocked(by *Guest) *stranger {
	var oldest *stranger
	var most *party
	for _, d := range in.doors {
		if e := d.strangers.Front(); e != nil {
			if s := e.Value.(*stranger); s.guest != by && (oldest == nil || s.since.Before(oldest.since)) {
				oldest = s
			}
		}
		for _, p := range d.parties {
			if p.strangers.Len() > 0 && (most == nil || p.bytes > most.bytes) {
				most = p
			}
		}
	}
	switch {
	case oldest != nil && in.late(oldest):
		return oldest
	case most == nil || by != nil && by.party != nil && most.bytes <= by.party.bytes:
		return nil
	}
	return most.strangers.Front().Value.(*stranger)
}

// expelLocked takes a stranger out and adds it to out. The caller closes what is in out,
// without the lock.
func (in *Intake) expelLocked(s *stranger, setting string, out *[]expulsion) {
	*out = append(*out, expulsion{s.closer, s.guest.door, s.guest.party.at, setting})
	s.expelled = true
	in.held -= s.lent
	s.guest.leaveLocked()
}

func (d *Door) partyLocked(at netip.Prefix) *party {
	p := d.parties[at]
	if p == nil {
		p = &party{at: at}
		d.parties[at] = p
	}
	return p
}

// estrangeLocked makes a guest a stranger.
func (g *Guest) estrangeLocked(bytes int, closer io.Closer) {
	s := &stranger{guest: g, closer: closer, since: g.door.in.opts.Now(), base: bytes}
	s.inDoor, s.inOwn = g.door.strangers.PushBack(s), g.party.strangers.PushBack(s)
	g.stranger = s
	g.party.bytes += bytes
	g.door.in.held += bytes
}

// knowLocked ends that a guest is a stranger: its fixed sum is free. What it has borrowed
// stays charged until the loan is closed.
func (g *Guest) knowLocked() {
	s := g.stranger
	if s == nil {
		return
	}
	g.stranger = nil
	g.door.strangers.Remove(s.inDoor)
	g.party.strangers.Remove(s.inOwn)
	g.party.bytes -= s.base + s.lent
	g.door.in.held -= s.base
}

func (g *Guest) leaveLocked() {
	if g.party == nil {
		return
	}
	g.knowLocked()
	g.goLocked()
	g.party = nil
	g.door.conns--
}

// goLocked removes a guest from its party.
func (g *Guest) goLocked() {
	if g.party.conns--; g.party.conns == 0 {
		delete(g.door.parties, g.party.at)
	}
}

// Know notes that a guest has proved who it is. It may be called again.
func (g *Guest) Know() {
	if g.door == nil {
		return
	}
	g.door.in.mu.Lock()
	defer g.door.in.mu.Unlock()
	g.knowLocked()
}

// Estrange makes a known guest a stranger again. If it reports false, there is no room for
// another stranger: the caller has to close the connection.
func (g *Guest) Estrange(bytes int, closer io.Closer) bool {
	if g.door == nil {
		return true
	}
	in := g.door.in
	var out []expulsion
	in.mu.Lock()
	ok := g.party != nil
	if ok && g.stranger == nil {
		if ok = in.makeLocked(bytes, nil, &out); ok {
			g.estrangeLocked(bytes, closer)
		}
	}
	in.mu.Unlock()
	in.carry(out)
	return ok
}

// Leave notes that a guest's connection has ended. It may be called again.
func (g *Guest) Leave() {
	if g.door == nil {
		return
	}
	g.door.in.mu.Lock()
	defer g.door.in.mu.Unlock()
	g.leaveLocked()
}

// Count notes that a proxy's connection serves one client from now on: it counts for the
// client's address. Count reports false if that address has too many connections.
func (g *Guest) Count(at netip.Prefix) bool {
	if g.door == nil {
		return true
	}
	d, in := g.door, g.door.in
	var out []expulsion
	in.mu.Lock()
	p := g.party
	full := false
	if p != nil && g.exempt && p.at != at {
		to := d.parties[at]
		if full = to != nil && in.opts.ConnectionsPerAddress > 0 && to.conns >= in.opts.ConnectionsPerAddress; full && to.strangers.Len() > 0 {
			in.expelLocked(to.strangers.Front().Value.(*stranger), AddressSetting, &out)
			full = false
		}
		if !full {
			g.moveLocked(d.partyLocked(at))
		}
	}
	in.mu.Unlock()
	in.carry(out)
	if full {
		in.Refused(d.protocol, AddressSetting, at)
	}
	return !full
}

func (g *Guest) moveLocked(to *party) {
	if s := g.stranger; s != nil {
		g.party.strangers.Remove(s.inOwn)
		g.party.bytes -= s.base + s.lent
		to.bytes += s.base + s.lent
		s.inOwn = to.strangers.PushBack(s)
	}
	g.goLocked()
	g.party, g.exempt = to, false
	to.conns++
}
