package mdns

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// A link first asks whether its names are free, then announces itself, then answers.
const (
	probing = iota
	announcing
	answering
)

const (
	probes        = 3
	probeGap      = 250 * time.Millisecond
	announcements = 2
	announceGap   = time.Second
	loserWaits    = time.Second     // after others asked for the name at the same time
	manyRenames   = 15              // after which it waits
	patience      = 5 * time.Second // before each further name
	repeatGap     = time.Second     // between two times that all are told the same
)

// link is where records are announced.
type link struct {
	id      linkID
	place   place
	records []record
	said    []time.Time // when all were last told each record
	wanted  []bool      // the records that somebody asked for
	due     time.Time   // when they get them; zero: nobody asked
	step    int
	done    int       // probes or announcements
	next    time.Time // when the step goes on; zero: never
}

// responder decides what is said. The caller has a lock, and a clock.
type responder struct {
	o        Options
	services []Service
	who      who
	renames  int // within the last time
	links    map[linkID]*link
	seed     maphash.Seed
	echoes   [64]uint64 // of what was sent last: it comes back, on other links too
	echo     int
	// send sends a message to all on a link, or to one.
	send func(on linkID, to netip.AddrPort, b []byte)
	// told is told what people may want to know.
	told func(what string)
}

func newResponder(o Options, services []Service, send func(linkID, netip.AddrPort, []byte), told func(string)) *responder {
	return &responder{o: o, services: services, links: map[linkID]*link{}, seed: maphash.MakeSeed(), send: send, told: told}
}

// everybody is the address of all on a link.
var everybody netip.AddrPort

// set takes the interfaces that there are now. It returns the links on which something is
// announced.
func (r *responder) set(now time.Time, places []place) []linkID {
	var there []linkID
	for _, p := range places {
		for _, id := range []linkID{{p.Index, false}, {p.Index, true}} {
			records := recordsAt(r.o, r.services, r.who, p, id.v6)
			if len(records) == 0 {
				continue
			}
			there = append(there, id)
			l := r.links[id]
			switch {
			case l == nil:
				l = &link{id: id}
				r.links[id] = l
				l.have(p, records)
				l.probe(now.Add(jitter(0, probeGap)))
			case !slices.EqualFunc(l.records, records, record.same):
				if l.step != probing {
					r.retract(now, l, func(old record) bool { return !slices.ContainsFunc(records, old.same) })
					l.step, l.done, l.next = announcing, 0, now
				}
				l.have(p, records)
			default:
				l.place = p
			}
		}
	}
	for id := range r.links {
		if !slices.Contains(there, id) {
			delete(r.links, id)
		}
	}
	return there
}

// reached begins anew on links which can be heard and spoken to from now on.
func (r *responder) reached(now time.Time, v6 bool, indexes []int) {
	for _, index := range indexes {
		if l := r.links[linkID{index, v6}]; l != nil {
			l.probe(now.Add(jitter(0, probeGap)))
		}
	}
}

func (l *link) have(p place, records []record) {
	l.place, l.records = p, records
	l.said, l.wanted, l.due = make([]time.Time, len(records)), make([]bool, len(records)), time.Time{}
}

// probe begins with the question whether the names are free.
func (l *link) probe(at time.Time) { l.step, l.done, l.next = probing, 0, at }

func jitter(least, most time.Duration) time.Duration {
	return least + rand.N(most-least)
}

// advance does what is due, and returns when it wants to be called again; zero: when
// something comes.
func (r *responder) advance(now time.Time) (next time.Time) {
	for _, l := range r.links {
		if !l.next.IsZero() && !now.Before(l.next) {
			r.stride(now, l)
		}
		if !l.due.IsZero() && !now.Before(l.due) {
			r.answer(now, l)
		}
		for _, t := range []time.Time{l.next, l.due} {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

// stride does the next of a link's probes and announcements.
func (r *responder) stride(now time.Time, l *link) {
	if l.step == probing && l.done < probes {
		r.ask(l)
		l.done++
		l.next = now.Add(probeGap)
		return
	}
	if l.step == probing {
		l.step, l.done, r.renames = announcing, 0, 0
	}
	r.tellAll(now, l, l.records)
	l.done++
	l.next = now.Add(announceGap)
	if l.done >= announcements {
		l.step, l.next = answering, time.Time{}
	}
}

// ask asks whether the names of a link are free, and says what they would be.
func (r *responder) ask(l *link) {
	var m message
	for _, rec := range l.records {
		if !rec.unique() {
			continue
		}
		rec.flush = false
		m.authorities = append(m.authorities, rec)
		if !slices.ContainsFunc(m.questions, func(q question) bool { return q.name == rec.name }) {
			m.questions = append(m.questions, question{rec.name, typeAny, classIN})
		}
	}
	r.say(l, everybody, m)
}

func (r *responder) tellAll(now time.Time, l *link, records []record) {
	for i := range l.said {
		l.said[i] = now
	}
	r.say(l, everybody, message{flags: isResponse | isFinal, answers: records})
}

// goodbye says that everything that was announced ends.
func (r *responder) goodbye(now time.Time) {
	for _, l := range r.links {
		if l.step != probing {
			r.retract(now, l, func(record) bool { return true })
		}
	}
}

// retract says that some of a link's records end.
func (r *responder) retract(now time.Time, l *link, ends func(record) bool) {
	var records []record
	for _, rec := range l.records {
		if ends(rec) {
			rec.ttl = 0
			records = append(records, rec)
		}
	}
	r.tellAll(now, l, records)
}

func (r *responder) say(l *link, to netip.AddrPort, m message) {
	b := m.pack()
	r.echoes[r.echo] = maphash.Bytes(r.seed, b)
	r.echo = (r.echo + 1) % len(r.echoes)
	r.send(l.id, to, b)
}

// take takes a message that came on a link.
func (r *responder) take(now time.Time, on linkID, from netip.AddrPort, b []byte) {
	l := r.links[on]
	if l == nil || !l.place.neighbour(from.Addr()) || slices.Contains(r.echoes[:], maphash.Bytes(r.seed, b)) {
		return
	}
	m, err := parse(b)
	if err != nil || m.flags&0x780f != 0 { // another operation than a question, or an error
		return
	}
	if m.response() {
		r.compare(now, l, m)
		return
	}
	r.contest(now, l, m)
	r.asked(now, l, from, m)
}
