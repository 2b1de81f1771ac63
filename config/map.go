package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Map is one line of a channel's map: a topic outside of the gateway's tree, from which
// messages come in on the channel, or to which its messages go out.
type Map struct {
	Topic    string            // a topic; a topic filter if it is only for In
	In       bool              // what is published there is said on the channel
	Out      bool              // what is said on the channel is published there
	Template string            // In: picks from the payload; Out: makes the payload; empty: all as it is
	Values   map[string]string // the texts that cross, and what each becomes; nil: all cross as they are
	QoS      int               // In: of the subscription; Out: of what is published
	Retained bool              // In: also what was retained before the gateway listened
	Retain   bool              // Out: with the retain flag
}

// The bounds of a map. A file without qos has defaultMapQoS.
const (
	mostMapTopic    = 1024
	mostMapTemplate = 4096
	defaultMapQoS   = 1
	mostMapQoS      = 2
)

// channelMap reads the list at path.
func (r *reader) channelMap(path string, node ast.Node) (all []Map) {
	if text, ok := nodeText(node); ok {
		return r.mapText(path, text, node)
	}
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		r.fault(path, node, "must be a list: [{topic: …, in: true}]")
		return nil
	}
	for i, item := range list.Values {
		m := Map{QoS: defaultMapQoS}
		at := entryPath(path, i)
		r.from[at], r.from[at+".topic"] = r.where(item), r.where(item)
		r.mapEntry(&m, at, item)
		all = append(all, m)
	}
	return all
}

// mapText reads a list that stands as YAML in a text. Forms of other programs, such as Home
// Assistant's, have no lists of lists.
func (r *reader) mapText(path, text string, at ast.Node) (all []Map) {
	tree, err := parser.ParseBytes([]byte(text), 0)
	if err != nil || len(tree.Docs) != 1 || tree.Docs[0].Body == nil || isText(tree.Docs[0].Body) {
		r.fault(path, at, "must be a list: [{topic: …, in: true}]")
		return nil
	}
	inner := &reader{file: r.file, from: map[string]string{}}
	all = inner.channelMap(path, tree.Docs[0].Body)
	for key := range inner.from {
		r.from[key] = r.where(at)
	}
	for _, f := range inner.faults {
		r.fault(f.Path, at, "%s", f.Problem)
	}
	return all
}

func isText(node ast.Node) bool { _, ok := nodeText(node); return ok }

func (r *reader) mapEntry(m *Map, path string, node ast.Node) {
	keys := map[string]value{
		"topic": text(&m.Topic, rule{check: anyText}), "in": boolean(&m.In), "out": boolean(&m.Out),
		"template": text(&m.Template, rule{check: anyText}), "qos": number(&m.QoS, 0, mostMapQoS, ""),
		"retained": boolean(&m.Retained), "retain": boolean(&m.Retain), "values": translation(&m.Values),
	}
	r.each(path, node, func(key, full string, kv *ast.MappingValueNode) {
		v, known := keys[key]
		if !known {
			r.fault(full, kv.Key, "unknown key%s", meant(nearest(key, slices.Sorted(maps.Keys(keys)))))
			return
		}
		r.from[full] = r.where(kv.Key)
		if err := v.read(kv.Value); err != nil {
			r.fault(full, kv.Key, "%s", err)
		}
	})
}

// translationValue is a table of texts.
type translationValue struct {
	textValue
	table *map[string]string
}

func translation(p *map[string]string) value { return &translationValue{table: p} }

var errNotTable = errors.New(`must be a table of texts: {"1": "ON", "0": "OFF"}`)

func (v *translationValue) read(node ast.Node) error {
	m, ok := node.(ast.MapNode)
	if !ok {
		return errNotTable
	}
	table := map[string]string{}
	for it := m.MapRange(); it.Next(); {
		from, plain := scalar(it.KeyValue().Key)
		to, plainToo := scalar(it.KeyValue().Value)
		if !plain || !plainToo {
			return errNotTable
		}
		table[from] = to
	}
	*v.table = table
	return nil
}

// scalar returns a text, or a number, true or false as it is written.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return nodeText(node)
}

// checkMap reports the faults of a channel's map to add.
func (c *Config) checkMap(channel string, all []Map, add func(path string, err error)) {
	for i, m := range all {
		path := entryPath(channel+".map", i)
		if key, err := m.check(c.MQTT.BaseTopic); err != nil {
			add(path+key, err)
		}
		if slices.ContainsFunc(all[:i], func(other Map) bool { return reflect.DeepEqual(m, other) }) {
			add(path, errors.New("is there twice"))
		}
	}
}

