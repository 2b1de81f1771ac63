package channelmap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// template is a text in which {{ }} stands for a part of what crosses. It is written as in
// Home Assistant: {{ value }} is all of it, {{ value_json.a.b[0]['c d'] }} a part of its JSON.
// It computes nothing: it names what is there, and says how it is written.
type template []piece

// piece is a text as it is, or, if path is not nil, a reference.
type piece struct {
	text     string
	path     []any // a string for a key, an int for a place; the first is the variable's name
	fallback *string
	quoted   bool // as JSON
}

// The variables of templates, by direction.
var (
	variablesIn  = []string{"value", "value_json", "topic", "levels", "channel"}
	variablesOut = []string{"value", "value_json", "channel", "sender", "name", "id"}
)

var (
	key    = regexp.MustCompile(`^\.([A-Za-z_][A-Za-z0-9_]*)`)
	index  = regexp.MustCompile(`^\[\s*([0-9]{1,9})\s*\]`)
	quoted = regexp.MustCompile(`^\[\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\]`)
	word   = regexp.MustCompile(`^[a-z_]+`)
	usual  = regexp.MustCompile(`^\(\s*(?:'([^'\\]*)'|"([^"\\]*)"|(-?[0-9]+(?:\.[0-9]+)?))\s*\)`)
)

// parse reads a template. Variables are the names that may stand in it.
func parse(text string, variables []string) (template, error) {
	if strings.Contains(text, "{%") || strings.Contains(text, "{#") {
		return nil, errors.New("must be a text with {{ }} in it: no statements, no comments")
	}
	var t template
	for text != "" {
		before, rest, found := strings.Cut(text, "{{")
		if before != "" {
			t = append(t, piece{text: before})
		}
		if !found {
			break
		}
		inside, after, closed := cutReference(rest)
		if !closed {
			return nil, errors.New("has a {{ without a }}")
		}
		p, err := parseReference(inside, variables)
		if err != nil {
			return nil, fmt.Errorf("has %s, which %w", shorten("{{"+inside+"}}"), err)
		}
		t, text = append(t, p), after
	}
	return t, nil
}

// cutReference cuts at the first }} that is not in quotes.
func cutReference(s string) (inside, after string, closed bool) {
	var quote byte
	for i := range len(s) {
		switch {
		case quote != 0:
			if s[i] == quote {
				quote = 0
			}
		case s[i] == '\'' || s[i] == '"':
			quote = s[i]
		case strings.HasPrefix(s[i:], "}}"):
			return s[:i], s[i+2:], true
		}
	}
	return "", "", false
}

func parseReference(s string, variables []string) (piece, error) {
	rest := strings.TrimSpace(s)
	name := word.FindString(rest)
	if !slices.Contains(variables, name) {
		return piece{}, fmt.Errorf("must begin with one of %s", strings.Join(variables, ", "))
	}
	p := piece{path: []any{name}}
	rest = rest[len(name):]
	for more := true; more; {
		if m := key.FindStringSubmatch(rest); m != nil {
			p.path, rest = append(p.path, m[1]), rest[len(m[0]):]
		} else if m := quoted.FindStringSubmatch(rest); m != nil {
			p.path, rest = append(p.path, m[1]+m[2]), rest[len(m[0]):]
		} else if m := index.FindStringSubmatch(rest); m != nil {
			n, _ := strconv.Atoi(m[1]) // nine digits
			p.path, rest = append(p.path, n), rest[len(m[0]):]
		} else {
			more = false
		}
	}
	if err := checkSteps(name, p.path[1:]); err != nil {
		return p, err
	}
	for {
		rest = strings.TrimSpace(rest)
		if rest == "" {
			return p, nil
		}
		if rest[0] != '|' {
			return p, fmt.Errorf("cannot be read at %s: a template names a value and computes nothing; values: translates", shorten(rest))
		}
		var err error
		if rest, err = p.filter(strings.TrimSpace(rest[1:])); err != nil {
			return p, err
		}
	}
}

