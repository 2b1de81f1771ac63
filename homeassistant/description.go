package homeassistant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"watchtower/bridge"
)

// The limits of a self-description.
const (
	descriptionBytes = 4096 // of all parts together
	sectionMost      = 20   // entities, or commands
	refusalsMost     = 16   // that are told
)

// description is a sender's description of itself: what is right of it.
type description struct {
	about
	entities []entity // by section, then by key
	commands []string

	refused []string // what does not count, each with its path
	lacking bool     // an entity or a command does not count
}

// fault is an error in a description, with the path of its place.
type fault struct{ path, problem string }

func (f *fault) Error() string { return f.path + ": " + f.problem }

func wrong(path, format string, args ...any) *fault {
	return &fault{path, fmt.Sprintf(format, args...)}
}

var (
	entityKey = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
	command   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,32}$`)
)

// descriptionRoot returns the keys of a message that is meant as a description: a JSON
// object with a section, in which each section that is there is an object of objects, and
// commands a list of texts. Else it returns nil.
func descriptionRoot(data []byte) map[string]json.RawMessage {
	if !startsObject(data) || !utf8.Valid(data) {
		return nil
	}
	var root map[string]json.RawMessage
	if json.Unmarshal(data, &root) != nil {
		return nil
	}
	sections := 0
	for key, raw := range root {
		if key != commandsSection && kindOf(key) == nil {
			continue
		}
		if sections++; !isSection(key, raw) {
			return nil
		}
	}
	if sections == 0 {
		return nil
	}
	return root
}

func isSection(key string, raw json.RawMessage) bool {
	if key == commandsSection {
		var words []*string
		return json.Unmarshal(raw, &words) == nil && words != nil && !slices.Contains(words, nil)
	}
	all, ok := object(raw)
	for _, raw := range all {
		if _, isObject := object(raw); !isObject {
			return false
		}
	}
	return ok
}

// parse reads a message as a description. Meant reports whether it is one.
func parse(data []byte) (d description, meant bool) {
	root := descriptionRoot(data)
	if root == nil {
		return d, false
	}
	return read(root), true
}

// read reads the keys in a fixed order, so that the same description always gives the same
// refusals. What is refused is left out: a key of the device, an entity, a command, or a key
// that is unknown.
func read(root map[string]json.RawMessage) (d description) {
	d.about = d.readAbout(root)
	for _, key := range slices.Sorted(maps.Keys(root)) {
		if key != commandsSection && key != partKey && kindOf(key) == nil && !slices.Contains(aboutKeys, key) {
			d.refuse(wrong(bridge.Shorten(key), "unknown key"))
		}
	}
	told := map[string]string{} // what is sent something, with its section
	d.readCommands(root[commandsSection], told)
	for _, k := range kinds {
		if raw, there := root[k.section]; there {
			d.readSection(k, raw, told)
		}
	}
	return d
}

func (d *description) refuse(err error) {
	switch n := len(d.refused); {
	case n < refusalsMost:
		d.refused = append(d.refused, oneLine(err))
	case n == refusalsMost:
		d.refused = append(d.refused, "and more")
	}
}

func (d *description) readCommands(raw json.RawMessage, told map[string]string) {
	var all []string
	_ = json.Unmarshal(raw, &all) // isSection has checked it
	for i, word := range all {
		path := fmt.Sprintf("%s[%d]", commandsSection, i)
		switch {
		case len(d.commands) == sectionMost:
			d.lack(wrong(commandsSection, "has %d, the limit is %d", len(all), sectionMost))
			return
		case !command.MatchString(word):
			d.lack(wrong(path, "must be a word of 1 to %d of A–Z a–z 0–9 _ . -", wordMost))
		case told[word] != "":
			d.lack(wrong(path, "is there twice"))
		default:
			told[word] = commandsSection
			d.commands = append(d.commands, word)
		}
	}
}

func (d *description) lack(err error) {
	d.lacking = true
	d.refuse(err)
}

func (d *description) readSection(k *kind, raw json.RawMessage, told map[string]string) {
	all, _ := object(raw)
	for i, key := range slices.Sorted(maps.Keys(all)) {
		path := k.section + "." + bridge.Shorten(key)
		switch {
		case i == sectionMost:
			d.lack(wrong(k.section, "has %d, the limit is %d", len(all), sectionMost))
			return
		case !entityKey.MatchString(key):
			d.lack(wrong(path, "the key must be 1 to 32 of a–z 0–9 _"))
			continue
		case k.told && told[key] != "":
			d.lack(wrong(path, "%s has that key, and the device is sent it too", told[key]))
			continue
		}
		e, err := d.readEntity(k, path, key, all[key])
		if err != nil {
			d.lack(err)
			continue
		}
		if k.told {
			told[key] = k.section
		}
		d.entities = append(d.entities, e)
	}
}

// readEntity returns an entity, or why it is refused. Unknown keys are refused alone.
func (d *description) readEntity(k *kind, path, key string, raw json.RawMessage) (e entity, err error) {
	fields, _ := object(raw)
	e = entity{kind: k, key: key, options: map[string]any{}}
	allowed := k.options
	if !k.plain {
		allowed = append(commonOptions(k), k.options...)
	}
	names := make([]string, 0, len(allowed))
	for _, o := range allowed {
		names = append(names, o.key)
		value := o.usual
		if raw, there := fields[o.key]; there {
			var problem string
			if value, problem = o.read(raw); problem != "" {
				return e, wrong(path+"."+o.key, "%s", problem)
			}
		} else if o.needed {
			return e, wrong(path+"."+o.key, "is missing")
		}
		if value != nil {
			e.options[o.key] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(names, name) {
			d.refuse(wrong(path+"."+bridge.Shorten(name), "unknown key, there are %s", strings.Join(names, ", ")))
		}
	}
	if f := checkEntity(&e); f != nil {
		return e, wrong(path+"."+f.path, "%s", f.problem)
	}
	return e, nil
}

// checkEntity checks what options say together.
func checkEntity(e *entity) *fault {
	if e.text("name") == "" {
		e.options["name"] = strings.ToUpper(e.key[:1]) + strings.ReplaceAll(e.key[1:], "_", " ")
	}
	if err := checkClass(*e); err != nil {
		return err
	}
	if e.check != nil {
		return e.check(*e)
	}
	return nil
}

// empty reports whether the description removes the device: it asks for no entity.
func (d description) empty() bool { return !d.lacking && len(d.entities) == 0 && len(d.commands) == 0 }

// void reports whether nothing of the description counts, although it asks for entities.
func (d description) void() bool { return d.lacking && len(d.entities) == 0 && len(d.commands) == 0 }

// gathers reports whether some entity needs the gathered value of a key.
func (d description) gathers(key string) bool {
	return slices.ContainsFunc(d.entities, func(e entity) bool { return e.key == key && e.says != nothing && !e.momentary() })
}

// reads lists the keys of which entities read the gathered values, also by templates.
func (d description) reads() (keys []string) {
	for _, e := range d.entities {
		switch {
		case e.says == nothing || e.momentary():
		case e.text("value") != "":
			keys = append(keys, templateKeys(e.text("value"))...)
		default:
			keys = append(keys, e.key)
		}
	}
	return keys
}

// form is which of a device's messages an entity reads. Each has a topic, so that a message
// disturbs only those entities that can read it.
type form string

const (
	objects form = "state" // JSON objects, gathered: the template reads value_json, or there is none
	words   form = "text"  // all others: the template reads value
	both    form = "any"   // the template reads both
)

var wordValue = regexp.MustCompile(`\bvalue\b`)

func (e entity) form() form {
	template := e.text("value")
	switch {
	case !wordValue.MatchString(template):
		return objects
	case !strings.Contains(template, "value_json"):
		return words
	}
	return both
}

// reading reports whether some entity reads a form: from the retained topic, or, if it
// expires, from the live one.
func (d description) reading(f form) (retained, live bool) {
	for _, e := range d.entities {
		if e.says != nothing && !e.momentary() && e.form() == f {
			expires := e.whole("expire_after") > 0
			retained, live = retained || !expires, live || expires
		}
	}
	return retained, live
}

func startsObject(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && data[0] == '{'
}

func object(raw json.RawMessage) (o map[string]json.RawMessage, ok bool) {
	ok = startsObject(raw) && json.Unmarshal(raw, &o) == nil
	return o, ok
}
