package homeassistant

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// The words of a template.
var (
	templateValues = []string{"value", "value_json", "true", "false", "none", "True", "False", "None"}
	templateTests  = []string{
		"defined", "undefined", "none", "number", "integer", "float", "string", "mapping", "sequence", "boolean", "iterable", "even", "odd",
	}
	templateMethods = []string{"split", "strip", "lstrip", "rstrip", "lower", "upper", "startswith", "endswith", "get"}
)

// call is a filter or a function. What it makes is never longer than what it gets and its
// arguments together.
type call struct {
	most    int  // arguments
	number  bool // its value is a number
	lenient int  // the argument, from 1, that is its value if it fails; 0: none
	check   func([]node) string
	need    func(text string) string // what must be true of the value; nil: nothing
}

func numeric(text string) string { return text + " | is_number" }
func isThere(text string) string { return text + " is not none" }
func many(text string) string    { return text + " is iterable" }
func noneNull(text string) string {
	return text + " is iterable and " + text + " | select('none') | list | length == 0"
}
func isWhole(text string) string { return text + " is integer" }

var templateFilters = map[string]call{
	"float":       {most: 1, number: true, lenient: 1, need: numeric},
	"int":         {most: 2, number: true, lenient: 1, check: literalBase, need: numeric},
	"round":       {most: 2, number: true, check: literalDigits, need: numeric},
	"multiply":    {most: 1, number: true, check: numberArgument, need: numeric},
	"add":         {most: 1, number: true, check: numberArgument, need: numeric},
	"abs":         {number: true, need: func(text string) string { return text + " is number" }},
	"bitwise_and": {most: 1, number: true, check: wholeArgument, need: isWhole},
	"bitwise_or":  {most: 1, number: true, check: wholeArgument, need: isWhole},
	"length":      {number: true, need: many},
	"bool":        {most: 1, lenient: 1, need: isThere},
	"default":     {most: 2},
	"is_number":   {},
	"iif":         {most: 3},
	"lower":       {need: isThere},
	"upper":       {need: isThere},
	"trim":        {need: isThere},
	"string":      {},
	"replace":     {most: 2, check: shorterText, need: isThere},
	"first":       {need: many},
	"last":        {need: many},
	"min":         {need: noneNull},
	"max":         {need: noneNull},
	"sum":         {need: noneNull},
}

var templateFunctions = map[string]call{
	"float":     {most: 2, number: true, lenient: 2, need: numeric},
	"int":       {most: 3, number: true, lenient: 2, check: func(all []node) string { return literalBase(all[min(1, len(all)):]) }, need: numeric},
	"min":       {most: 8, check: someNumbers},
	"max":       {most: 8, check: someNumbers},
	"iif":       {most: 4},
	"is_number": {most: 1},
}

func filterNames() []string { return slices.Sorted(maps.Keys(templateFilters)) }

// filter reads a filter.
func (e *expression) filter(n node) node {
	name := e.word("filter", filterNames())
	all, args := e.arguments()
	return e.call(name, templateFilters[name], n, all, args)
}

// call applies a filter to n, or a function, whose value is its first argument.
func (e *expression) call(name string, c call, n node, all []node, args node) node {
	if e.problem != "" {
		return n
	}
	_, function := templateFunctions[name]
	function = function && n.text == name
	if len(all) > c.most {
		e.fail(name + " has too many arguments")
	}
	if name == "default" {
		e.lenient = true
	}
	if function && (name == "min" || name == "max") {
		for i := range all {
			all[i].beNumber()
			args.needs(all[i].conditions...)
		}
	}
	if c.check != nil {
		if problem := c.check(all); problem != "" {
			e.fail(name + " " + problem)
		}
	}
	value := n
	if function {
		if len(all) == 0 {
			e.fail(name + " has no argument")
			return n
		}
		if value = all[0]; value.path == nil && !value.literal {
			value.text = "(" + value.text + ")"
		}
	}
	fails := c.lenient == 0 || len(all) < c.lenient
	between := " | " + name
	if function {
		between = ""
	}
	if !function && !fails && (n.maybe || len(n.path) > 2) {
		n.text += " | default(none)" // Home Assistant's default is not for what is missing
	}
	result := join(between, n, args)
	result.maybe = slices.Contains([]string{"first", "last", "min", "max"}, name) && !function // of an empty list
	if c.need != nil && fails && (!value.number || !c.number) {
		if value.path != nil || value.maybe {
			result.needs(value.text + " is defined")
		}
		result.needs(c.need(value.text))
	}
	number := c.number
	if c.lenient > 0 && len(all) >= c.lenient {
		number = number && all[c.lenient-1].number // what it is if it fails
	}
	result.number = number
	return result
}

// literalBase checks the arguments of int after its default: 2, 8, 10 or 16.
func literalBase(all []node) string {
	if len(all) == 2 && !slices.Contains([]string{"2", "8", "10", "16"}, all[1].text) {
		return "must have a base of 2, 8, 10 or 16"
	}
	return ""
}

// literalDigits checks that round keeps a literal digit: it computes ten to that power.
func literalDigits(all []node) string {
	if len(all) > 0 && (len(all[0].text) != 1 || all[0].text[0] < '0' || all[0].text[0] > '9') {
		return "must say how many digits it keeps, from 0 to 9"
	}
	if len(all) > 1 && !slices.Contains([]string{"common", "ceil", "floor", "half"}, strings.Trim(all[1].text, `'"`)) {
		return "knows common, ceil, floor and half"
	}
	return ""
}

func numberArgument(all []node) string {
	if len(all) != 1 || !all[0].number {
		return "must have a number"
	}
	return ""
}

func wholeArgument(all []node) string {
	if len(all) != 1 || !all[0].number || !all[0].literal || all[0].fraction {
		return "must have a whole number"
	}
	return ""
}

// shorterText checks that replace makes no text longer.
func shorterText(all []node) string {
	if len(all) != 2 || !all[0].literal || !all[1].literal || !isQuoted(all[0].text) || !isQuoted(all[1].text) ||
		len(all[0].text) == 2 || utf8.RuneCountInString(all[1].text) > utf8.RuneCountInString(all[0].text) {
		return "must have two texts, of which the second is no longer"
	}
	return ""
}

func someNumbers(all []node) string {
	for _, n := range all {
		if !n.number {
			return "must have numbers: " + numberHint
		}
	}
	if len(all) < 2 {
		return "must have two numbers"
	}
	return ""
}
