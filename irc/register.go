package irc

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"watchtower/auth"
	"watchtower/bridge"
)

// hello is what a client has said before it is registered.
type hello struct {
	password    string
	nick        string
	user        bool // USER has come
	negotiating bool // CAP END has to come first
	proved      bool // the password was checked
	account     string
	sender      *bridge.Sender // whose token was shown; nil: another password was
}

// identity is who a client is. It does not change: another nick is another identity.
type identity struct {
	hold   *bridge.Hold
	id     bridge.SenderID
	nick   string
	source string // in front of what it says
	user   string // the configured user; empty: it showed the secret key, or a token
	proved bool   // by its user's password, or its own token
	rights Rights // nil: it may do everything
}

// A client may ask for these capabilities (ircv3.net).
const (
	capTime uint32 = 1 << iota
	capTags
	capEcho
	capBatch
	capHistory
)

var capNames = []struct {
	name string
	bit  uint32
}{
	{"server-time", capTime}, {"message-tags", capTags}, {"echo-message", capEcho},
	{"batch", capBatch}, {"draft/chathistory", capHistory},
}

func (c *conn) has(bit uint32) bool { return c.caps.Load()&bit != 0 }

func capBit(name string) uint32 {
	for _, k := range capNames {
		if k.name == name {
			return k.bit
		}
	}
	return 0
}

func (c *conn) capability(params []string) error {
	sub := strings.ToUpper(params[0])
	say := func(sub, text string) error {
		return c.put(appendLine(nil, c.server.name, "CAP", c.nick(), sub, text))
	}
	known := c.who.Load() != nil
	switch sub {
	case "LS", "LIST":
		c.hello.negotiating = !known && sub == "LS" || c.hello.negotiating
		var names []string
		for _, k := range capNames {
			if sub == "LIST" && !c.has(k.bit) || k.bit == capHistory && c.server.opts.Past == nil {
				continue
			}
			names = append(names, k.name)
		}
		return say(sub, strings.Join(names, " "))
	case "REQ":
		c.hello.negotiating = !known
		wanted := strings.Join(params[1:], " ")
		caps := c.caps.Load()
		for _, name := range strings.Fields(wanted) {
			off := strings.HasPrefix(name, "-")
			bit := capBit(strings.TrimPrefix(name, "-"))
			if bit == 0 || bit == capHistory && c.server.opts.Past == nil {
				return say("NAK", wanted)
			}
			if caps |= bit; off {
				caps &^= bit
			}
		}
		c.caps.Store(caps)
		return say("ACK", wanted)
	case "END":
		c.hello.negotiating = false
		return c.register()
	}
	return c.reply("410", sub, "Invalid CAP command")
}

func (c *conn) pass(params []string) error {
	if c.who.Load() != nil {
		return c.reply(errAlready, "You may not reregister")
	}
	c.hello.password = strings.Join(params, " ") // some clients send no colon before a password with spaces
	return nil
}

func (c *conn) userName([]string) error {
	if c.who.Load() != nil {
		return c.reply(errAlready, "You may not reregister")
	}
	c.hello.user = true
	return c.register()
}

func (c *conn) nickname(params []string) error {
	if len(params) == 0 || params[0] == "" {
		return c.reply(errNoNick, "No nickname given")
	}
	wanted := params[0]
	if !validNick(wanted) {
		return c.reply(errBadNick, shown(wanted), "Erroneous nickname: use A-Z a-z 0-9 _ - up to 64, and not id- with a number")
	}
	if who := c.who.Load(); who != nil {
		return c.rename(who, wanted)
	}
	c.hello.nick = wanted
	return c.register()
}

// register registers the client once it has said enough.
func (c *conn) register() error {
	h := &c.hello
	if c.who.Load() != nil || h.negotiating || !h.user || h.nick == "" {
		return nil
	}
	if !h.proved {
		if why := c.prove(); why != "" {
			err := c.reply(errPassword, why)
			c.end(why)
			return cmp.Or(err, errRefused)
		}
		h.proved = true
	}
	who, err := c.hold(h.nick)
	if err != nil {
		wanted := h.nick
		h.nick = "" // another NICK tries again
		return c.refuseNick(wanted, err)
	}
	h.password = ""
	c.guest.Know()
	c.who.Store(who)
	c.server.log.WithField("address", c.from.String()).WithField("nick", who.nick).Debug("registered")
	return c.welcome()
}

const tooManyWrong = "Too many wrong passwords, try again later"

