package irc

import (
	"errors"
	"strings"

	"github.com/ergochat/irc-go/ircmsg"

	"watchtower/bridge"
)

// command is what executes a command: how many parameters it needs, and whether a client may
// say it before it has registered.
type command struct {
	do    func(c *conn, params []string) error
	need  int
	early bool
}

var commands = map[string]command{
	"CAP":         {(*conn).capability, 1, true},
	"PASS":        {(*conn).pass, 1, true},
	"NICK":        {(*conn).nickname, 0, true},
	"USER":        {(*conn).userName, 4, true},
	"PING":        {(*conn).ping, 1, true},
	"PONG":        {(*conn).nothing, 0, true},
	"QUIT":        {(*conn).quit, 0, true},
	"JOIN":        {(*conn).join, 1, false},
	"PART":        {(*conn).part, 1, false},
	"PRIVMSG":     {(*conn).privmsg, 0, false},
	"NOTICE":      {(*conn).noticed, 0, false},
	"TAGMSG":      {(*conn).nothing, 0, false},
	"TOPIC":       {(*conn).topic, 1, false},
	"MODE":        {(*conn).mode, 1, false},
	"NAMES":       {(*conn).names, 0, false},
	"LIST":        {(*conn).list, 0, false},
	"WHO":         {(*conn).whoIs, 1, false},
	"WHOIS":       {(*conn).whois, 1, false},
	"ISON":        {(*conn).isOn, 1, false},
	"USERHOST":    {(*conn).userHost, 1, false},
	"AWAY":        {(*conn).away, 0, false},
	"MOTD":        {(*conn).motd, 0, false},
	"CHATHISTORY": {(*conn).chatHistory, 1, false},
	"KICK":        {(*conn).operators, 1, false},
	"INVITE":      {(*conn).operators, 1, false},
}

// execute executes a command, and answers it.
func (c *conn) execute(name string, params []string) error {
	does, known := commands[name]
	registered := c.who.Load() != nil
	switch {
	case !registered && !does.early:
		return c.reply(errNotRegistered, "You have not registered")
	case !known:
		return c.reply(errUnknownCommand, shown(name), "Unknown command")
	case len(params) < does.need:
		return c.reply(errNeedMore, name, "Not enough parameters")
	}
	return does.do(c, params)
}

func (c *conn) nothing([]string) error { return nil }

func (c *conn) ping(params []string) error {
	return c.put(appendLine(nil, c.server.name, "PONG", c.server.name, params[0]))
}

func (c *conn) quit([]string) error {
	c.end("Goodbye")
	return errQuit
}

// operators refuses what only an operator of a channel may do: there is none.
func (c *conn) operators(params []string) error {
	return c.reply(errNotOperator, shown(params[0]), "Nobody is an operator here")
}

// fits reports whether a text can be a parameter that is not the last one.
func fits(s string) bool { return s != "" && s[0] != ':' && !strings.ContainsAny(s, " \r\n\x00") }

// shown returns what a client said, as a reply repeats it.
func shown(s string) string {
	if s = bridge.Shorten(s); !fits(s) {
		return "*"
	}
	return s
}

// appendLine appends a line. Source is who says it. All parameters but the last fit. The line is
// cut where it is longer than a line may be.
func appendLine(b []byte, source, command string, params ...string) []byte {
	begin := len(b)
	b = append(append(append(append(b, ':'), source...), ' '), command...)
	for i, p := range params {
		b = append(b, ' ')
		if i == len(params)-1 && !fits(p) || i == len(params)-1 && i > 0 {
			b = append(b, ':')
		}
		b = append(b, p...)
	}
	if len(b)-begin > lineBytes-2 {
		b = append(b[:begin], ircmsg.TruncateUTF8Safe(string(b[begin:]), lineBytes-2)...)
	}
	return append(b, '\r', '\n')
}

// detail is a refusal for people.
func detail(err error) string {
	var fault *bridge.Error
	if errors.As(err, &fault) {
		return fault.Detail
	}
	return err.Error()
}
