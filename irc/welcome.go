package irc

import (
	"fmt"
	"time"
)

// welcome tells a client that it is registered, and what the gateway can do.
func (c *conn) welcome() error {
	s, who := c.server, c.who.Load()
	b := c.numbered(nil, rplWelcome, "Welcome to Watchtower, "+who.source)
	b = c.numbered(b, rplYourHost, "Your host is "+s.name+", a Watchtower gateway")
	b = c.numbered(b, rplCreated, "It runs since "+s.begun.UTC().Format(time.RFC3339))
	b = c.numbered(b, rplMyInfo, s.name, "watchtower", "i", "nt")
	tokens := []string{
		"CASEMAPPING=ascii", "CHANTYPES=#", "CHANMODES=,,,nt", "PREFIX=", "CHANLIMIT=#:", "NETWORK=Watchtower",
		fmt.Sprint("NICKLEN=", nickBytes), "CHANNELLEN=64", "TOPICLEN=64", fmt.Sprint("MAXTARGETS=", mostTargets), "UTF8ONLY",
	}
	if s.opts.Past != nil {
		tokens = append(tokens, fmt.Sprint("CHATHISTORY=", mostPast))
	}
	b = c.numbered(b, rplISupport, append(tokens, "are supported by this server")...)
	_, senders := s.hub.Directory().Counts()
	b = c.numbered(b, rplLUsers, fmt.Sprintf("There are %d senders on this gateway", senders))
	return c.put(c.appendMOTD(b))
}

func (c *conn) motd([]string) error { return c.put(c.appendMOTD(nil)) }

// appendMOTD appends the message of the day, which is the gateway's state.
func (c *conn) appendMOTD(b []byte) []byte {
	b = c.numbered(b, rplMOTDStart, "- "+c.server.name+" now -")
	if c.server.opts.State != nil {
		for _, line := range c.server.opts.State() {
			b = c.numbered(b, rplMOTD, "- "+line)
		}
	}
	b = c.numbered(b, rplMOTD, "- Channel #5 is channel 5. What is said to a nick is for that device alone.")
	return c.numbered(b, rplEndOfMOTD, "End of /MOTD command.")
}
