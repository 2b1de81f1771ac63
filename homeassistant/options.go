package homeassistant

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of an entity's options.
const (
	textMost    = 64 // characters of a name and of other texts
	wordMost    = 32 // characters of a word that is sent and said
	unitMost    = 16 // characters
	choicesMost = 64
	expireMost  = 7 * 24 * 3600 // seconds
)

// option is a key that an entity of some kind may have.
type option struct {
	key    string
	usual  any  // its value if it is left out; nil: none
	needed bool // it must not be left out
	read   func(json.RawMessage) (value any, problem string)
}

// always returns the option as one that must be there.
func (o option) always() option { o.needed = true; return o }

func textOf(key string, most int) option {
	return option{key: key, read: func(raw json.RawMessage) (any, string) {
		s, ok := printable(raw, most)
		if !ok {
			return nil, fmt.Sprintf("must be text of 1 to %d printable characters", most)
		}
		return s, ""
	}}
}

// wordOf is a word that is both sent and said.
func wordOf(key, usual string) option {
	return option{key: key, usual: usual, read: func(raw json.RawMessage) (any, string) {
		s, ok := printable(raw, wordMost)
		if !ok || strings.TrimSpace(s) != s {
			return nil, fmt.Sprintf("must be text of 1 to %d printable characters, without blanks around it", wordMost)
		}
		return s, ""
	}}
}

func flagOf(key string) option {
	return option{key: key, read: func(raw json.RawMessage) (any, string) {
		b, ok := boolean(raw)
		if !ok {
			return nil, "must be true or false"
		}
		return b, ""
	}}
}

func wholeOf(key string, usual, least, most int) option {
	return option{key: key, usual: usual, read: func(raw json.RawMessage) (any, string) {
		n, err := strconv.Atoi(string(raw))
		if err != nil || n < least || n > most {
			return nil, fmt.Sprintf("must be a whole number from %d to %d", least, most)
		}
		return n, ""
	}}
}

// amountMost is the largest number of a range, either way.
const amountMost = 1e9

func amountOf(key string, usual float64) option {
	return option{key: key, usual: usual, read: func(raw json.RawMessage) (any, string) {
		f, err := strconv.ParseFloat(string(raw), 64) // JSON has no other way to begin a number
		if err != nil || math.Abs(f) > amountMost {
			return nil, fmt.Sprintf("must be a number from %.0f to %.0f", -amountMost, amountMost)
		}
		return f, ""
	}}
}

// choicesOf is a list of texts of which the value is one.
func choicesOf(key string) option {
	return listOf(key, fmt.Sprintf("texts of 1 to %d printable characters, without blanks around them, and none of them None", textMost), func(raw json.RawMessage) (string, bool) {
		s, ok := printable(raw, textMost)
		return s, ok && strings.TrimSpace(s) == s && !strings.EqualFold(s, "none") // Home Assistant takes that as unknown
	})
}

// wordsOf is a list of words of which the value is one.
func wordsOf(key string) option {
	return listOf(key, "words of 1 to 32 of A–Z a–z 0–9 _ . -", func(raw json.RawMessage) (string, bool) {
		s, ok := text(raw)
		return s, ok && command.MatchString(s)
	})
}

func listOf(key, what string, read func(json.RawMessage) (string, bool)) option {
	return option{key: key, read: func(raw json.RawMessage) (any, string) {
		var all []json.RawMessage
		if json.Unmarshal(raw, &all) != nil || len(all) == 0 || len(all) > choicesMost {
			return nil, fmt.Sprintf("must be a list of 1 to %d %s", choicesMost, what)
		}
		var list []string
		for _, raw := range all {
			s, ok := read(raw)
			if !ok || slices.Contains(list, s) {
				return nil, fmt.Sprintf("must be a list of 1 to %d different %s", choicesMost, what)
			}
			list = append(list, s)
		}
		return list, ""
	}}
}

var iconName = regexp.MustCompile(`^[a-z0-9]{1,16}:[a-z0-9-]{1,64}$`)

// commonOptions are the keys of every entity.
func commonOptions(k *kind) []option {
	categories := []string{"diagnostic", "config"}
	if k.platform == "sensor" || k.platform == "binary_sensor" {
		categories = categories[:1] // Home Assistant refuses others
	}
	return []option{
		textOf("name", textMost), textOf("device_class", textMost), flagOf("enabled"),
		{key: "icon", read: func(raw json.RawMessage) (any, string) {
			s, _ := text(raw)
			if !iconName.MatchString(s) {
				return nil, "must be an icon's name such as mdi:water-pump"
			}
			return s, ""
		}},
		{key: "category", read: func(raw json.RawMessage) (any, string) {
			s, _ := text(raw)
			if !slices.Contains(categories, s) {
				return nil, "must be " + strings.Join(categories, " or ")
			}
			return s, ""
		}},
	}
}

// checkWords checks that the two words of an entity differ.
func checkWords(e entity) *fault {
	if strings.EqualFold(e.text("on"), e.text("off")) {
		return wrong("off", "must differ from on")
	}
	return nil
}

// boolean reads true or false.
func boolean(raw json.RawMessage) (b, ok bool) {
	switch string(raw) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// text reads a text.
func text(raw json.RawMessage) (s string, ok bool) {
	ok = len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil
	return s, ok
}

// printable reads a text of 1 to so many printable characters.
func printable(raw json.RawMessage, most int) (string, bool) {
	s, ok := text(raw)
	n := utf8.RuneCountInString(s)
	odd := strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
	return s, ok && n >= 1 && n <= most && !odd
}
