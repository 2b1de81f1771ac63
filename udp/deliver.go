package udp

import (
	"watchtower/bridge"
	"watchtower/datagram"
	"watchtower/wire"
	"watchtower/wire/basic"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// fanOut is what the link's goroutine needs for a batch of messages. It is kept
// from batch to batch, so that fan-out makes no garbage.
type fanOut struct {
	out              outgoing
	frames           []byte
	encoded          []encoded // by job
	offered, dropped []int     // by job
}

// deliver sends messages to their members.
func (s *Server) deliver(jobs []bridge.Job) {
	f := &s.fan
	f.reset(len(jobs))
	for begin, end := 0, 0; begin < len(jobs); begin = end {
		end = begin + sameMembers(jobs[begin:])
		s.toMembers(jobs, begin, end)
	}
	f.out.flush()
	for i, j := range jobs {
		j.Done(s.hub.Counters(), Protocol, f.offered[i], f.dropped[i])
	}
}

// sameMembers is how many jobs, from the first on, have the same list of members: they
// are on one channel, and nobody came or went between them.
func sameMembers(jobs []bridge.Job) int {
	to := jobs[0].To
	n := 1
	for len(to) > 0 && n < len(jobs) && len(jobs[n].To) == len(to) && &jobs[n].To[0] == &to[0] {
		n++
	}
	return n
}

// toMembers sends jobs to the members that they share. One member after the other gets
// all of them, so that datagrams to one address follow each other.
func (s *Server) toMembers(jobs []bridge.Job, begin, end int) {
	f := &s.fan
	for _, a := range jobs[begin].To {
		var to member // looked up once for all jobs
		for i := begin; i < end; i++ {
			if m := jobs[i].Message; a.Wants(m) {
				if to == nil {
					to = a.Member.(member)
				}
				f.offered[i]++
				if !to.deliver(s, m, &f.encoded[i], i) {
					f.dropped[i]++
				}
			}
		}
	}
}

// member is a basic receiver or a session. Deliver sends it a message. If it cannot, it
// counts a drop and reports false.
type member interface {
	deliver(s *Server, m *bridge.Message, e *encoded, job int) bool
}

func (to *receiver) deliver(s *Server, m *bridge.Message, e *encoded, job int) bool {
	known := e.tooLarge
	delivery := e.basic(m)
	if delivery == nil {
		if !known { // once for a message
			s.misread.TooLarge(m)
		}
		s.hub.Counters().Lose(s.receiver(to.at), Protocol, bridge.TooLarge, 1)
		return false
	}
	s.fan.out.batch.addFrom(delivery, to.at, datagram.Local(to.local.Load()), job)
	return true
}

type sessionMember session.Session

func (to *sessionMember) deliver(s *Server, m *bridge.Message, e *encoded, _ int) bool {
	ok := s.sessions.Deliver((*session.Session)(to), m, e.session(m), &s.fan.out.sessions)
	if s.fan.out.sessions.Bytes() >= outFull {
		s.fan.out.flush()
	}
	return ok
}

func (f *fanOut) reset(jobs int) {
	if f.out.batch.lost == nil {
		f.out.batch.lost = func(tag int) { f.dropped[tag]++ }
	}
	f.frames = f.frames[:0]
	f.encoded, f.offered, f.dropped = f.encoded[:0], f.offered[:0], f.dropped[:0]
	for range jobs {
		f.encoded = append(f.encoded, encoded{out: f})
		f.offered, f.dropped = append(f.offered, 0), append(f.dropped, 0)
	}
}

// encoded is one message as its members get it. It is encoded once, for the first member
// that wants it.
type encoded struct {
	out             *fanOut
	plain, sessions []byte
	tooLarge        bool
}

// basic returns the delivery for basic members, or nil if no datagram has room for it.
func (e *encoded) basic(m *bridge.Message) []byte {
	if e.plain == nil && !e.tooLarge {
		if e.tooLarge = wire.DeliveryHeader+len(m.Data) > wire.MaxDatagram; e.tooLarge {
			return nil
		}
		begin := len(e.out.frames)
		e.out.frames = wire.AppendDelivery(e.out.frames, basic.Delivery(m))
		e.plain = e.out.frames[begin:]
	}
	return e.plain
}

// session returns the delivery for sessions, which may keep it.
func (e *encoded) session(m *bridge.Message) []byte {
	if e.sessions == nil {
		e.sessions = frame.AppendDelivery(make([]byte, 0, frame.Overhead+frame.DeliveryFixed+len(m.Data)), basic.Delivery(m))
	}
	return e.sessions
}
