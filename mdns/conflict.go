package mdns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// compare looks whether somebody else says something else under a name of ours.
func (r *responder) compare(now time.Time, l *link, m message) {
	for _, section := range [][]record{m.answers, m.authorities, m.additionals} {
		for _, theirs := range section {
			if theirs.ttl == 0 || !r.disagrees(l, theirs) {
				continue
			}
			if l.step == probing {
				r.rename(now, theirs)
			} else { // both ask, and one of them gives way
				l.probe(now.Add(jitter(0, probeGap)))
			}
			return
		}
	}
}

// disagrees reports whether a record of somebody else denies one of ours.
func (r *responder) disagrees(l *link, theirs record) bool {
	if !theirs.unique() || r.isOurs(theirs) {
		return false
	}
	named := false
	for _, ours := range l.records {
		if !ours.unique() || !ours.name.is(theirs.name) {
			continue
		}
		if ours.same(theirs) {
			return false
		}
		named = true
	}
	return named
}

// isOurs reports whether a record is about an address of this machine. It comes back from
// another link, where a host has other addresses.
func (r *responder) isOurs(rec record) bool {
	a, ok := netip.AddrFromSlice(rec.fixed)
	if !ok || rec.typ != typeA && rec.typ != typeAAAA {
		return false
	}
	for _, l := range r.links {
		if slices.Contains(l.place.addresses, a) {
			return true
		}
	}
	return false
}

// rename takes the next name in place of one that somebody else has, on all links.
func (r *responder) rename(now time.Time, taken record) {
	r.goodbye(now)
	if taken.typ == typeA || taken.typ == typeAAAA {
		r.who.host++
	} else {
		r.who.instance++
	}
	r.renames++
	at := now
	if r.renames > manyRenames {
		at = now.Add(patience)
	}
	for _, l := range r.links {
		l.have(l.place, recordsAt(r.o, r.services, r.who, l.place, l.id.v6))
		l.probe(at.Add(jitter(0, probeGap)))
	}
	r.told(taken.name.String())
}

// contest looks whether somebody else wants a name of ours at the same time. Who has the
// later records gets it.
func (r *responder) contest(now time.Time, l *link, m message) {
	if l.step != probing || len(m.authorities) == 0 {
		return
	}
	for _, q := range m.questions {
		theirs, ours := proposed(m.authorities, q.name), proposed(l.records, q.name)
		if len(theirs) == 0 || len(ours) == 0 || slices.ContainsFunc(theirs, r.isOurs) {
			continue
		}
		if slices.CompareFunc(ours, theirs, laterRecord) < 0 {
			l.probe(now.Add(loserWaits))
			return
		}
	}
}

// proposed returns the unique records of a name, in order.
func proposed(records []record, of name) (all []record) {
	for _, rec := range records {
		if rec.unique() && rec.name.is(of) {
			all = append(all, rec)
		}
	}
	slices.SortFunc(all, laterRecord)
	return all
}

// laterRecord orders records of one name (RFC 6762, section 8.2).
func laterRecord(a, b record) int {
	return cmp.Or(cmp.Compare(a.typ, b.typ), strings.Compare(a.data(), b.data()))
}
