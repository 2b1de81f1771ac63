package irc

import (
	"slices"
	"strconv"
	"sync"

	"watchtower/bridge"
)

// roomMost is how many members of a channel clients are told of: those with the lowest ids.
const roomMost = 512

// person is a member of a channel, as clients see it.
type person struct{ nick, source string }

// rooms are the channels with members over IRC.
type rooms struct {
	server *Server
	mu     sync.Mutex // may be taken after a connection's lock, and before the hub's
	all    map[bridge.Channel]*room
	former map[bridge.SenderID]struct{} // the old identities of clients that change their nicks
}

type room struct {
	conns  map[*conn]struct{}
	people map[bridge.SenderID]person
}

func newRooms(s *Server) *rooms {
	return &rooms{server: s, all: map[bridge.Channel]*room{}, former: map[bridge.SenderID]struct{}{}}
}

func (s *Server) source(nick string, id bridge.SenderID) string {
	return nick + "!" + strconv.FormatUint(uint64(id), 10) + "@" + s.name
}

func (s *Server) person(id bridge.SenderID, name string) person {
	nick := nickOf(s.hub.Users(), id, name)
	return person{nick, s.source(nick, id)}
}

// refresh tells the clients who has come to channels and who has left. The hub calls it when
// members have changed. It waits for nobody.
func (r *rooms) refresh(channels []bridge.Channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ch := range channels {
		if room := r.all[ch]; room != nil {
			r.updateLocked(ch, room)
		}
	}
}

func (r *rooms) updateLocked(ch bridge.Channel, room *room) {
	now := map[bridge.SenderID]person{}
	list, _ := r.server.hub.Directory().LookAtMembers(ch, 0, roomMost)
	for _, m := range list {
		if _, over := r.former[m.ID]; !over {
			now[m.ID] = r.server.person(m.ID, m.Name)
		}
	}
	for c := range room.conns {
		if who := c.who.Load(); who != nil {
			now[who.id] = person{who.nick, who.source} // even where there are too many
		}
	}
	name := channelName(ch)
	for id, p := range room.people {
		_, stays := now[id]
		why, gone := "", false
		if !stays {
			why, gone = r.goneLocked(id)
		}
		switch {
		case gone:
			r.quitLocked(id, p, why)
		case now[id] != p:
			room.tellLocked(id, appendLine(nil, p.source, "PART", name))
		}
	}
	for id, p := range now {
		if room.people[id] != p {
			room.tellLocked(id, appendLine(nil, p.source, "JOIN", name))
		}
	}
	room.people = now
}

// goneLocked reports whether a former member is gone from the gateway, and why: it is not connected,
// and on no channel that clients see.
func (r *rooms) goneLocked(id bridge.SenderID) (why string, gone bool) {
	info, err := r.server.hub.Registry().Sender(id)
	if err != nil {
		return "Gone", true // it has no name, or was deleted
	}
	if info.Here {
		return "", false
	}
	for ch, room := range r.all {
		if _, shown := room.people[id]; shown && len(r.server.member(ch, id)) > 0 {
			return "", false
		}
	}
	return departed[info.Left], true
}

// departed is how clients are told why somebody is gone.
var departed = map[bridge.Departure]string{
	bridge.LeftUnnoticed: "Gone", bridge.LeftByGoodbye: "It said goodbye", bridge.LeftBySilence: "It was silent for too long",
	bridge.LeftByLoss: "Its connection was lost", bridge.LeftByMistake: "It said what its protocol does not allow", bridge.LeftTooSlow: "It read too slowly",
}

// quitLocked tells everybody who sees a person that it is gone, once.
func (r *rooms) quitLocked(id bridge.SenderID, p person, why string) {
	line := appendLine(nil, p.source, "QUIT", why)
	told := map[*conn]struct{}{}
	for _, room := range r.all {
		if _, shown := room.people[id]; !shown {
			continue
		}
		delete(room.people, id)
		for c := range room.conns {
			if _, already := told[c]; !already {
				told[c] = struct{}{}
				_ = c.put(line)
			}
		}
	}
}

// tellLocked tells everybody in a room but one sender. Who does not read loses that, and is cut
// off soon.
func (room *room) tellLocked(except bridge.SenderID, lines []byte) {
	for c := range room.conns {
		if who := c.who.Load(); who != nil && who.id != except {
			_ = c.put(lines)
		}
	}
}

// enter puts a connection into a room.
func (r *rooms) enter(c *conn, ch bridge.Channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := r.all[ch]
	if there == nil {
		there = &room{conns: map[*conn]struct{}{}}
		r.all[ch] = there
	}
	r.updateLocked(ch, there)
	there.conns[c] = struct{}{}
	who := c.who.Load()
	there.people[who.id] = person{who.nick, who.source}
}

// leave takes a connection out of a room.
func (r *rooms) leave(c *conn, ch bridge.Channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if room := r.all[ch]; room != nil {
		if delete(room.conns, c); len(room.conns) == 0 {
			delete(r.all, ch)
		}
	}
}

// rename gives a client another identity, and tells those who see it. Renamed ends it, when the old
// one has left.
func (r *rooms) rename(c *conn, was, now *identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.former[was.id] = struct{}{}
	c.who.Store(now)
	told := map[*conn]struct{}{c: {}}
	line := appendLine(nil, was.source, "NICK", now.nick)
	for _, room := range r.all {
		if _, there := room.conns[c]; !there {
			continue
		}
		delete(room.people, was.id)
		room.people[now.id] = person{now.nick, now.source}
		for other := range room.conns {
			if _, already := told[other]; !already {
				told[other] = struct{}{}
				_ = other.put(line)
			}
		}
	}
}

func (r *rooms) renamed(was *identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.former, was.id)
}

// people lists who is in a room, by nick.
func (r *rooms) people(ch bridge.Channel) (all map[bridge.SenderID]person, ids []bridge.SenderID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all = map[bridge.SenderID]person{}
	if room := r.all[ch]; room != nil {
		for id, p := range room.people {
			all[id] = p
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return all, ids
}
