package mdns

import (
	"net/netip"
	"slices"
	"time"
)

// port is that of multicast DNS. A question from another port is of a client that knows
// only DNS.
const port = 5353

// mostQuestions is how many questions of one message are answered.
const mostQuestions = 64

// asked takes questions. The answers wait a little, so that those to several questions go
// together, and hosts do not all speak at once.
func (r *responder) asked(now time.Time, l *link, from netip.AddrPort, m message) {
	if l.step == probing {
		return
	}
	m.questions = m.questions[:min(len(m.questions), mostQuestions)]
	wanted := make([]bool, len(l.records))
	some := false
	for i, rec := range l.records {
		wanted[i] = slices.ContainsFunc(m.questions, func(q question) bool { return l.answers(rec, q) }) &&
			!slices.ContainsFunc(m.answers, func(known record) bool { return known.same(rec) && known.ttl >= rec.ttl/2 })
		some = some || wanted[i]
	}
	if !some {
		return
	}
	if from.Port() != port {
		r.reply(l, from, m, wanted)
		return
	}
	at := now.Add(jitter(20*time.Millisecond, 120*time.Millisecond))
	for i := range wanted {
		if len(m.authorities) > 0 && wanted[i] { // somebody wants our name, and has to know soon
			at, l.said[i] = now, time.Time{}
		}
		l.wanted[i] = l.wanted[i] || wanted[i]
	}
	if l.due.IsZero() || at.Before(l.due) {
		l.due = at
	}
}

// answers reports whether a record answers a question. That a host lacks a type answers the
// question for that type.
func (l *link) answers(rec record, q question) bool {
	if q.class != classIN && q.class != classAny || !q.name.is(rec.name) {
		return false
	}
	if rec.typ != typeNSEC {
		return q.typ == typeAny || q.typ == rec.typ
	}
	return (q.typ == typeA || q.typ == typeAAAA) &&
		!slices.ContainsFunc(l.records, func(other record) bool { return other.typ == q.typ && other.name.is(rec.name) })
}

// answer tells all on a link what somebody wanted, unless they heard it just now.
func (r *responder) answer(now time.Time, l *link) {
	wanted := slices.Clone(l.wanted)
	clear(l.wanted)
	l.due = time.Time{}
	m := message{flags: isResponse | isFinal}
	for i := range wanted {
		wanted[i] = wanted[i] && now.Sub(l.said[i]) >= repeatGap
		if wanted[i] {
			l.said[i] = now
		}
	}
	m.answers, m.additionals = l.chosen(wanted)
	if len(m.answers) > 0 {
		r.say(l, everybody, m)
	}
}

// reply answers a client that knows only DNS.
func (r *responder) reply(l *link, to netip.AddrPort, asked message, wanted []bool) {
	m := message{id: asked.id, flags: isResponse | isFinal, questions: asked.questions}
	m.answers, m.additionals = l.chosen(wanted)
	for _, section := range [][]record{m.answers, m.additionals} {
		for i := range section {
			section[i].flush, section[i].ttl = false, min(section[i].ttl, 10)
		}
	}
	r.say(l, to, m)
}

// chosen returns the records that are wanted, and those that are asked for next: a service's
// host and text, and a host's addresses.
func (l *link) chosen(wanted []bool) (answers, more []record) {
	had := slices.Clone(wanted)
	names := map[string]bool{} // whose records follow
	for i, rec := range l.records {
		if wanted[i] {
			answers = append(answers, rec)
			names[rec.target.key()] = rec.target != ""
		}
	}
	for range 2 { // from a type to its services, and from those to their host
		for i, rec := range l.records {
			if !had[i] && names[rec.name.key()] && rec.unique() {
				had[i] = true
				more = append(more, rec)
				names[rec.target.key()] = rec.target != ""
			}
		}
	}
	return answers, more
}
