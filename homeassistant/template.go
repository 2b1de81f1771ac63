package homeassistant

import (
	"regexp"
	"slices"
	"strings"

	"watchtower/bridge"
)

// templateBytes is the most bytes of a value template.
const templateBytes = 256

// The words of a template. A device's template runs in Home Assistant, so it may compute
// only with its own message: it has no statements, no functions and no states of other
// entities. It also has nothing that makes a long text from a short one, or that takes long:
// discovery is retained, so Home Assistant would hang at each start.
var (
	templateValues  = []string{"value", "value_json", "true", "false", "none", "True", "False", "None"}
	templateTests   = []string{"defined", "undefined", "number", "string", "mapping", "sequence", "boolean", "none"}
	templateMethods = []string{"split", "strip", "lstrip", "rstrip", "lower", "upper", "startswith", "endswith", "get"}
	templateFilters = []string{
		"float", "int", "round", "abs", "bool", "default", "lower", "upper", "trim", "length", "first", "last", "min", "max",
	}
	reserved = []string{"if", "else", "and", "or", "not", "in", "is"}

	token = regexp.MustCompile(`^(\s+|[A-Za-z_][A-Za-z0-9_]*|[0-9]+(\.[0-9]+)?|'[^'\\]*'|"[^"\\]*"|\*\*|//|==|!=|<=|>=|[-+*/~<>()\[\]{}|.,:])`)
	whole = regexp.MustCompile(`^[^{}]*(\{\{.+?\}\}[^{}]*)+$`)
	parts = regexp.MustCompile(`\{\{(.+?)\}\}`)
)

// checkTemplate returns the fault of a value template, or "".
func checkTemplate(template string) string {
	switch {
	case strings.Contains(template, "{%") || strings.Contains(template, "{#"):
		return "must be an expression in {{ }}: no statements, no comments"
	case !whole.MatchString(template):
		return "must have an expression in {{ }}, such as {{ value_json.m }}"
	}
	for _, part := range parts.FindAllStringSubmatch(template, -1) {
		if problem := checkExpression(part[1]); problem != "" {
			return problem
		}
	}
	return ""
}

func checkExpression(text string) string {
	e := &expression{}
	for text != "" {
		t := token.FindString(text)
		if t == "" {
			return "cannot be read at " + bridge.Shorten(text)
		}
		text = text[len(t):]
		if t = strings.TrimSpace(t); t != "" {
			e.tokens = append(e.tokens, t)
		}
	}
	e.choice()
	if e.problem == "" && len(e.tokens) > 0 {
		return "cannot be read at " + bridge.Shorten(strings.Join(e.tokens, " "))
	}
	return e.problem
}

