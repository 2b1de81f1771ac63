package cluster

import (
	"encoding/binary"
	"slices"
	"sort"
	"sync"
	"time"

	"watchtower/bridge"
)

// stream is what happens at this gateway, in its order. Publishers write their entries
// directly into the frame that is sent next. Frames that were sent are kept for those who
// missed them, as long as there is room.
type stream struct {
	slot bridge.Slot
	run  uint64
	most int // bytes of kept frames

	mu       sync.Mutex
	next     uint64 // the number of the next entry
	open     []byte // the frame that is being filled; empty: none
	numbered uint64 // its numbered entries
	kept     []sealed
	bytes    int    // of kept
	sent     uint64 // what begins before this number was sent
	written  uint64 // bytes of all entries so far
	taken    uint64 // of these, what was sent
	unsent   uint64 // entries that were let go before they were sent
	pace     pace
	lull     lull
}

// sealed is a frame that does not change any more.
type sealed struct {
	first, n uint64
	end      uint64 // of stream.written, after it
	b        []byte
}

// keptBytes is what a kept frame takes beside its bytes.
const keptBytes = 64

func newStream(slot bridge.Slot, run uint64, most int) *stream {
	return &stream{slot: slot, run: run, most: most, next: 1, sent: 1}
}

// say adds a message. It reports whether it should be sent now, and whether its publisher should wait,
// because others cannot keep up.
func (s *stream) say(m *bridge.Message, awaited bool, now time.Time) (due, behind bool) {
	left := lifeLeft(m, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(messageBytes(m, left))
	s.open = appendMessage(s.open, m, left)
	m.SetSerial(bridge.NewSerial(s.slot, s.next))
	s.addedLocked()
	due = s.lull.over(awaited, now, s.written-s.taken+uint64(len(s.open)))
	return due, m.Wait && s.pace.behind(s.written, window)
}

// skip numbers a message that no other gateway is there to hear.
func (s *stream) skip(m *bridge.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.SetSerial(bridge.NewSerial(s.slot, s.next))
	if s.numbered > 0 {
		s.sealLocked()
	}
	if s.next++; len(s.open) > 0 { // what it says has no number
		binary.BigEndian.PutUint64(s.open[firstAt:], s.next)
	}
}

// sayTopic adds a message on a topic of clients' own.
func (s *stream) sayTopic(m *bridge.TopicMessage, now time.Time) {
	left := topicLifeLeft(m, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(topicBytes(m, left))
	s.open = appendTopic(s.open, m, left)
	m.Serial = bridge.NewSerial(s.slot, s.next)
	s.addedLocked()
}

// tell adds a membership.
func (s *stream) tell(m bridge.PeerMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(memberBytes(m))
	s.open = appendMember(s.open, m)
	s.addedLocked()
}

// leave adds who is made to leave.
func (s *stream) leave(m bridge.PeerMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(leaveBytes(m))
	s.open = appendLeave(s.open, m)
	s.addedLocked()
}

// group adds a shared subscription.
func (s *stream) group(g bridge.PeerGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(groupBytes(g))
	s.open = appendGroup(s.open, g)
	s.addedLocked()
}

// claim adds a claim.
func (s *stream) claim(c bridge.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(claimBytes(c))
	s.open = appendClaim(s.open, c)
	s.addedLocked()
}

// report adds how a message of another gateway went.
func (s *stream) report(r told) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(r.bytes())
	s.open = appendReport(s.open, r)
	s.addedLocked()
}

// bye says that the gateway stops.
func (s *stream) bye() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(0)
	s.open = append(s.open, byte(kindBye), 0)
	s.addedLocked()
}

// state adds what is true now.
func (s *stream) state(st state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomLocked(0)
	s.open = appendState(s.open, st)
}

// roomLocked makes room for an entry in the open frame.
func (s *stream) roomLocked(bytes int) {
	if s.numbered >= entriesMost || len(s.open) > headBytes && len(s.open)+bytes > frameBytes {
		s.sealLocked()
	}
	if len(s.open) == 0 {
		s.open = appendHead(s.open, s.slot, s.run, s.next)
	}
}

// addedLocked notes a numbered entry.
func (s *stream) addedLocked() {
	s.next++
	s.numbered++
}

// sealLocked keeps the open frame. One without numbered entries is only returned.
func (s *stream) sealLocked() (f sealed, ok bool) {
	if len(s.open) == 0 {
		return f, false
	}
	s.written += uint64(len(s.open))
	s.pace.wrote(s.written)
	f = sealed{s.next - s.numbered, s.numbered, s.written, slices.Clone(s.open)}
	s.open, s.numbered = s.open[:0], 0
	if cap(s.open) > 2*frameBytes { // of one very large message
		s.open = nil
	}
	if f.n == 0 {
		return f, true
	}
	s.kept = append(s.kept, f)
	s.bytes += len(f.b) + keptBytes
	for s.bytes > s.most && len(s.kept) > 1 {
		old := s.kept[0]
		s.kept[0] = sealed{}
		s.kept = s.kept[1:]
		s.bytes -= len(old.b) + keptBytes
		if old.first >= s.sent {
			s.unsent += old.n
			s.sent = old.first + old.n
		}
	}
	return f, true
}

// take returns the next frame to send, or nil. It counts as sent.
func (s *stream) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.indexLocked(s.sent); i < len(s.kept) {
		return s.takeLocked(s.kept[i])
	}
	s.lull.end()
	f, ok := s.sealLocked()
	if !ok {
		return nil
	}
	return s.takeLocked(f)
}

func (s *stream) takeLocked(f sealed) []byte {
	s.sent, s.taken = f.first+f.n, f.end
	return f.b
}

// indexLocked returns the index of the first kept frame that begins at a number or after it.
func (s *stream) indexLocked(number uint64) int {
	return sort.Search(len(s.kept), func(i int) bool { return s.kept[i].first >= number })
}

// idle reports whether all was sent.
func (s *stream) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) == 0 && s.indexLocked(s.sent) == len(s.kept)
}

// again returns kept frames of a run between two numbers, in one text: each with its length
// before it. There are at most answerBytes of them.
func (s *stream) again(run, from, to uint64) (all []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if run != s.run {
		return nil
	}
	i := sort.Search(len(s.kept), func(i int) bool { return s.kept[i].first+s.kept[i].n > from })
	for ; i < len(s.kept) && s.kept[i].first < to; i++ {
		b := s.kept[i].b
		if len(all) > 0 && len(all)+4+len(b) > answerBytes {
			break
		}
		all = append(binary.BigEndian.AppendUint32(all, uint32(len(b))), b...)
	}
	return all
}

// end is the number after the newest entry, and what was let go unsent.
func (s *stream) end() (next, unsent uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next, s.unsent
}