// checkSteps refuses keys of what has none.
func checkSteps(name string, steps []any) error {
	switch name {
	case "value_json":
		return nil
	case "levels":
		if len(steps) == 1 {
			if _, place := steps[0].(int); place {
				return nil
			}
		}
		return errors.New("needs the number of one level, from 0: levels[1]")
	}
	if len(steps) > 0 {
		return fmt.Errorf("has a key of %s, which has none: value_json has keys", name)
	}
	return nil
}

// filter reads a filter, and returns what follows it.
func (p *piece) filter(s string) (rest string, _ error) {
	name := word.FindString(s)
	rest = s[len(name):]
	switch name {
	case "tojson", "to_json":
		p.quoted = true
	case "default":
		m := usual.FindStringSubmatch(rest)
		if m == nil {
			return "", errors.New("must have a text or a number as default, such as default('none')")
		}
		rest = rest[len(m[0]):]
		fallback := m[1] + m[2] + m[3]
		p.fallback = &fallback
	default:
		return "", fmt.Errorf("must not use %s as a filter: there are default and tojson", shorten(s))
	}
	return rest, nil
}

// shorten cuts what an error shows of a template.
func shorten(s string) string {
	if len(s) > 40 {
		return strconv.Quote(strings.ToValidUTF8(s[:40], "")) + "…"
	}
	return strconv.Quote(s)
}

// subject is what a template is about.
type subject struct {
	payload []byte
	others  map[string]any // variables besides value and value_json

	read   bool // the JSON was read
	parsed any
	fault  error // that it is none
}

var (
	errNothing = errors.New("the template names what is not there, or null")
	errNotText = errors.New("the payload is not UTF-8 text, which a template needs")
	errNotJSON = errors.New("the payload is not JSON, which the template needs")
)

// fill returns the text of a template for a subject. It fails with errNothing if something
// that the template names is missing, and if the payload is not what the template needs.
func (t template) fill(s *subject) ([]byte, error) {
	var out []byte
	for _, p := range t {
		if p.path == nil {
			out = append(out, p.text...)
			continue
		}
		v, err := s.find(p.path)
		if errors.Is(err, errNothing) && p.fallback != nil {
			v, err = *p.fallback, nil
		}
		if err != nil {
			return nil, err
		}
		if out, err = appendValue(out, v, p.quoted); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// find returns a value of the subject: a text, a json.Number, a bool, a map or a list.
func (s *subject) find(path []any) (any, error) {
	var v any
	switch path[0] {
	case "value":
		if !utf8.Valid(s.payload) {
			return nil, errNotText
		}
		return string(s.payload), nil
	case "value_json":
		if err := s.readJSON(); err != nil {
			return nil, err
		}
		v = s.parsed
	default:
		v = s.others[path[0].(string)]
	}
	for _, step := range path[1:] {
		switch at := v.(type) {
		case map[string]any:
			name, isName := step.(string)
			if !isName {
				return nil, errNothing
			}
			v = at[name]
		case []any:
			place, isPlace := step.(int)
			if !isPlace || place >= len(at) {
				return nil, errNothing
			}
			v = at[place]
		default:
			return nil, errNothing
		}
	}
	if v == nil || v == "" && path[0] != "value_json" {
		return nil, errNothing
	}
	return v, nil
}

func (s *subject) readJSON() error {
	if !s.read {
		s.read = true
		d := json.NewDecoder(bytes.NewReader(s.payload))
		d.UseNumber()
		if !utf8.Valid(s.payload) || d.Decode(&s.parsed) != nil {
			s.fault = errNotJSON
		} else if _, err := d.Token(); !errors.Is(err, io.EOF) {
			s.fault = errNotJSON
		}
	}
	return s.fault
}

// appendValue appends a value: a text as it is, unless quoted; a number with the digits that it
// came with; all else as JSON.
func appendValue(out []byte, v any, quoted bool) ([]byte, error) {
	if text, ok := v.(string); ok && !quoted {
		return append(out, text...), nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return append(out, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...), nil
}
