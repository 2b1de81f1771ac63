package irc

import (
	"math"
	"slices"

	"watchtower/bridge"
)

// found is a sender that a nick stands for.
type found struct {
	id      bridge.SenderID
	person  person
	channel bridge.Channel // the lowest that both are on; 0: none
}

// find returns the sender that a nick stands for: only one that is on a channel with the client,
// or the client itself. Where two have the same nick there, it finds neither; id-72 does.
func (c *conn) find(nick string) (f found, ok bool) {
	s, who := c.server, c.who.Load()
	if fold(nick) == fold(who.nick) {
		f = found{id: who.id, person: person{who.nick, who.source}}
		if on := c.on(); len(on) > 0 {
			f.channel = on[0]
		}
		return f, true
	}
	id, numbered := parseNumbered(nick)
	if !numbered && !allDigits(nick) {
		var unknown *bridge.Error
		if id, unknown = s.hub.Receiver(nick); unknown != nil {
			id = 0
		}
	}
	if id != 0 {
		if f, ok = c.common(id); ok && (numbered || f.person.nick == nick) {
			return f, true
		}
	}
	if numbered {
		return f, false
	}
	return c.scan(nick)
}

// common returns a sender, if it is on a channel with the client.
func (c *conn) common(id bridge.SenderID) (f found, ok bool) {
	s := c.server
	sender, known := s.hub.SenderByID(id)
	if !known {
		return f, false
	}
	details, err := s.hub.Registry().Details(id, math.MaxInt)
	if err != nil {
		return f, false
	}
	on := c.on()
	i := slices.IndexFunc(on, func(ch bridge.Channel) bool {
		_, both := slices.BinarySearch(details.On, ch)
		return both
	})
	if i < 0 {
		return f, false
	}
	return found{id, s.person(id, sender.Name()), on[i]}, true
}

// scan looks for a nick among those who are on a channel with the client.
func (c *conn) scan(nick string) (f found, ok bool) {
	for _, ch := range c.on() {
		people, ids := c.server.rooms.people(ch)
		for _, id := range ids {
			switch p := people[id]; {
			case fold(p.nick) != fold(nick), ok && f.id == id:
			case ok:
				return found{}, false // two have it
			default:
				f, ok = found{id, p, ch}, true
			}
		}
	}
	return f, ok
}
