package mqtt

import (
	"encoding/binary"
	"math/bits"

	"github.com/mochi-mqtt/server/v2/packets"
)

// received are the packet ids of a session's QoS 2 publishes between PUBREC and PUBREL.
// Their messages are delivered: a publish with such an id is the same message again.
type received struct {
	pages []idPage
	n     int
	// doing is the id whose message is being delivered; 0: none. It is not written to
	// disk before the message is.
	doing uint16
	stale bool // the row on disk is out of date
}

// idPage holds 256 ids with the same high byte. An empty page is used again.
type idPage struct {
	bits [4]uint64
	high uint8
}

const (
	receivedBytes = 48
	pageBytes     = 40
)

// bytes is its memory.
func (r *received) bytes() int64 {
	if r == nil {
		return 0
	}
	return int64(receivedBytes + pageBytes*cap(r.pages))
}

func (p *idPage) empty() bool { return p.bits == [4]uint64{} }

func (p *idPage) at(id uint16) (word *uint64, bit uint64) {
	return &p.bits[id>>6&3], 1 << (id & 63)
}

// page returns the page of an id, or nil.
func (r *received) page(id uint16) *idPage {
	for i := range r.pages {
		if p := &r.pages[i]; p.high == uint8(id>>8) {
			return p
		}
	}
	return nil
}

func (r *received) has(id uint16) bool {
	if r == nil {
		return false
	}
	p := r.page(id)
	if p == nil {
		return false
	}
	word, bit := p.at(id)
	return *word&bit != 0
}

func (r *received) add(id uint16) {
	p := r.page(id)
	if p == nil {
		for i := range r.pages {
			if r.pages[i].empty() {
				p = &r.pages[i]
				break
			}
		}
	}
	if p == nil {
		r.pages = append(r.pages, idPage{})
		p = &r.pages[len(r.pages)-1]
	}
	p.high = uint8(id >> 8)
	word, bit := p.at(id)
	*word |= bit
	r.n++
}

func (r *received) remove(id uint16) {
	word, bit := r.page(id).at(id)
	*word &^= bit
	r.n--
}

// receive adds the id of a QoS 2 publish whose message is about to be delivered. fresh is
// false if the id is in use: it is the same message again. most bounds the ids.
func (s *session) receive(id uint16, most int) (fresh bool, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.received.has(id):
		return false, nil
	case s.received != nil && s.received.n >= most:
		return false, packets.ErrReceiveMaximum
	}
	if s.received == nil {
		s.received = &received{}
		s.limits.all.used.Add(receivedBytes)
	}
	before := s.received.bytes()
	s.received.add(id)
	s.received.doing = id
	if grown := s.received.bytes() - before; grown > 0 && s.limits.all.used.Add(grown) > s.limits.all.limit && s.received.n > announcedMost {
		s.received.remove(id)
		return false, errQueues
	}
	return true, nil
}

// delivered notes that the message of the last received id is delivered.
func (s *session) delivered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received != nil { // else the session has ended
		s.received.doing = 0
		s.receivedChanged()
	}
}

// release ends a QoS 2 publish, and reports whether its id was in use.
func (s *session) release(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.received.has(id) {
		return false
	}
	s.received.remove(id)
	s.receivedChanged()
	return true
}

func (s *session) receivedChanged() {
	s.received.stale = true
	s.changed(false)
}

// takeReceived returns the row of the ids, and whether it has to be written. The row has
// 33 bytes for each page: its high byte and a bitmap. Empty: there are no ids.
func (s *session) takeReceived() (row []byte, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.received
	switch {
	case s.ended || !s.durable || r == nil:
		return nil, true
	case !r.stale:
		return nil, false
	}
	r.stale = r.doing != 0 // doing is written later
	return r.row(), true
}

// row is takeReceived's.
func (r *received) row() (row []byte) {
	for _, p := range r.pages { // copies
		if r.doing != 0 && p.high == uint8(r.doing>>8) {
			word, bit := p.at(r.doing)
			*word &^= bit
		}
		if p.empty() {
			continue
		}
		row = append(row, p.high)
		for _, word := range p.bits {
			row = binary.LittleEndian.AppendUint64(row, word)
		}
	}
	return row
}

// restoreReceived restores the ids from a row.
func (s *session) restoreReceived(row []byte) error {
	const size = 33
	if len(row) == 0 || len(row)%size != 0 {
		return errDamaged
	}
	s.received = &received{}
	for ; len(row) > 0; row = row[size:] {
		for i, b := range row[1:size] {
			for ; b != 0; b &= b - 1 {
				s.received.add(uint16(row[0])<<8 | uint16(i*8+bits.TrailingZeros8(b)))
			}
		}
	}
	s.limits.all.used.Add(s.received.bytes())
	return nil
}
