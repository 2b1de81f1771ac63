package irc

import (
	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// deliver puts messages into their members' queues.
func (s *Server) deliver(jobs []bridge.Job) {
	for _, j := range jobs {
		s.rendered = rendered{}
		offered, dropped := 0, 0
		for _, a := range j.To {
			if !a.Wants(j.Message) {
				continue
			}
			switch c := a.Member.(*conn); c.give(j.Message) {
			case given:
				offered++
				s.round.Note(c.writer)
			case lost:
				offered++
				dropped++
				s.hub.Counters().Lose(a.Sender(), Protocol, bridge.QueueFull, 1)
			}
		}
		j.Done(s.hub.Counters(), Protocol, offered, dropped)
	}
	s.rendered = rendered{}
	s.round.Share(outbound.Few)
}

// rendered is a broadcast as lines, by the capabilities that matter.
type rendered [capTime | capTags + 1][]byte

// outcome is what became of a message for one connection.
type outcome int

const (
	given    outcome = iota
	lost             // its queue is full
	unwanted         // it was not for it
)

// give queues a message for the client.
func (c *conn) give(m *bridge.Message) outcome {
	c.mu.Lock() // a JOIN in progress comes first
	defer c.mu.Unlock()
	s, who, caps := c.server, c.who.Load(), c.caps.Load()
	switch {
	case c.last == m.ID && c.lastOn == m.Channel,
		m.Type == bridge.Broadcast && m.Sender == who.id && caps&capEcho == 0,
		who.rights != nil && !who.rights.MayRead(string(s.hub.Tree().AppendTopic(nil, m))):
		return unwanted
	}
	c.last, c.lastOn = m.ID, m.Channel
	lines := s.lines(m, who, caps&(capTime|capTags))
	if !c.queue.Put(lines) {
		return lost
	}
	return given
}

// lines returns a message as lines for one client. All with the same capabilities share those of
// a broadcast.
func (s *Server) lines(m *bridge.Message, who *identity, caps uint32) []byte {
	source := s.person(m.Sender, m.Name).source
	if m.Type == bridge.Send {
		return appendMessage(nil, m, source, who.nick, caps, "")
	}
	if s.rendered[caps] == nil {
		s.rendered[caps] = appendMessage(nil, m, source, channelName(m.Channel), caps, "")
	}
	return s.rendered[caps]
}
