package homeassistant

import (
	"regexp"
	"slices"
	"strings"

	"watchtower/bridge"
)

// templateBytes is the most bytes of a value template.
const templateBytes = 256

// A device's template runs in Home Assistant, so it may compute only with its own message:
// it has no statements and no states of other entities. It also has nothing that makes a
// long text from a short one, or that takes long: discovery is retained, so Home Assistant
// would hang at each start. Two rules hold that:
//
//   - What can grow by multiplying (* and %) takes numbers only. A number is a literal, or
//     what a filter such as float makes, or a key that is checked to be a number first.
//   - Everything else is no longer than the sum of its parts, and a template has few parts.
//
// The second result of reading a template is its conditions: what has to be true so that it
// can be computed. The published template checks them, and is none where one fails, because
// each failure would stand in Home Assistant's log.
var (
	reserved = []string{"if", "else", "and", "or", "not", "in", "is"}

	token = regexp.MustCompile(`^(\s+|[A-Za-z_][A-Za-z0-9_]*|(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?|'[^'\\]*'|"[^"\\]*"|\*\*|//|==|!=|<=|>=|[-+*/%~<>()\[\]{}|.,:])`)
	whole = regexp.MustCompile(`^[^{}]*(\{\{.+?\}\}[^{}]*)+$`)
	parts = regexp.MustCompile(`\{\{(.+?)\}\}`)
)

// checkTemplate returns the fault of a value template, or "".
func checkTemplate(template string) string {
	_, _, problem := readTemplate(template)
	return problem
}

// safeTemplate returns a template as it is published: with its conditions.
func safeTemplate(template string) string {
	safe, _, _ := readTemplate(template)
	return safe
}

// templateKeys lists the keys of the message that a template reads and takes for granted.
func templateKeys(template string) []string {
	_, keys, _ := readTemplate(template)
	return keys
}

func readTemplate(template string) (safe string, keys []string, problem string) {
	switch {
	case strings.Contains(template, "{%") || strings.Contains(template, "{#"):
		return "", nil, "must be an expression in {{ }}: no statements, no comments"
	case !whole.MatchString(template):
		return "", nil, "must have an expression in {{ }}, such as {{ value_json.m }}"
	}
	safe = parts.ReplaceAllStringFunc(template, func(part string) string {
		inside := part[2 : len(part)-2]
		e := &expression{}
		e.scan(inside)
		n := e.choice()
		if e.problem == "" && len(e.tokens) > 0 {
			e.fail("cannot be read at " + bridge.Shorten(strings.Join(e.tokens, " ")))
		}
		if problem == "" {
			problem = e.problem
		}
		if !e.lenient {
			keys = append(keys, e.keys...)
		}
		if len(n.conditions) == 0 && n.text == n.source && inside[0] != '-' && inside[0] != '+' { // {{- is a sign of its own
			return part
		}
		return "{{ " + n.guarded() + " }}"
	})
	return safe, keys, problem
}

// expression holds the unread tokens of an expression. Each method reads one level of the
// grammar; choice reads the operators that bind most loosely. The first problem ends the
// reading.
type expression struct {
	tokens  []string
	problem string
	keys    []string // of the message
	lenient bool     // it says what holds if a key is missing
}

// node is a part of an expression that was read.
type node struct {
	text       string   // as it is published
	conditions []string // what has to be true so that it can be computed
	path       []string // it is value_json and these steps, each a prefix of the next; nil: it is none
	number     bool     // its value is a number, or it cannot be computed
	fraction   bool     // and it is a number with a point
	maybe      bool     // it may be missing, and is no path
	literal    bool     // it is a text, a number or a list of them
	source     string   // the text without conditions of its parts
}

// guarded returns the text with its conditions.
func (n node) guarded() string {
	if len(n.conditions) == 0 {
		return n.text
	}
	return "(" + n.text + " if " + strings.Join(slices.Compact(n.conditions), " and ") + " else none)"
}

// alone returns a node that checks its own conditions, and has none.
func (n node) alone() node { return node{text: n.guarded(), source: n.source, literal: n.literal} }

func (n *node) needs(condition ...string) { n.conditions = append(n.conditions, condition...) }

// beNumber needs a node to be a number, and reports whether that can be had.
func (n *node) beNumber() bool {
	switch {
	case n.number:
		return true
	case n.path == nil:
		return false
	}
	n.needs(n.text + " is number")
	n.number = true
	return true
}

// present needs what may be missing to be there.
func (n *node) present() {
	if (n.path != nil || n.maybe) && !n.number {
		n.needs(n.text+" is defined", n.text+" is not none")
	}
}

// join returns a node made of others and what is between them.
func join(between string, all ...node) node {
	var n node
	for i, part := range all {
		if i > 0 {
			n.text += between
			n.source += between
		}
		n.text += part.text
		n.source += part.source
		n.needs(part.conditions...)
	}
	return n
}

func (e *expression) scan(text string) {
	for text != "" && e.problem == "" {
		t := token.FindString(text)
		if t == "" {
			e.fail("cannot be read at " + bridge.Shorten(text))
		}
		text = text[len(t):]
		if t = strings.TrimSpace(t); t != "" {
			e.tokens = append(e.tokens, t)
		}
	}
}

// take takes the next token if it is one of these.
func (e *expression) take(these ...string) bool {
	if e.problem != "" || len(e.tokens) == 0 || !slices.Contains(these, e.tokens[0]) {
		return false
	}
	e.tokens = e.tokens[1:]
	return true
}

// need takes the next token, which must be this.
func (e *expression) need(this string) {
	if !e.take(this) {
		e.fail("has no " + this + " where one is needed")
	}
}

// next returns the next token, or "".
func (e *expression) next() string {
	if e.problem != "" || len(e.tokens) == 0 {
		return ""
	}
	return e.tokens[0]
}

// word takes the next token, which must be one of these words.
func (e *expression) word(what string, these []string) string {
	t := e.next()
	if t != "" && slices.Contains(these, t) {
		e.tokens = e.tokens[1:]
		return t
	}
	if t == "" {
		t = "the end"
	}
	e.fail("must not use " + bridge.Shorten(t) + " as a " + what + ": there are " + strings.Join(these, ", "))
	return ""
}

func (e *expression) fail(problem string) {
	if e.problem == "" {
		e.problem = problem
	}
}
