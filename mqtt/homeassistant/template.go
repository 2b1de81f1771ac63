package homeassistant

import (
	"regexp"
	"slices"
	"strings"
)

// templateBytes is the most that a value template may have.
const templateBytes = 256

// The words of a template. A device's template runs in Home Assistant, so it may
// compute with its own message and nothing else: no statements, no functions, no
// states of the house, and nothing that makes long texts out of short ones.
var (
	templateNames = []string{
		"value", "value_json", "if", "else", "and", "or", "not", "in", "is", "true", "false", "none", "True", "False", "None",
		"defined", "undefined", "number", "string", "mapping", "sequence", "boolean",
		"float", "int", "round", "abs", "bool", "default", "lower", "upper", "trim", "replace", "length", "first", "last", "min", "max",
	}
	templateMethods = []string{"split", "strip", "lstrip", "rstrip", "lower", "upper", "startswith", "endswith", "get"}

	token = regexp.MustCompile(`^(\s+|[A-Za-z_][A-Za-z0-9_]*|[0-9]+(\.[0-9]+)?|'[^'\\]*'|"[^"\\]*"|\*\*|//|==|!=|<=|>=|[-+*/~<>()\[\]{}|.,:])`)
	whole = regexp.MustCompile(`^[^{}]*(\{\{(.+?)\}\}[^{}]*)+$`)
	parts = regexp.MustCompile(`\{\{(.+?)\}\}`)
)

// checkTemplate says what is wrong with a value template, or "".
func checkTemplate(template string) string {
	switch {
	case len(template) > templateBytes:
		return "has too many bytes"
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
	var tokens []string
	for text != "" {
		t := token.FindString(text)
		if t == "" {
			return "cannot be read at " + shorten(text)
		}
		text = text[len(t):]
		if t = strings.TrimSpace(t); t != "" {
			tokens = append(tokens, t)
		}
	}
	at := func(i int) string {
		if i < 0 || i >= len(tokens) {
			return ""
		}
		return tokens[i]
	}
	for i, t := range tokens {
		switch {
		case t == "**":
			return "must not have **"
		case t == "*" && !fraction(at(i-1), at(i-2)) && !fraction(at(i+1), at(i+2)):
			return "one side of * must be a number with a point, such as 0.1"
		case !word(t):
		case at(i-1) == "." && t[0] == '_':
			return "must not use " + t
		case at(i-1) == "." && at(i+1) == "(" && !slices.Contains(templateMethods, t):
			return "must not call " + t
		case at(i-1) != "." && !slices.Contains(templateNames, t):
			return "must not use " + t + ": there are value, value_json and filters that compute"
		}
	}
	return ""
}

func word(t string) bool {
	return t[0] == '_' || t[0] >= 'a' && t[0] <= 'z' || t[0] >= 'A' && t[0] <= 'Z'
}

// fraction reports whether a token is a number with a point that no filter or
// attribute beside it makes something else.
func fraction(t, beside string) bool {
	return t != "" && t[0] >= '0' && t[0] <= '9' && strings.Contains(t, ".") && beside != "|" && beside != "."
}
