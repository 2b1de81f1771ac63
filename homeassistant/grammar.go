package homeassistant

import (
	"slices"
	"strings"

	"watchtower/bridge"
)

// The grammar of an expression, from what binds most loosely to a single value.

func (e *expression) choice() node {
	n := e.logic()
	for e.take("if") {
		e.lenient = true
		when := e.logic().alone()
		n = join(" if ", n.alone(), when)
		if e.take("else") {
			n = join(" else ", n, e.choice().alone())
		} else {
			n.text, n.source = n.text+" else ''", n.source+" else ''"
		}
	}
	return n
}

func (e *expression) logic() node {
	n := e.negation()
	for {
		word := e.next()
		if !e.take("and", "or") {
			return n
		}
		n = join(" "+word+" ", n.alone(), e.negation().alone())
	}
}

func (e *expression) negation() node {
	if !e.take("not") {
		return e.comparison()
	}
	n := e.negation().alone()
	n.text, n.source = "not "+n.text, "not "+n.source
	return n
}

func (e *expression) comparison() node {
	n := e.sum()
	for {
		sign := e.next()
		if e.take("not") {
			e.need("in")
			sign = "not in"
		} else if !e.take("==", "!=", "<", ">", "<=", ">=", "in") {
			return n
		}
		right := e.sum()
		switch {
		case strings.HasSuffix(sign, "in"):
			if right.path != nil {
				right.needs(right.text+" is defined", right.text+" is iterable")
			}
		case sign != "==" && sign != "!=": // a number and a text cannot be compared
			if n.number || right.number {
				n.beNumber()
				right.beNumber()
			}
			n.present()
			right.present()
		}
		n = join(" "+sign+" ", n, right)
	}
}

func (e *expression) sum() node {
	n := e.joint()
	for {
		sign := e.next()
		if !e.take("+", "-") {
			return n
		}
		right := e.joint()
		number := false
		if sign == "-" || n.number || right.number {
			number = n.beNumber()
			number = right.beNumber() && number
		} else {
			n.present()
			right.present()
		}
		n = join(" "+sign+" ", n, right)
		n.number = number
	}
}

// joint reads texts that are joined by ~.
func (e *expression) joint() node {
	n := e.product()
	for e.take("~") {
		n = join(" ~ ", n, e.product())
	}
	return n
}

// product takes numbers only on both sides of * and %: with a text on one side they repeat
// it, perhaps a million times, or pad it. A number with a point is enough on one side of *:
// then a text on the other is an error in Home Assistant.
func (e *expression) product() node {
	n := e.filtered()
	for {
		sign := e.next()
		if !e.take("*", "/", "//", "%") {
			return n
		}
		right := e.filtered()
		left, both := n.fraction || right.fraction, n.beNumber()
		both = right.beNumber() && both
		if sign == "*" && !both && !left || sign == "%" && !both {
			e.fail("both sides of " + sign + " must be numbers: " + numberHint)
		}
		if sign != "*" && right.number && right.literal && strings.Trim(right.text, "0.") == "" {
			e.fail("divides by 0")
		}
		if sign != "*" && !right.literal && e.problem == "" {
			right.needs(right.text + " != 0")
		}
		n = join(" "+sign+" ", n, right)
		n.number, n.fraction = true, sign == "/" || sign == "*" && left
	}
}

const numberHint = "a key of the message, a number, or what ends with | float or | int"

// filtered reads a value with its filters and tests. Neither a key nor a second test may follow
// them.
func (e *expression) filtered() node {
	n := e.signed()
	for {
		switch {
		case e.take("|"):
			n = e.filter(n)
		case e.take("is"):
			n = e.test(n)
		default:
			return n
		}
	}
}

// signed reads a value with its signs and keys.
func (e *expression) signed() node {
	sign := e.next()
	if e.take("-", "+") {
		n := e.signed()
		n.beNumber()
		n.text, n.source, n.path = sign+n.text, sign+n.source, nil
		return n
	}
	n := e.primary()
	for {
		switch {
		case e.take("."):
			n = e.attribute(n)
		case e.take("["):
			n = e.subscript(n)
		default:
			return n
		}
	}
}

// after returns a node whose text goes on.
func (n node) after(more string) node {
	return node{text: n.text + more, source: n.source + more, conditions: n.conditions}
}

// step returns a path with one more step, or what is no path if n is none.
func (e *expression) step(n node, more, key string) node {
	next := n.after(more)
	if n.path == nil {
		next.maybe = true
		return next
	}
	if len(n.path) == 1 && key != "" {
		e.keys = append(e.keys, key)
	}
	next.path = append(slices.Clone(n.path), next.text)
	if len(n.path) > 1 { // the first key may be missing too, but it is null then
		next.needs(n.text+" is defined", n.text+" is not none")
	}
	return next
}

