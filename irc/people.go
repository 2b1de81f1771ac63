package irc

import (
	"fmt"
	"strings"
	"time"

	"watchtower/bridge"
)

// hereOrAway is the flag of a nick in WHO and USERHOST.
func (s *Server) hereOrAway(nick, here, away string) string {
	if other := s.connOf(nick); other != nil && other.awayText.Load() != nil {
		return away
	}
	return here
}

// vias names the ways by which a member is on a channel, and since when.
func vias(m bridge.MemberInfo) string {
	var all []string
	for _, v := range m.Via {
		text := "via " + v.Protocol.String()
		if !v.Since.IsZero() {
			text += " since " + v.Since.UTC().Format(time.RFC3339)
		}
		if v.Away {
			text += " (away)"
		}
		all = append(all, text)
	}
	if m.Gateway != "" {
		all = append(all, "at "+m.Gateway)
	}
	return strings.Join(all, ", ")
}

// whoIs is WHO.
func (c *conn) whoIs(params []string) error {
	s, mask := c.server, params[0]
	var b []byte
	row := func(ch bridge.Channel, m bridge.MemberInfo, p person) {
		if p.nick == "" {
			p = s.person(m.ID, m.Name)
		}
		b = c.numbered(b, rplWho, channelName(ch), fmt.Sprint(m.ID), s.name, s.name, p.nick, s.hereOrAway(p.nick, "H", "G"), "0 "+vias(m))
	}
	if ch, ok := parseChannel(mask); ok && c.isOnChannel(ch) {
		people, _ := s.rooms.people(ch)
		list, _ := s.hub.Directory().LookAtMembers(ch, 0, roomMost)
		for _, m := range list {
			row(ch, m, people[m.ID])
		}
	} else if f, ok := c.find(mask); !strings.HasPrefix(mask, "#") && ok && f.channel != 0 {
		for _, m := range s.member(f.channel, f.id) {
			row(f.channel, m, f.person)
		}
	}
	return c.put(c.numbered(b, rplEndOfWho, shown(mask), "End of /WHO list"))
}

// member returns what there is to see of one member; none if it has left.
func (s *Server) member(ch bridge.Channel, id bridge.SenderID) []bridge.MemberInfo {
	list, _ := s.hub.Directory().LookAtMembers(ch, id, 1)
	if len(list) == 1 && list[0].ID != id {
		return nil
	}
	return list
}

func (c *conn) whois(params []string) error {
	s, nick := c.server, params[len(params)-1]
	f, ok := c.find(nick)
	if !ok {
		b := c.numbered(nil, errNoSuchNick, shown(nick), "No such nick on a channel that you are on")
		return c.put(c.numbered(b, rplEndOfWhois, shown(nick), "End of /WHOIS list"))
	}
	nick = f.person.nick
	sender, _ := s.hub.SenderByID(f.id)
	name := nick
	if sender != nil && sender.Name() != "" {
		name = sender.Name()
	}
	b := c.numbered(nil, rplWhoisUser, nick, fmt.Sprint(f.id), s.name, "*", name)
	var on []string
	for _, ch := range c.on() {
		for _, m := range s.member(ch, f.id) {
			on = append(on, channelName(ch))
			b = c.numbered(b, rplWhoisSpecial, nick, "is on "+channelName(ch)+" "+vias(m))
		}
		if len(on) == 50 {
			break
		}
	}
	if len(on) > 0 {
		b = c.numbered(b, rplWhoisChans, nick, strings.Join(on, " "))
	}
	b = c.numbered(b, rplWhoisServer, nick, s.name, fmt.Sprintf("id %d", f.id))
	if other := s.connOf(nick); other != nil {
		if away := other.awayText.Load(); away != nil {
			b = c.numbered(b, rplAway, nick, *away)
		}
	}
	return c.put(c.numbered(b, rplEndOfWhois, nick, "End of /WHOIS list"))
}

// isOn is ISON.
func (c *conn) isOn(params []string) error {
	var there []string
	for _, nick := range strings.Fields(strings.Join(params, " ")) {
		if f, ok := c.find(nick); ok {
			there = append(there, f.person.nick)
		} else if other := c.server.connOf(nick); other != nil {
			there = append(there, shown(nick))
		}
	}
	return c.reply(rplIsOn, strings.Join(there, " "))
}

func (c *conn) userHost(params []string) error {
	var all []string
	for _, nick := range params[:min(len(params), 5)] {
		if f, ok := c.find(nick); ok {
			all = append(all, fmt.Sprintf("%s=%s%d@%s", f.person.nick, c.server.hereOrAway(f.person.nick, "+", "-"), f.id, c.server.name))
		}
	}
	return c.reply(rplUserHost, strings.Join(all, " "))
}

func (c *conn) away(params []string) error {
	if len(params) == 0 || params[0] == "" {
		c.awayText.Store(nil)
		return c.reply(rplUnAway, "You are no longer marked as being away")
	}
	c.awayText.Store(&params[0])
	return c.reply(rplNowAway, "You have been marked as being away")
}
