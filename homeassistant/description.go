package homeassistant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"watchtower/bridge"
)

// The limits of a self-description.
const (
	descriptionBytes = 2048
	sensorsMost      = 20
	commandsMost     = 20
	textMost         = 64 // characters of a name and of other texts
	unitMost         = 16 // characters
	expireMost       = 7 * 24 * 3600
)

// description is a sender's description of itself.
type description struct {
	about
	sensors  map[string]sensor
	commands []string
}

type sensor struct {
	name, unit, deviceClass, stateClass string
	value                               string // template
	expireAfter                         int    // seconds; 0: never
}

// fault is an error in a description, with the path of its place.
type fault struct{ path, problem string }

func (f *fault) Error() string { return f.path + ": " + f.problem }

func wrong(path, format string, args ...any) error {
	return &fault{path, fmt.Sprintf(format, args...)}
}

var (
	rootKeys   = append([]string{"sensors", "commands"}, aboutKeys...)
	sensorKeys = []string{"name", "unit", "device_class", "state_class", "value", "expire_after"}

	sensorKey = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
	command   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,32}$`)
)

// parse reads a message as a description. Meant reports whether it is one: an object with
// sensors or commands, and with no key that descriptions do not have. If a description has
// a fault, the whole of it is refused with an error.
func parse(data []byte) (d description, meant bool, err error) {
	if !startsObject(data) {
		return d, false, nil
	}
	var root map[string]json.RawMessage
	if !utf8.Valid(data) || json.Unmarshal(data, &root) != nil {
		return d, false, nil
	}
	_, sensors := root["sensors"]
	_, commands := root["commands"]
	if !sensors && !commands {
		return d, false, nil
	}
	for key := range root {
		if !slices.Contains(rootKeys, key) {
			return d, false, nil
		}
	}
	if len(data) > descriptionBytes {
		return d, true, wrong("description", "has %d bytes, the limit is %d", len(data), descriptionBytes)
	}
	d, err = read(root)
	return d, true, err
}

func startsObject(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && data[0] == '{'
}

// empty reports whether the description removes the device: it has no sensors or commands.
func (d description) empty() bool { return len(d.sensors) == 0 && len(d.commands) == 0 }

// feeds reports whether some sensor reads the retained state.
func (d description) feeds() bool {
	for _, s := range d.sensors {
		if s.expireAfter == 0 {
			return true
		}
	}
	return false
}

// live reports whether some sensor reads the live topic, which is not retained.
func (d description) live() bool {
	for _, s := range d.sensors {
		if s.expireAfter > 0 {
			return true
		}
	}
	return false
}

var wordValue = regexp.MustCompile(`\bvalue\b`)

// hearsText reports whether some sensor reads messages that are not JSON.
func (d description) hearsText() bool {
	for _, s := range d.sensors {
		if wordValue.MatchString(s.value) {
			return true
		}
	}
	return false
}

// read reads the keys in a fixed order, so that the same description always gives the same
// fault.
func read(root map[string]json.RawMessage) (d description, err error) {
	d = description{sensors: map[string]sensor{}}
	if d.about, err = readAbout(root); err != nil {
		return d, err
	}
	if raw, ok := root["sensors"]; ok {
		if err := readSensors(raw, d.sensors); err != nil {
			return d, err
		}
	}
	if raw, ok := root["commands"]; ok {
		d.commands, err = readCommands(raw)
	}
	return d, err
}

func readSensors(raw json.RawMessage, into map[string]sensor) error {
	all, ok := object(raw)
	if !ok {
		return wrong("sensors", "must be an object")
	}
	if len(all) > sensorsMost {
		return wrong("sensors", "has %d, the limit is %d", len(all), sensorsMost)
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		path := "sensors." + bridge.Shorten(key)
		if !sensorKey.MatchString(key) {
			return wrong(path, "the key must be 1 to 32 of a–z 0–9 _")
		}
		s, err := readSensor(path, key, all[key])
		if err != nil {
			return err
		}
		into[key] = s
	}
	return nil
}

func readSensor(path, key string, raw json.RawMessage) (s sensor, err error) {
	fields, ok := object(raw)
	if !ok {
		return s, wrong(path, "must be an object")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(sensorKeys, name) {
			return s, wrong(path+"."+bridge.Shorten(name), "unknown key, there are %s", strings.Join(sensorKeys, ", "))
		}
	}
	texts := []struct {
		key  string
		into *string
		most int
	}{
		{"name", &s.name, textMost}, {"unit", &s.unit, unitMost}, {"device_class", &s.deviceClass, textMost},
		{"state_class", &s.stateClass, textMost}, {"value", &s.value, templateBytes},
	}
	for _, t := range texts {
		if *t.into, _, err = readText(fields, t.key, path+"."+t.key, t.most); err != nil {
			return s, err
		}
	}
	if raw, ok := fields["expire_after"]; ok {
		n, err := strconv.Atoi(string(raw))
		if err != nil || n < 1 || n > expireMost {
			return s, wrong(path+".expire_after", "must be a whole number of seconds from 1 to %d", expireMost)
		}
		s.expireAfter = n
	}
	if s.name == "" {
		s.name = strings.ToUpper(key[:1]) + strings.ReplaceAll(key[1:], "_", " ")
	}
	if s.value == "" {
		s.value = "{{ (value_json | default({}))['" + key + "'] | default }}"
	} else if problem := checkTemplate(s.value); problem != "" {
		return s, wrong(path+".value", "%s", problem)
	}
	return s, checkClasses(path, s)
}

func readCommands(raw json.RawMessage) (words []string, err error) {
	var all []json.RawMessage
	if json.Unmarshal(raw, &all) != nil || all == nil {
		return nil, wrong("commands", "must be a list of words")
	}
	if len(all) > commandsMost {
		return nil, wrong("commands", "has %d, the limit is %d", len(all), commandsMost)
	}
	for i, raw := range all {
		path := fmt.Sprintf("commands[%d]", i)
		word, ok := text(raw)
		switch {
		case !ok || !command.MatchString(word):
			return nil, wrong(path, "must be a word of 1 to 32 of A–Z a–z 0–9 _ . -")
		case slices.Contains(words, word):
			return nil, wrong(path, "is there twice")
		}
		words = append(words, word)
	}
	return words, nil
}

// readText reads a text that may be missing, but not empty.
func readText(from map[string]json.RawMessage, key, path string, most int) (s string, there bool, err error) {
	raw, there := from[key]
	if !there {
		return "", false, nil
	}
	s, ok := text(raw)
	printable := !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
	if n := utf8.RuneCountInString(s); !ok || n < 1 || n > most || !printable {
		return "", true, wrong(path, "must be text of 1 to %d printable characters", most)
	}
	return s, true, nil
}

func object(raw json.RawMessage) (o map[string]json.RawMessage, ok bool) {
	ok = startsObject(raw) && json.Unmarshal(raw, &o) == nil
	return o, ok
}

func text(raw json.RawMessage) (s string, ok bool) {
	ok = len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil
	return s, ok
}