func (e *expression) attribute(n node) node {
	name := e.next()
	if name == "" || !isWord(name) || name[0] == '_' || slices.Contains(reserved, name) {
		e.fail("has no key after a point")
		return n
	}
	e.tokens = e.tokens[1:]
	if e.next() != "(" {
		return e.step(n, "."+name, name)
	}
	if !slices.Contains(templateMethods, name) {
		e.fail("must not call " + bridge.Shorten(name) + ": there are " + strings.Join(templateMethods, ", "))
		return n
	}
	if name == "get" {
		n.needs(n.text + " is mapping")
	} else if n.text != "value" {
		n.needs(n.text + " is string")
	}
	_, args := e.arguments()
	return join("", n.after("."+name), args)
}

func (e *expression) subscript(n node) node {
	if e.take(":") {
		return e.slice(n, node{text: ":", source: ":"})
	}
	key := e.next()
	index := e.choice()
	closed := e.take("]")
	switch {
	case closed && index.literal:
		if isQuoted(key) && index.text == key {
			return e.step(n, "["+key+"]", key[1:len(key)-1])
		}
		return e.step(n, "["+index.text+"]", "")
	case !closed && e.take(":"):
		return e.slice(n, index.after(":"))
	case closed:
		all := join("[", n.after(""), index).after("]")
		all.maybe = true
		return all
	}
	e.need("]")
	return n
}

// slice reads the end of a slice, whose beginning with its colon was read.
func (e *expression) slice(n, from node) node {
	if !e.take("]") {
		from = join("", from, e.choice())
		e.need("]")
	}
	if n.path != nil {
		n.needs(n.text+" is defined", n.text+" is not none")
	}
	return join("[", n.after(""), from).after("]")
}

func (e *expression) test(n node) node {
	not := ""
	if e.take("not") {
		not = "not "
	}
	name := e.word("test", templateTests)
	if name == "defined" || name == "undefined" || name == "none" {
		e.lenient = true
	}
	if next := e.next(); next != "" && (isWord(next) && !slices.Contains([]string{"else", "and", "or"}, next) || strings.ContainsAny(next[:1], `0123456789'"([{`)) {
		e.fail("must have parentheses around a test before " + bridge.Shorten(next)) // Jinja would take it for the test's argument
	}
	n = n.after(" is " + not + name + ")") // Jinja chains no tests, and takes an if for an argument
	n.text, n.source = "("+n.text, "("+n.source
	return n
}

func (e *expression) primary() node {
	t := e.next()
	switch {
	case t == "":
		e.fail("ends too soon")
	case isWord(t):
		return e.name()
	case t[0] >= '0' && t[0] <= '9':
		e.tokens = e.tokens[1:]
		return node{text: t, source: t, number: true, literal: true, fraction: strings.Contains(t, ".")}
	case isQuoted(t):
		e.tokens = e.tokens[1:]
		return node{text: t, source: t, literal: true}
	case e.take("("):
		n := e.choice()
		e.need(")")
		n.text, n.source, n.path = "("+n.text+")", "("+n.source+")", nil
		return n
	case e.take("["):
		all, n := e.list("]")
		literal := !slices.ContainsFunc(all, func(n node) bool { return !n.literal })
		return node{text: "[" + n.text + "]", source: "[" + n.source + "]", conditions: n.conditions, literal: literal}
	case e.take("{"): // only {} is allowed, for default({})
		e.need("}")
		return node{text: "{}", source: "{}"}
	default:
		e.fail("cannot be read at " + bridge.Shorten(strings.Join(e.tokens, " ")))
	}
	return node{}
}

func (e *expression) name() node {
	if f, ok := templateFunctions[e.next()]; ok && len(e.tokens) > 1 && e.tokens[1] == "(" {
		name := e.next()
		e.tokens = e.tokens[1:]
		all, n := e.arguments()
		return e.call(name, f, node{text: name, source: name}, all, n)
	}
	t := e.word("name", templateValues)
	n := node{text: t, source: t}
	if t == "value_json" {
		n.path = []string{t}
	}
	return n
}

// arguments reads arguments in parentheses, if there are any. The node has the parentheses.
func (e *expression) arguments() (all []node, n node) {
	if !e.take("(") {
		return nil, node{}
	}
	all, n = e.list(")")
	n.text, n.source = "("+n.text+")", "("+n.source+")"
	return all, n
}

func (e *expression) list(end string) (all []node, n node) {
	if e.take(end) {
		return nil, node{}
	}
	for {
		all = append(all, e.choice())
		if !e.take(",") {
			break
		}
	}
	e.need(end)
	return all, join(", ", all...)
}

func isWord(t string) bool {
	return t[0] == '_' || t[0] >= 'a' && t[0] <= 'z' || t[0] >= 'A' && t[0] <= 'Z'
}

func isQuoted(t string) bool { return t != "" && (t[0] == '\'' || t[0] == '"') }