// check returns the first fault of a line, and the key that has it, with a dot before it.
func (m Map) check(base string) (key string, _ error) {
	if err := m.checkTopic(base); err != nil {
		return ".topic", err
	}
	switch {
	case !m.In && !m.Out:
		return "", errors.New("needs in: true or out: true")
	case m.In && m.Out && (m.Template != "" || m.Values != nil):
		return "", errors.New("has a template or values for both directions: write two entries, one with in and one with out")
	case len(m.Template) > mostMapTemplate:
		return ".template", fmt.Errorf("must be at most %d bytes, has %d", mostMapTemplate, len(m.Template))
	case m.Values != nil && len(m.Values) == 0:
		return ".values", errors.New("is empty, so nothing would cross: leave it out, or name some")
	case m.QoS < 0 || m.QoS > mostMapQoS:
		return ".qos", fmt.Errorf("must be 0 to %d, is %d", mostMapQoS, m.QoS)
	case m.Retained && !m.In:
		return ".retained", errors.New("is for in: it takes what was retained before. To publish with the retain flag, write retain: true")
	case m.Retain && !m.Out:
		return ".retain", errors.New("is for out: it publishes with the retain flag. To take what was retained before, write retained: true")
	}
	return "", nil
}

func (m Map) checkTopic(base string) error {
	levels := strings.Split(m.Topic, "/")
	switch {
	case m.Topic == "":
		return errors.New("is missing")
	case len(m.Topic) > mostMapTopic:
		return fmt.Errorf("must be at most %d bytes, has %d", mostMapTopic, len(m.Topic))
	case !printable(m.Topic):
		return errors.New("must be text without control characters")
	case m.Topic[0] == '$':
		return fmt.Errorf("must not begin with $: such topics are the broker's own; is %q", m.Topic)
	case !isFilter(levels):
		return fmt.Errorf("%q is not a topic filter: + and # stand for whole levels, # for the last", m.Topic)
	case m.Out && strings.ContainsAny(m.Topic, "+#"):
		return fmt.Errorf("must not contain the wildcards + and #, because messages go out to it; is %q", m.Topic)
	}
	if of := overlap(levels, base); of != "" {
		return fmt.Errorf("%q has topics of the gateway in it (%s), which are below mqtt.base_topic: a map is for other topics", m.Topic, of)
	}
	return nil
}

// isFilter reports whether the levels are those of a topic filter.
func isFilter(levels []string) bool {
	for i, level := range levels {
		wild := strings.ContainsAny(level, "+#")
		if wild && len(level) > 1 || level == "#" && i < len(levels)-1 {
			return false
		}
	}
	return true
}

// ownTopics are what a gateway publishes and takes below its base: + stands for any level, *
// for a number, and # for all that may follow.
var ownTopics = []string{
	"channels/*/broadcast", "channels/*/broadcast/*", "channels/*/send", "channels/*/send/+", "channels/*/send/+/*", "confirm/*",
	"members/*/+", "gateways/+/status", "gateways/+/info", "gateways/+/refused", "me", "joins/*", "homeassistant/+/*/#",
}

// overlap returns one of the gateway's own topics that a filter matches, or "". A filter that
// names the base has no other topics.
func overlap(filter []string, base string) string {
	for _, own := range ownTopics {
		topic := base + "/" + own
		if matchesOwn(filter, strings.Split(topic, "/")) {
			return topic
		}
	}
	if under := strings.Split(base, "/"); len(filter) >= len(under) && slices.Equal(filter[:len(under)], under) {
		return base
	}
	return ""
}

func matchesOwn(filter, own []string) bool {
	for i, level := range own {
		switch {
		case i == len(filter):
			return false
		case filter[i] == "#" || level == "#":
			return true
		case filter[i] == "+" || level == "+":
		case level == "*":
			if strings.Trim(filter[i], "0123456789") != "" {
				return false
			}
		case filter[i] != level:
			return false
		}
	}
	return len(filter) == len(own) || len(filter) == len(own)+1 && filter[len(own)] == "#"
}

func entryPath(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// Where returns the place in the file from which a value of the path is, or "".
func (c *Config) Where(path string) string { return c.from[path] }

// yaml returns the line as the printed configuration has it.
func (m Map) yaml() string {
	keys := []string{"topic: " + strconv.Quote(m.Topic)}
	for _, k := range []struct {
		name string
		on   bool
	}{{"in", m.In}, {"out", m.Out}, {"retained", m.Retained}, {"retain", m.Retain}} {
		if k.on {
			keys = append(keys, k.name+": true")
		}
	}
	if m.Template != "" {
		keys = append(keys, "template: "+strconv.Quote(m.Template))
	}
	if m.Values != nil {
		var pairs []string
		for _, from := range slices.Sorted(maps.Keys(m.Values)) {
			pairs = append(pairs, strconv.Quote(from)+": "+strconv.Quote(m.Values[from]))
		}
		keys = append(keys, "values: {"+strings.Join(pairs, ", ")+"}")
	}
	if m.QoS != defaultMapQoS {
		keys = append(keys, "qos: "+strconv.Itoa(m.QoS))
	}
	return "{" + strings.Join(keys, ", ") + "}"
}
