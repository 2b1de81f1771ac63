package irc

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"watchtower/bridge"
)

// listMost is the most channels that LIST shows.
const listMost = 1000

// mayRead reports whether a client may hear a channel's broadcasts, and what is sent to it there.
func (s *Server) mayRead(who *identity, ch bridge.Channel) (broadcasts, sends bool) {
	if who.rights == nil {
		return true, true
	}
	tree := s.hub.Tree()
	return who.rights.MayFollow(tree.Say(ch) + "/+"), who.rights.MayFollow(tree.Tell(ch, who.id) + "/+")
}

// channel finds the channel of a command. It answers the client where there is none.
func (c *conn) channel(name string) (bridge.Channel, bool, error) {
	if ch, ok := parseChannel(name); ok {
		return ch, true, nil
	}
	if ch, ok := c.server.forwarded(name); ok {
		return ch, true, nil
	}
	return 0, false, c.reply(errNoSuchChannel, shown(name), "No such channel: #5 is channel 5, and a name has to be configured")
}

func (c *conn) join(params []string) error {
	if params[0] == "0" {
		return c.partFrom(c.on(), "")
	}
	for name := range strings.SplitSeq(params[0], ",") {
		ch, ok, err := c.channel(name)
		if err == nil && ok {
			if _, direct := parseChannel(name); !direct {
				err = c.reply(errForward, shown(name), channelName(ch), "Forwarding to another channel")
			}
			err = cmp.Or(err, c.enter(ch))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// on lists the channels that the client is on, ascending.
func (c *conn) on() (all []bridge.Channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.joined {
		all = append(all, ch)
	}
	slices.Sort(all)
	return all
}

func (c *conn) isOnChannel(ch bridge.Channel) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.joined[ch] != nil
}

// enter joins one channel. The link's goroutine waits meanwhile, so that the client hears of its
// JOIN before it hears a message.
func (c *conn) enter(ch bridge.Channel) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joined[ch] != nil {
		return nil
	}
	who := c.who.Load()
	if err := c.attachLocked(ch, who); err != nil {
		number := errTooMany
		if errors.Is(err, errDenied) {
			number = errBanned
		}
		return c.reply(number, channelName(ch), detail(err))
	}
	c.server.rooms.enter(c, ch)
	b := appendLine(nil, who.source, "JOIN", channelName(ch))
	if called := c.server.called(ch); called != "" {
		b = c.numbered(b, rplTopic, channelName(ch), called)
	}
	return c.put(c.appendNames(b, ch))
}

// errDenied is the error of what a user's access list does not allow.
var errDenied = errors.New("the user's access list does not allow it")

func (c *conn) attachLocked(ch bridge.Channel, who *identity) error {
	broadcasts, sends := c.server.mayRead(who, ch)
	if !broadcasts {
		return errDenied
	}
	a := &bridge.Attachment{Via: Protocol, Broadcasts: true, Sends: sends, Member: c}
	a.Ended = func() { c.expelled(ch, a) }
	if err := c.server.hub.Attach(who.hold.Sender(), ch, a); err != nil {
		return err
	}
	c.joined[ch] = a
	return nil
}

// expelled notes that the hub ended an attachment.
func (c *conn) expelled(ch bridge.Channel, a *bridge.Attachment) {
	c.mu.Lock()
	ours := c.joined[ch] == a
	if ours {
		delete(c.joined, ch)
	}
	c.mu.Unlock()
	if who := c.who.Load(); ours && who != nil {
		c.server.rooms.leave(c, ch)
		_ = c.put(appendLine(nil, who.source, "PART", channelName(ch), "Removed"))
	}
}

// swap puts the client's new identity in the place of the old one on a channel. Give takes once what
// both get.
func (c *conn) swap(ch bridge.Channel, now *identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.joined[ch]
	if old == nil {
		return
	}
	if err := c.attachLocked(ch, now); err != nil {
		delete(c.joined, ch)
		c.server.rooms.leave(c, ch)
		c.server.hub.Detach(old)
		_ = c.put(appendLine(nil, now.source, "PART", channelName(ch), detail(err)))
		return
	}
	c.server.hub.Detach(old, c.joined[ch])
}

func (c *conn) part(params []string) error {
	reason := ""
	if len(params) > 1 {
		reason = params[1]
	}
	for name := range strings.SplitSeq(params[0], ",") {
		ch, ok, err := c.channel(name)
		switch {
		case err != nil:
			return err
		case !ok:
			continue
		case !c.isOnChannel(ch):
			err = c.reply(errNotOn, channelName(ch), "You're not on that channel")
		default:
			err = c.partFrom([]bridge.Channel{ch}, reason)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) partFrom(channels []bridge.Channel, reason string) error {
	who := c.who.Load()
	var b []byte
	for _, ch := range channels {
		c.leave(ch)
		if params := []string{channelName(ch), reason}; reason == "" {
			b = appendLine(b, who.source, "PART", params[0])
		} else {
			b = appendLine(b, who.source, "PART", params...)
		}
	}
	return c.put(b)
}

func (c *conn) leave(ch bridge.Channel) {
	c.mu.Lock()
	a := c.joined[ch]
	delete(c.joined, ch)
	c.mu.Unlock()
	if a != nil {
		c.server.rooms.leave(c, ch)
		c.server.hub.Detach(a)
	}
}

func (c *conn) leaveAll() {
	for _, ch := range c.on() {
		c.leave(ch)
	}
}

func (c *conn) topic(params []string) error {
	ch, ok, err := c.channel(params[0])
	switch called := c.server.called(ch); {
	case err != nil || !ok:
		return err
	case len(params) > 1:
		return c.reply(errNotOperator, channelName(ch), "A channel's topic is its name in the gateway's configuration")
	case called == "":
		return c.reply(rplNoTopic, channelName(ch), "No topic is set")
	default:
		return c.reply(rplTopic, channelName(ch), called)
	}
}

func (c *conn) mode(params []string) error {
	if !strings.HasPrefix(params[0], "#") {
		return c.reply(rplUserMode, "+")
	}
	ch, ok, err := c.channel(params[0])
	switch {
	case err != nil || !ok:
		return err
	case len(params) == 1:
		return c.reply(rplChannelMode, channelName(ch), "+nt")
	case strings.TrimLeft(params[1], "+") == "b" && len(params) == 2:
		return c.reply(rplEndOfBans, channelName(ch), "End of channel ban list")
	}
	return c.reply(errNotOperator, channelName(ch), "Nobody is an operator here")
}

func (c *conn) names(params []string) error {
	channels := c.on()
	if len(params) > 0 {
		channels = nil
		for name := range strings.SplitSeq(params[0], ",") {
			ch, ok := parseChannel(name)
			if !ok || !c.isOnChannel(ch) {
				if err := c.reply(rplEndOfNames, shown(name), "End of /NAMES list"); err != nil {
					return err
				}
				continue
			}
			channels = append(channels, ch)
		}
	}
	var b []byte
	for _, ch := range channels {
		b = c.appendNames(b, ch)
	}
	return c.put(b)
}

// appendNames appends who is on a channel, in as few lines as possible.
func (c *conn) appendNames(b []byte, ch bridge.Channel) []byte {
	people, ids := c.server.rooms.people(ch)
	room := lineBytes - len(c.server.name) - len(c.nick()) - len(channelName(ch)) - len(":  353  = \r\n :")
	line := ""
	for _, id := range ids {
		nick := people[id].nick
		if line != "" && len(line)+1+len(nick) > room {
			b = c.numbered(b, rplNames, "=", channelName(ch), line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += nick
	}
	if line != "" {
		b = c.numbered(b, rplNames, "=", channelName(ch), line)
	}
	b = c.numbered(b, rplEndOfNames, channelName(ch), "End of /NAMES list")
	if count, _ := c.server.hub.Directory().CountMembers(ch); count > len(ids) {
		b = appendLine(b, c.server.name, "NOTICE", channelName(ch), fmt.Sprintf("%d more are on %s than are listed", count-len(ids), channelName(ch)))
	}
	return b
}

func (c *conn) list(params []string) error {
	who := c.who.Load()
	wanted := map[bridge.Channel]bool{}
	if len(params) > 0 {
		for name := range strings.SplitSeq(params[0], ",") {
			if ch, ok := parseChannel(name); ok {
				wanted[ch] = true
			}
		}
	}
	all := c.server.hub.Directory().Channels()
	b := c.numbered(nil, rplListStart, "Channel", "Users  Name")
	shownSoFar := 0
	for _, ch := range all {
		may, _ := c.server.mayRead(who, ch)
		if !may || len(wanted) > 0 && !wanted[ch] {
			continue
		}
		if shownSoFar++; shownSoFar > listMost {
			b = appendLine(b, c.server.name, "NOTICE", c.nick(), fmt.Sprintf("There are more than %d channels", listMost))
			break
		}
		count, _ := c.server.hub.Directory().CountMembers(ch)
		b = c.numbered(b, rplList, channelName(ch), fmt.Sprint(count), c.server.called(ch))
	}
	return c.put(c.numbered(b, rplListEnd, "End of /LIST"))
}