// expression holds the unread tokens of an expression. Each method reads one level of the
// grammar; choice reads the operators that bind most loosely. The first problem ends the
// reading.
type expression struct {
	tokens  []string
	problem string
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

// word takes the next token, which must be one of these words.
func (e *expression) word(what string, these []string) {
	if e.problem == "" && len(e.tokens) > 0 && slices.Contains(these, e.tokens[0]) {
		e.tokens = e.tokens[1:]
		return
	}
	next := "the end"
	if len(e.tokens) > 0 {
		next = e.tokens[0]
	}
	e.fail("must not use " + bridge.Shorten(next) + " as a " + what + ": there are " + strings.Join(these, ", "))
}

func (e *expression) fail(problem string) {
	if e.problem == "" {
		e.problem = problem
	}
}

func (e *expression) choice() {
	e.logic()
	for e.take("if") {
		e.logic()
		if e.take("else") {
			e.choice()
		}
	}
}

func (e *expression) logic() {
	for {
		for e.take("not") {
			continue
		}
		e.comparison()
		if !e.take("and", "or") {
			return
		}
	}
}

func (e *expression) comparison() {
	e.sum()
	for {
		if e.take("not") {
			e.need("in")
		} else if !e.take("==", "!=", "<", ">", "<=", ">=", "in") {
			return
		}
		e.sum()
	}
}

func (e *expression) sum() {
	e.product()
	for e.take("+", "-", "~") {
		e.product()
	}
}

// product allows * only if one side is a number with a point, or a quotient by /, which has
// a point too (one by // may have none). With a text on the other side, that is an error in
// Home Assistant. With a whole number it would repeat the text, perhaps a million times.
func (e *expression) product() {
	fraction := e.sign()
	for {
		switch {
		case e.take("/"):
			e.sign()
			fraction = true
		case e.take("//"):
			e.sign()
			fraction = false
		case e.take("*"):
			if right := e.sign(); !fraction && !right {
				e.fail("one side of * must be a number with a point, such as 0.1")
			}
			fraction = true
		default:
			return
		}
	}
}

// sign reads a value with its signs, keys, filters and tests. It reports whether the value
// is a number with a point and nothing follows it.
func (e *expression) sign() (fraction bool) {
	for e.take("-", "+") {
		continue
	}
	if len(e.tokens) > 0 && e.tokens[0][0] >= '0' && e.tokens[0][0] <= '9' {
		fraction = strings.Contains(e.tokens[0], ".")
	}
	e.primary()
	for {
		switch {
		case e.take("."):
			e.attribute()
		case e.take("["):
			e.subscript()
		case e.take("|"):
			e.filter()
		case e.take("is"):
			e.take("not")
			e.word("test", templateTests)
		default:
			return fraction
		}
		fraction = false
	}
}

// filter reads a filter. The argument of round must be a literal digit, because round
// computes ten to that power.
func (e *expression) filter() {
	rounds := len(e.tokens) > 0 && e.tokens[0] == "round"
	e.word("filter", templateFilters)
	if !rounds || len(e.tokens) == 0 || e.tokens[0] != "(" {
		e.arguments()
		return
	}
	e.tokens = e.tokens[1:]
	if len(e.tokens) == 0 || len(e.tokens[0]) != 1 || e.tokens[0][0] < '0' || e.tokens[0][0] > '9' {
		e.fail("must say how many digits round keeps, from 0 to 9")
		return
	}
	e.tokens = e.tokens[1:]
	e.need(")")
}

func (e *expression) primary() {
	if len(e.tokens) == 0 {
		e.fail("ends too soon")
		return
	}
	switch t := e.tokens[0]; {
	case e.problem != "":
	case isWord(t):
		e.word("name", templateValues)
	case t[0] >= '0' && t[0] <= '9', t[0] == '\'', t[0] == '"':
		e.tokens = e.tokens[1:]
	case e.take("("):
		e.choice()
		e.need(")")
	case e.take("["):
		e.list("]")
	case e.take("{"): // only {} is allowed, for default({})
		e.need("}")
	default:
		e.fail("cannot be read at " + bridge.Shorten(strings.Join(e.tokens, " ")))
	}
}

func (e *expression) attribute() {
	if len(e.tokens) == 0 || !isWord(e.tokens[0]) || e.tokens[0][0] == '_' || slices.Contains(reserved, e.tokens[0]) {
		e.fail("has no key after a point")
		return
	}
	name := e.tokens[0]
	e.tokens = e.tokens[1:]
	if len(e.tokens) > 0 && e.tokens[0] == "(" {
		if !slices.Contains(templateMethods, name) {
			e.fail("must not call " + bridge.Shorten(name) + ": there are " + strings.Join(templateMethods, ", "))
			return
		}
		e.arguments()
	}
}

func (e *expression) subscript() {
	if !e.take(":") {
		e.choice()
		if e.take("]") {
			return
		}
		e.need(":")
	}
	if !e.take("]") {
		e.choice()
		e.need("]")
	}
}

// arguments reads arguments in parentheses, if there are any.
func (e *expression) arguments() {
	if e.take("(") {
		e.list(")")
	}
}

func (e *expression) list(end string) {
	if e.take(end) {
		return
	}
	for {
		e.choice()
		if !e.take(",") {
			break
		}
	}
	e.need(end)
}

func isWord(t string) bool {
	return t[0] == '_' || t[0] >= 'a' && t[0] <= 'z' || t[0] >= 'A' && t[0] <= 'Z'
}
