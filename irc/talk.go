package irc

import (
	"errors"
	"strings"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
)

// notice is how a client is told what is no refusal: its message waits until others say the same.
const notice = "NOTICE"

// mostTargets is the most targets of one PRIVMSG.
const mostTargets = 4

func (c *conn) privmsg(params []string) error { return c.talk(params, true) }

// noticed is NOTICE. Nothing is ever answered to one.
func (c *conn) noticed(params []string) error { return c.talk(params, false) }

func (c *conn) talk(params []string, answered bool) error {
	refuse := func(number string, params ...string) error {
		if answered {
			return c.reply(number, params...)
		}
		if number != notice {
			c.server.hub.Counters().Drop(Protocol, bridge.Refused, 1)
		}
		return nil
	}
	if len(params) == 0 || params[0] == "" {
		return refuse(errNoRecipient, "No recipient given")
	}
	if len(params) == 1 || params[1] == "" {
		return refuse(errNoText, "No text to send")
	}
	text, ok := said(params[1])
	if !ok {
		return nil
	}
	targets := strings.Split(params[0], ",")
	if len(targets) > mostTargets {
		return refuse(errTooManyTargets, shown(targets[mostTargets]), "Too many targets")
	}
	for _, target := range targets {
		if err := c.say(target, text, refuse); err != nil {
			return err
		}
	}
	return nil
}

// said returns the text of a message. ACTION is its text; other CTCP is none.
func said(text string) (string, bool) {
	ctcp, is := strings.CutPrefix(text, "\x01")
	if !is {
		return text, true
	}
	action, is := strings.CutPrefix(strings.TrimSuffix(ctcp, "\x01"), "ACTION ")
	return action, is && action != ""
}

// say says a text to a channel or a nick.
func (c *conn) say(target, text string, refuse func(string, ...string) error) error {
	who := c.who.Load()
	p := bridge.Publication{Content: bridge.Content{Data: []byte(text), Hint: bridge.Text}, Via: Protocol, Wait: true, Voice: bridge.Voice{Proved: who.proved}}
	number, name := errCannotSend, shown(target)
	if strings.HasPrefix(target, "#") {
		ch, ok := parseChannel(target)
		if !ok {
			ch, ok = c.server.forwarded(target)
		}
		if !ok {
			return refuse(errNoSuchChannel, name, "No such channel: #5 is channel 5")
		}
		p.Channels = []bridge.Channel{ch}
	} else {
		f, ok := c.find(target)
		if !ok || f.channel == 0 {
			return refuse(errNoSuchNick, name, "No such nick on a channel that you are on")
		}
		p.Type, p.Channels, p.Receivers = bridge.Send, []bridge.Channel{f.channel}, []bridge.SenderID{f.id}
		number = errNoSuchNick
	}
	id, err := c.publish(who, p)
	var waiting *bridge.Unconfirmed
	if errors.As(err, &waiting) {
		return refuse(notice, name+": "+waiting.Error())
	}
	if err != nil {
		return refuse(number, name, "Not sent: "+detail(err))
	}
	if p.Type != bridge.Send {
		return nil
	}
	var b []byte
	if c.has(capEcho) {
		m := &bridge.Message{ID: id, Time: c.server.hub.Now(), Hint: p.Content.Hint, Data: p.Content.Data}
		b = appendMessage(b, m, who.source, name, c.caps.Load()&(capTime|capTags), "")
	}
	if other := c.server.connOf(name); other != nil {
		if away := other.awayText.Load(); away != nil {
			b = c.numbered(b, rplAway, name, *away)
		}
	}
	return c.put(b)
}

// publish publishes what the client's access list allows.
func (c *conn) publish(who *identity, p bridge.Publication) (ulid.ULID, error) {
	if who.rights != nil {
		m := &bridge.Message{Type: p.Type, Channel: p.Channels[0], Sender: who.id}
		if p.Type == bridge.Send {
			m.Receiver = p.Receivers[0]
		}
		if !who.rights.MayWrite(string(c.server.hub.Tree().AppendTopic(nil, m))) {
			return ulid.ULID{}, errDenied
		}
	}
	return c.server.hub.Publish(who.hold.Sender(), p)
}

// connOf returns the connection with a nick; nil: there is none over IRC.
func (s *Server) connOf(nick string) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nicks[fold(nick)]
}
