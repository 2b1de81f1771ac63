package auth

import (
	"net/netip"

	"watchtower/bridge"
)

// Datagrams is the gate for UDP. The source of a datagram can be forged: see the
// package's documentation.
type Datagrams struct {
	gate *Gate
	via  bridge.Protocol
}

// Datagrams returns the gate for frames in datagrams.
func (g *Gate) Datagrams(via bridge.Protocol) Datagrams { return Datagrams{g, via} }

// AdmitKey reports whether the key in a K from a source may be checked. It is not called
// for a source that has an id.
func (d Datagrams) AdmitKey(from netip.Addr) bool {
	g := d.gate
	if g == nil {
		return true
	}
	at := Subnet(from)
	switch {
	case g.failures.Wait(at) > 0, g.keys.Wait(at) > 0:
		d.refuse(at)
		return false
	case g.strangers.Wait(struct{}{}) > 0 && !g.proved.has(from):
		d.refuse(netip.Prefix{})
		return false
	}
	return true
}

// WrongKey counts a K with a wrong key.
func (d Datagrams) WrongKey(from netip.Addr) {
	g := d.gate
	if g == nil {
		return
	}
	g.noteWrong(Caller{Via: d.via, At: from})
	g.keys.Take(Subnet(from))
	if !g.proved.has(from) {
		g.strangers.Take(struct{}{})
	}
}

// WantsCookie reports whether an r from a source is checked only if it has a cookie.
func (d Datagrams) WantsCookie(from netip.Addr) bool {
	g := d.gate
	return g != nil && g.tags.Wait(Subnet(from)) > 0 && !g.proved.has(from)
}

// AdmitTag reports whether the tag of an r from a source may be checked. It is not called
// for a source that has a session. Cookie says that the r carries a cookie that was made
// for its source.
func (d Datagrams) AdmitTag(from netip.Addr, cookie bool) bool {
	if d.gate == nil {
		return true
	}
	at := Subnet(from)
	if d.gate.failures.Wait(at) > 0 || !cookie && d.WantsCookie(from) {
		d.refuse(at)
		return false
	}
	return true
}

// noteWrong counts, remembers and logs a wrong key in a datagram.
func (g *Gate) noteWrong(c Caller) {
	g.count(c.Via, WrongKey)
	g.wrongs.note(c, WrongKey, g.opts.Now())
	g.tellWrong(c)
}

// WrongTag counts an r with a wrong tag. Name is what it calls itself; empty: nothing.
func (d Datagrams) WrongTag(from netip.Addr, name []byte) {
	if g := d.gate; g != nil {
		g.noteWrong(Caller{Via: d.via, At: from, Name: bridge.Shorten(name)})
		g.tags.Take(Subnet(from))
	}
}

// Proved notes that a source has proved its address: it answered a datagram.
func (d Datagrams) Proved(from netip.Addr) {
	if d.gate != nil {
		d.gate.proved.add(from)
	}
}

// refuse counts a refused datagram. The zero prefix stands for all unknown sources.
func (d Datagrams) refuse(at netip.Prefix) {
	d.gate.count(d.via, Waiting)
	d.gate.report.refused(at, Caller{Via: d.via}, d.gate.opts.Now())
}
