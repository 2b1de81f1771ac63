package mdns

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// The kinds of records, and the class of all.
const (
	typeA    = 1
	typePTR  = 12
	typeTXT  = 16
	typeAAAA = 28
	typeSRV  = 33
	typeNSEC = 47
	typeAny  = 255

	classIN  = 1
	classAny = 255

	topBit = 1 << 15 // of a class: flush what you know, or: answer to me alone
)

const (
	isResponse = 1 << 15 // of a message's flags
	isFinal    = 1 << 10 // the answer of who has the name
)

// largest is the size in bytes of the largest message.
const largest = 9000

var errMalformed = errors.New("mdns: malformed message")

// name is a domain name as it is sent: labels, each with its length before it, and a 0. So
// a label may hold a dot.
type name string

const rootName name = "\x00"

// nameOf makes a name of labels of 1 to 63 bytes.
func nameOf(labels ...string) name {
	var b strings.Builder
	for _, l := range labels {
		b.WriteByte(byte(len(l)))
		b.WriteString(l)
	}
	return name(b.String()) + rootName
}

// key is the same for names that differ in the case of ASCII letters only.
func (n name) key() string {
	b := []byte(n)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' { // never a length, which is below 64
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func (n name) is(other name) bool { return len(n) == len(other) && n.key() == other.key() }

// first returns the first label.
func (n name) first() string {
	if len(n) < 2 {
		return ""
	}
	return string(n[1 : 1+int(n[0])])
}

// rest returns the name without its first label.
func (n name) rest() name {
	if len(n) < 2 {
		return rootName
	}
	return n[1+int(n[0]):]
}

// String returns the name for people.
func (n name) String() string {
	var labels []string
	for ; len(n) > 1; n = n.rest() {
		labels = append(labels, n.first())
	}
	return strings.Join(labels, ".")
}

type question struct {
	name  name
	typ   uint16
	class uint16 // without the top bit
}

// record is a resource record.
type record struct {
	name   name
	typ    uint16
	class  uint16 // without the top bit
	flush  bool   // nobody else has records of this name and type
	ttl    uint32 // seconds
	fixed  []byte // its data, up to target
	target name   // of PTR and SRV
}

// data is what the record says, without compression.
func (r record) data() string { return string(r.fixed) + string(r.target) }

// same reports whether two records say the same.
func (r record) same(other record) bool {
	return r.typ == other.typ && r.name.is(other.name) && string(r.fixed) == string(other.fixed) && r.target.is(other.target)
}

type message struct {
	id          uint16
	flags       uint16
	questions   []question
	answers     []record
	authorities []record
	additionals []record
}

func (m message) response() bool { return m.flags&isResponse != 0 }

// parse reads a message.
func parse(b []byte) (m message, err error) {
	if len(b) < 12 || len(b) > largest {
		return m, errMalformed
	}
	var counts [4]int
	m.id, m.flags = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	for i := range counts {
		counts[i] = int(binary.BigEndian.Uint16(b[4+2*i:]))
	}
	r := reader{b, 12}
	for range counts[0] {
		q := question{name: r.name()}
		q.typ, q.class = r.uint16(), r.uint16()&^topBit
		if r.at < 0 {
			return m, errMalformed
		}
		m.questions = append(m.questions, q)
	}
	for i, section := range []*[]record{&m.answers, &m.authorities, &m.additionals} {
		for range counts[1+i] {
			rec := r.record()
			if r.at < 0 {
				return m, errMalformed
			}
			*section = append(*section, rec)
		}
	}
	return m, nil
}

// reader reads a message. After a fault its place is -1, and all that it reads is empty.
type reader struct {
	b  []byte
	at int
}

func (r *reader) bytes(n int) []byte {
	if r.at < 0 || r.at+n > len(r.b) {
		r.at = -1
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// name reads a name. A pointer leads to a place before what it is a part of, so there are
// no circles.
func (r *reader) name() name {
	var out []byte
	end := -1 // where reading goes on, if a pointer was followed
	for begin := r.at; ; {
		length := r.bytes(1)
		if length == nil {
			return rootName
		}
		switch n := int(length[0]); {
		case n == 0:
			if end >= 0 {
				r.at = end
			}
			return name(append(out, 0))
		case n < 64:
			label := r.bytes(n)
			if out = append(append(out, byte(n)), label...); len(out) > 254 {
				r.at = -1
			}
		case n >= 192:
			low := r.bytes(1)
			if low == nil {
				return rootName
			}
			to := (n-192)<<8 | int(low[0])
			if end < 0 {
				end = r.at
			}
			if to >= begin {
				r.at = -1
				return rootName
			}
			r.at, begin = to, to
		default:
			r.at = -1
		}
	}
}

func (r *reader) record() (rec record) {
	rec.name = r.name()
	rec.typ = r.uint16()
	class := r.uint16()
	rec.class, rec.flush = class&^topBit, class&topBit != 0
	if b := r.bytes(4); b != nil {
		rec.ttl = binary.BigEndian.Uint32(b)
	}
	n := int(r.uint16())
	if r.at < 0 || r.at+n > len(r.b) {
		r.at = -1
		return rec
	}
	end := r.at + n
	switch rec.typ {
	case typeSRV:
		rec.fixed = slices.Clone(r.bytes(6))
		rec.target = r.name()
	case typePTR:
		rec.target = r.name()
	default:
		rec.fixed = slices.Clone(r.bytes(n))
	}
	if r.at != end {
		r.at = -1
	}
	return rec
}

// pack returns the message's bytes.
func (m message) pack() []byte {
	w := writer{known: map[name]int{}}
	w.uint16(m.id)
	w.uint16(m.flags)
	for _, n := range []int{len(m.questions), len(m.answers), len(m.authorities), len(m.additionals)} {
		w.uint16(uint16(n))
	}
	for _, q := range m.questions {
		w.name(q.name)
		w.uint16(q.typ)
		w.uint16(q.class)
	}
	for _, section := range [][]record{m.answers, m.authorities, m.additionals} {
		for _, r := range section {
			w.record(r)
		}
	}
	return w.b
}

type writer struct {
	b     []byte
	known map[name]int // where a name begins
}

func (w *writer) uint16(n uint16) { w.b = binary.BigEndian.AppendUint16(w.b, n) }

func (w *writer) name(n name) {
	for ; len(n) > 1; n = n.rest() {
		if at, ok := w.known[n]; ok {
			w.uint16(topBit | topBit>>1 | uint16(at))
			return
		}
		if len(w.b) < 1<<14 {
			w.known[n] = len(w.b)
		}
		w.b = append(w.b, n[:1+int(n[0])]...)
	}
	w.b = append(w.b, 0)
}

func (w *writer) record(r record) {
	w.name(r.name)
	w.uint16(r.typ)
	class := r.class
	if r.flush {
		class |= topBit
	}
	w.uint16(class)
	w.b = binary.BigEndian.AppendUint32(w.b, r.ttl)
	w.uint16(0)
	begin := len(w.b)
	w.b = append(w.b, r.fixed...)
	if r.target != "" {
		w.name(r.target)
	}
	binary.BigEndian.PutUint16(w.b[begin-2:], uint16(len(w.b)-begin))
}
