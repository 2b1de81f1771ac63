package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"golang.org/x/crypto/bcrypt"
)

// User is an account with its own name and password, for MQTT and for operators.
type User struct {
	PasswordHash string // bcrypt, as `watchtower passwd` prints it
	ACL          []Rule // nil: everything; empty: nothing
	Role         string // as an operator: look, speak, manage; empty: none
}

// Rule is one line of an access list: "read home/#".
type Rule struct {
	Access string // read, write, readwrite, deny
	Topic  string // a topic filter, in which %u is the user name and %c the client id
}

func (r Rule) String() string { return r.Access + " " + r.Topic }

var roles = []string{"look", "speak", "manage"}

var accesses = []string{"read", "write", "readwrite", "deny"}

// mostCost is the highest bcrypt cost of a hash. At 15 one password takes two seconds.
const mostCost = 15

// users reads the section users.
func (r *reader) users(node ast.Node) {
	if _, empty := node.(*ast.NullNode); empty {
		return
	}
	r.config.Users = map[string]User{}
	r.each("users", node, func(name, path string, kv *ast.MappingValueNode) {
		if _, twice := r.config.Users[name]; twice {
			r.fault(path, kv.Key, "is there twice")
			return
		}
		r.from[path], r.from[path+".password_hash"] = r.where(kv.Key), r.where(kv.Key)
		var u User
		before := len(r.faults)
		if _, empty := kv.Value.(*ast.NullNode); !empty {
			r.each(path, kv.Value, func(key, full string, kv *ast.MappingValueNode) { r.userKey(&u, key, full, kv) })
		}
		if len(r.faults) == before {
			r.config.Users[name] = u
		}
	})
}

func (r *reader) userKey(u *User, key, path string, kv *ast.MappingValueNode) {
	r.from[path] = r.where(kv.Key)
	switch key {
	case "password_hash":
		var ok bool
		if u.PasswordHash, ok = nodeText(kv.Value); !ok {
			r.fault(path, kv.Key, "must be text: put it in quotes")
		}
	case "acl":
		lines, err := nodeList(kv.Value)
		if err != nil {
			r.fault(path, kv.Key, "%s", err)
			return
		}
		u.ACL = []Rule{}
		for _, line := range lines {
			access, topic, _ := strings.Cut(strings.TrimSpace(line), " ")
			u.ACL = append(u.ACL, Rule{access, strings.TrimSpace(topic)})
		}
	case "role":
		var ok bool
		if u.Role, ok = nodeText(kv.Value); !ok || u.Role == "" {
			r.fault(path, kv.Key, "must be one of %s", strings.Join(roles, ", "))
		}
	default:
		r.fault(path, kv.Key, "unknown key%s", meant(nearest(key, []string{"password_hash", "acl", "role"})))
	}
}

// checkUser reports the faults of a user to add.
func checkUser(name string, u User, add func(path string, err error)) {
	path := "users." + name
	add(path, userName(name))
	add(path+".password_hash", passwordHash(u.PasswordHash))
	var faults []error
	for _, rule := range u.ACL {
		faults = append(faults, rule.check())
	}
	add(path+".acl", oneLine(faults))
	if u.Role != "" {
		add(path+".role", oneOf(roles...).check(u.Role))
	}
}

// userName checks a user's name. A dot is not allowed: senders are called
// <user>.<client id>, so senders of two users could get the same name.
func userName(s string) error {
	ok := s != "" && len(s) <= 32
	for i := range len(s) {
		ok = ok && nameByte(s[i]) && s[i] != '.'
	}
	if !ok {
		return fmt.Errorf("a user's name must be 1 to 32 of A–Z a–z 0–9 _ -, is %q", s)
	}
	return nil
}

func passwordHash(s string) error {
	if s == "" {
		return errors.New("is missing: `watchtower passwd` makes one")
	}
	cost, err := bcrypt.Cost([]byte(s))
	if err != nil || len(s) != 60 {
		return errors.New("is not a hash that `watchtower passwd` made")
	}
	if cost > mostCost {
		return fmt.Errorf("is too slow to check: its cost is %d, at most %d is allowed", cost, mostCost)
	}
	return nil
}

func (r Rule) check() error {
	if !slices.Contains(accesses, r.Access) {
		return fmt.Errorf("%q must begin with one of %s", r.String(), strings.Join(accesses, ", "))
	}
	if !isFilter(strings.Split(r.Topic, "/")) {
		return fmt.Errorf("%q is not a topic filter: + and # stand for whole levels, # for the last", r.Topic)
	}
	if r.Topic == "" || !printable(r.Topic) {
		return fmt.Errorf("%q needs a topic filter after %s, such as home/#", r.String(), r.Access)
	}
	return nil
}

// yamlUser returns a user as YAML for the printed configuration.
func yamlUser(u User, hash string) string {
	s := "{password_hash: " + hash
	if u.ACL != nil {
		var lines []string
		for _, rule := range u.ACL {
			lines = append(lines, strconv.Quote(rule.String()))
		}
		s += ", acl: [" + strings.Join(lines, ", ") + "]"
	}
	if u.Role != "" {
		s += ", role: " + u.Role
	}
	return s + "}"
}
