package irc

import (
	"strconv"
	"strings"

	"watchtower/bridge"
)

// nickBytes is the longest nick: as long as a name may be.
const nickBytes = 64

// numbered is how the nick of a sender without a name begins; its id follows.
const numbered = "id-"

// writable replaces by _ what a nick cannot have, of the characters that names have.
func writable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
}

// fold returns what is the same for nicks and channels that differ in upper and lower case
// only (CASEMAPPING=ascii).
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// nickOf returns the nick of a sender. A name that reads like a user's shows its id instead:
// boss_anna is the nick of the user boss's sender boss.anna, and of nobody else.
func nickOf(users bridge.Users, id bridge.SenderID, name string) string {
	if name == "" || ofUser(users, name) != "" && users.Of(name) == "" || isNumbered(name) {
		return numbered + strconv.FormatUint(uint64(id), 10)
	}
	return writable(name)
}

// ofUser returns the configured user whose sender a nick could be: with a dot for one of its _.
func ofUser(users bridge.Users, nick string) string {
	for i, r := range nick {
		if r == '_' || r == ':' {
			if user := users.Of(nick[:i] + "." + nick[i+1:]); user != "" {
				return user
			}
		}
	}
	return ""
}

func isNumbered(nick string) bool {
	_, ok := parseNumbered(nick)
	return ok
}

// parseNumbered returns the id in a nick such as id-72.
func parseNumbered(nick string) (bridge.SenderID, bool) {
	rest, ok := strings.CutPrefix(fold(nick), numbered)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(rest, 10, 32)
	return bridge.SenderID(n), err == nil && n > 0
}

// validNick reports whether a client may take a nick: a name that IRC can write.
func validNick(nick string) bool {
	return bridge.ValidName(nick) && writable(nick) == nick && len(nick) <= nickBytes && !isNumbered(nick)
}

// channelName is a channel, as IRC writes it.
func channelName(c bridge.Channel) string { return "#" + strconv.FormatUint(uint64(c), 10) }

// parseChannel reads a channel's name. It reports false for any other text.
func parseChannel(name string) (bridge.Channel, bool) {
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return bridge.Channel(n), err == nil && n > 0 && digits[0] != '0' && digits[0] != '+'
}

// forwarded returns the channel with a configured name. What the name of a channel of IRC cannot
// have is _ in it.
func (s *Server) forwarded(name string) (bridge.Channel, bool) {
	if s.opts.Names == nil || len(name) < 2 || name[0] != '#' {
		return 0, false
	}
	found := bridge.Channel(0)
	for c, called := range s.opts.Names() {
		if fold(channelText(called)) == fold(name[1:]) && (found == 0 || c < found) {
			found = c
		}
	}
	return found, found != 0
}

func channelText(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == ',' || r == ':' {
			return '_'
		}
		return r
	}, name)
}

// called returns a channel's configured name, or "".
func (s *Server) called(c bridge.Channel) string {
	if s.opts.Names == nil {
		return ""
	}
	return s.opts.Names()[c]
}
