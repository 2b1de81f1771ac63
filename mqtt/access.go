package mqtt

import (
	"slices"
	"strings"
)

// User is a configured user. It connects with its own user name and password
// in place of the secret key or a token.
type User struct {
	Hash []byte // bcrypt
	// Rules say what the user may read and write; nil: everything. They cannot allow
	// what the gateway's own tree forbids (docs/broker.md, "Users").
	Rules []Rule
}

// Rule is one line of an access list. A topic may be read (or written) if a rule that
// allows it matches, and no deny rule does. The order of rules does not matter.
type Rule struct {
	Read, Write bool // neither: deny
	// Pattern is a topic filter. %u stands for the user name, %c for the client id.
	Pattern string
}

// access is what one session may do. A nil pointer allows everything.
type access struct {
	read, write, deny [][]string // patterns, by level
}

// newAccess compiles the rules for one client: it replaces %u and %c.
func newAccess(rules []Rule, user, client string) *access {
	if rules == nil {
		return nil
	}
	a := &access{}
	fill := strings.NewReplacer("%u", user, "%c", client)
	for _, r := range rules {
		levels := strings.Split(fill.Replace(r.Pattern), "/")
		if r.Read {
			a.read = append(a.read, levels)
		}
		if r.Write {
			a.write = append(a.write, levels)
		}
		if !r.Read && !r.Write {
			a.deny = append(a.deny, levels)
		}
	}
	return a
}

// namesClient reports whether a rule contains %c. The client id must then be one
// level without wildcards.
func namesClient(rules []Rule) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return strings.Contains(r.Pattern, "%c") })
}

func (a *access) mayRead(topic string) bool  { return a == nil || a.allows(a.read, topic) }
func (a *access) mayWrite(topic string) bool { return a == nil || a.allows(a.write, topic) }

func (a *access) allows(by [][]string, topic string) bool {
	levels := strings.Split(topic, "/")
	return anyCovers(by, levels) && !anyCovers(a.deny, levels)
}

// maySubscribe reports whether a filter can match a topic that may be read. Messages
// on its other topics are not delivered.
func (a *access) maySubscribe(filter string) bool {
	if a == nil {
		return true
	}
	levels := strings.Split(filter, "/")
	return slices.ContainsFunc(a.read, func(p []string) bool { return overlap(p, levels) }) && !anyCovers(a.deny, levels)
}

func anyCovers(patterns [][]string, levels []string) bool {
	return slices.ContainsFunc(patterns, func(p []string) bool { return covers(p, levels) })
}

// covers reports whether a pattern matches everything that a filter does; a
// topic is a filter that matches itself. Wildcards at the front do not match
// topics that begin with $ (MQTT-4.7.2-1).
func covers(pattern, filter []string) bool {
	if len(filter[0]) > 0 && filter[0][0] == '$' && (pattern[0] == "+" || pattern[0] == "#") {
		return false
	}
	for i, p := range pattern {
		switch {
		case p == "#":
			return true
		case i >= len(filter):
			return false
		case filter[i] == "#", p != "+" && p != filter[i]:
			return false
		}
	}
	return len(pattern) == len(filter)
}

// overlap reports whether some topic matches both filters.
func overlap(a, b []string) bool {
	dollar := func(s string) bool { return len(s) > 0 && s[0] == '$' }
	wild := func(s string) bool { return s == "+" || s == "#" }
	if dollar(a[0]) && wild(b[0]) || dollar(b[0]) && wild(a[0]) {
		return false
	}
	for i := 0; ; i++ {
		switch {
		case i < len(a) && a[i] == "#", i < len(b) && b[i] == "#":
			return true // "a/#" matches "a": all levels before # are equal
		case i >= len(a) || i >= len(b):
			return len(a) == len(b)
		case a[i] != "+" && b[i] != "+" && a[i] != b[i]:
			return false
		}
	}
}

// same reports whether two access lists allow the same.
func (a *access) same(b *access) bool {
	equal := func(x, y [][]string) bool { return slices.EqualFunc(x, y, slices.Equal[[]string]) }
	return equal(a.read, b.read) && equal(a.write, b.write) && equal(a.deny, b.deny)
}