// prove checks the password: the secret key, a sender's token, or a configured user's name and
// password with a colon between. It returns why it is refused, or "".
func (c *conn) prove() string {
	s := c.server
	caller := auth.Caller{Via: Protocol, At: c.from.Addr(), Name: bridge.Shorten(c.hello.nick)}
	if isToken(c.hello.password) && !s.hub.CheckKey(c.hello.password) {
		return c.proveToken(caller)
	}
	user, password, both := strings.Cut(c.hello.password, ":")
	if both && s.opts.Users != nil && s.hub.Users().Of(user+".x") == user && user != "" {
		ctx, cancel := context.WithTimeout(s.life, registerFor)
		defer cancel()
		switch s.opts.Users.CheckPassword(ctx, caller, user, password) {
		case auth.Right:
			c.hello.account = user
			return ""
		case auth.Wrong:
			return "Password incorrect"
		}
		return tooManyWrong
	}
	if s.opts.Gate.Waits(caller) > 0 {
		return tooManyWrong
	}
	if s.hub.CheckKey(c.hello.password) {
		if !s.hub.Open() {
			s.opts.Gate.Right(caller)
		}
		return ""
	}
	if c.hello.password == "" {
		return "PASS has to be the secret key, USER:PASSWORD, or a sender's token"
	}
	if s.opts.Gate.Wrong(caller, auth.WrongKey) > 0 {
		return tooManyWrong
	}
	return "Password incorrect"
}

// errTaken is the error of a nick that somebody has.
var errTaken = errors.New("Nickname is already in use") //nolint:staticcheck // it is shown as it is

// hold makes the client the sender of a name.
func (c *conn) hold(wanted string) (*identity, error) {
	s := c.server
	if c.hello.sender != nil {
		return c.holdSender(c.hello.sender)
	}
	name, nick := wanted, wanted
	if user := c.hello.account; user != "" {
		wanted = strings.TrimPrefix(wanted, writable(user)+"_")
		name, nick = user+"."+wanted, writable(user)+"_"+wanted
		if !bridge.ValidName(name) {
			return nil, &bridge.Error{Code: bridge.InvalidName, Detail: "The nickname is too long with the user's name"}
		}
	} else if ofUser(s.hub.Users(), nick) != "" {
		return nil, errTaken // it would pass for a user's
	}
	if !s.takeNick(nick, c) {
		return nil, errTaken
	}
	who, err := c.holdName(name, nick)
	if err != nil {
		s.freeNick(nick, c)
	}
	return who, err
}

func (c *conn) holdName(name, nick string) (*identity, error) {
	s := c.server
	if id, unknown := s.hub.Receiver(name); unknown == nil && !allDigits(name) {
		if info, err := s.hub.Registry().Sender(id); err == nil && info.Here || s.hub.Peers().SpeaksElsewhere(id) == Protocol {
			return nil, errTaken
		}
	}
	hold, err := s.hub.Holds().Register(bridge.Naming{Name: name, User: c.hello.account, Via: Protocol}, func() { c.end("Your sender was deleted") })
	if err != nil {
		return nil, err
	}
	who := c.identify(hold, nick, name)
	if who.user == "" {
		s.hub.Holds().Claim(hold, func() { c.end("A newer connection has your name") })
	}
	return who, nil
}

// identify makes an identity of a hold, whose client is here now.
func (c *conn) identify(hold *bridge.Hold, nick, name string) *identity {
	s := c.server
	who := &identity{hold: hold, id: hold.Sender().ID(), nick: nick, user: c.hello.account}
	who.source = s.source(nick, who.id)
	who.proved = who.user != "" || c.hello.sender != nil
	if who.user != "" {
		who.rights = s.opts.Users.Rights(who.user, strings.TrimPrefix(name, who.user+"."))
	}
	hold.Present(Protocol)
	hold.At(c.from)
	hold.Heard(time.Now())
	hold.Promises(2 * s.opts.PingInterval)
	return who
}

func allDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// giveBack ends an identity.
func (c *conn) giveBack(who *identity) {
	c.server.freeNick(who.nick, c)
	c.server.hub.Holds().Release(who.hold)
}

func (c *conn) refuseNick(wanted string, err error) error {
	var fault *bridge.Error
	switch {
	case errors.Is(err, errTaken):
		return c.reply(errNickInUse, wanted, err.Error())
	case errors.As(err, &fault) && fault.Code == bridge.InvalidName:
		return c.reply(errBadNick, wanted, fault.Detail)
	case errors.As(err, &fault) && (fault.Code == bridge.NameProtected || fault.Code == bridge.NameHasKey):
		return c.reply(errNickInUse, wanted, "Nickname is protected: "+fault.Detail)
	}
	return c.reply(errNickInUse, wanted, "Not possible now: "+err.Error())
}

// rename makes the client another sender, on the same channels.
func (c *conn) rename(was *identity, wanted string) error {
	if wanted == was.nick {
		return nil
	}
	if c.hello.sender != nil {
		return c.reply(errRestricted, "Your token is of "+was.nick+": another nick needs another password")
	}
	now, err := c.hold(wanted)
	if err != nil {
		return c.refuseNick(wanted, err)
	}
	err = c.put(appendLine(nil, was.source, "NICK", now.nick))
	c.server.rooms.rename(c, was, now)
	for _, ch := range c.on() {
		c.swap(ch, now)
	}
	was.hold.Left(bridge.LeftByGoodbye)
	c.giveBack(was)
	c.server.rooms.renamed(was)
	return err
}

// takeNick reserves a nick for a connection, among those of IRC.
func (s *Server) takeNick(nick string, c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nicks[fold(nick)] != nil {
		return false
	}
	s.nicks[fold(nick)] = c
	return true
}

func (s *Server) freeNick(nick string, c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nicks[fold(nick)] == c {
		delete(s.nicks, fold(nick))
	}
}
