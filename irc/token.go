package irc

import (
	"strings"

	"watchtower/auth"
	"watchtower/bridge"
)

// A sender's own token as the password makes the client that sender, as over MQTT: its nick is
// the sender's name, whatever NICK says, and it counts as proved.

// isToken reports whether a password reads like a token.
func isToken(password string) bool {
	return strings.HasPrefix(password, bridge.TokenPrefix) || strings.HasPrefix(password, bridge.PassPrefix)
}

// proveToken checks a token. It returns why it is refused, or "".
func (c *conn) proveToken(caller auth.Caller) string {
	s := c.server
	if s.opts.Gate.Waits(caller) > 0 {
		return tooManyWrong
	}
	if sender, ok := s.hub.Tokens().Sender(c.hello.password); ok {
		s.opts.Gate.Right(caller)
		c.hello.sender = sender
		c.hello.account = s.hub.Users().User(sender)
		return ""
	}
	if strings.HasPrefix(c.hello.password, bridge.PassPrefix) {
		return "PASS takes a sender's own token (" + bridge.TokenPrefix + "…), and none for pages"
	}
	if s.opts.Gate.Wrong(caller, auth.WrongToken) > 0 {
		return tooManyWrong
	}
	return "The token is of no sender, or has ended"
}

// holdSender makes the client the sender whose token it has. An earlier connection with that token
// ends: it may be one that is lost, which nobody has noticed yet.
func (c *conn) holdSender(sender *bridge.Sender) (*identity, error) {
	s := c.server
	nick := nickOf(s.hub.Users(), sender.ID(), sender.Name())
	if !s.takeNick(nick, c) {
		other := s.connOf(nick)
		if other == nil || !other.isProvedAs(sender) {
			return nil, errTaken
		}
		other.end("A newer connection has your token")
		s.giveNick(nick, c)
	}
	hold, err := s.hub.Holds().Sender(sender, func() { c.end("Your sender was deleted, or has another token") })
	if err != nil {
		s.freeNick(nick, c)
		return nil, err
	}
	return c.identify(hold, nick, sender.Name()), nil
}

// isProvedAs reports whether a connection is registered by the sender's own token.
func (c *conn) isProvedAs(sender *bridge.Sender) bool {
	who := c.who.Load()
	return who != nil && who.proved && who.id == sender.ID()
}

// giveNick gives a connection the nick of another one, which ends.
func (s *Server) giveNick(nick string, c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nicks[fold(nick)] = c
}
