package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	// Goccy's YAML is maintained. Its tree has the position of every key, and faults
	// name that position.
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// fileBytes is the most bytes of a configuration file. It guards against the path of an
// endless device or of another kind of file.
const fileBytes = 1 << 20

// reader reads a file into a Config and collects its faults.
type reader struct {
	file     string
	config   *Config
	settings map[string]setting
	from     map[string]string // path → file:line
	faults   Faults
}

// readFile reads the file into c and returns all its faults. From gets the position of
// each value.
func readFile(c *Config, file string, from map[string]string) Faults {
	r := &reader{file: file, config: c, settings: map[string]setting{}, from: from}
	for _, s := range settings(c) {
		r.settings[s.Path] = s
	}
	data, err := readBounded(file)
	if err != nil {
		return Faults{{Problem: err.Error()}}
	}
	r.read(data)
	return r.faults
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > fileBytes {
		return nil, fmt.Errorf("%s has more than %d bytes: it is no configuration file", file, fileBytes)
	}
	return data, nil
}

func (r *reader) read(data []byte) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // Windows editors put it at the start
	for i, line := range bytes.Split(data, []byte("\n")) {
		if !utf8.Valid(line) {
			where := fmt.Sprintf("%s:%d", r.file, i+1)
			r.faults = append(r.faults, Fault{Problem: "not UTF-8: save the file with that encoding", Where: where})
			return
		}
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		r.faults = append(r.faults, r.syntaxFault(err, bytes.Split(data, []byte("\n"))))
		return
	}
	documents := 0
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if documents++; documents > 1 {
			r.fault("", doc.Body, "only one YAML document is read")
			return
		}
		r.section("", doc.Body)
	}
}

// syntaxFault returns the fault of a file with these lines that is not YAML.
func (r *reader) syntaxFault(err error, lines [][]byte) Fault {
	f := Fault{Problem: "not YAML: " + err.Error(), Where: r.file}
	var at yaml.Error
	if errors.As(err, &at) {
		f.Problem = "not YAML: " + at.GetMessage()
		if t := at.GetToken(); t != nil && t.Position != nil {
			f.Where = fmt.Sprintf("%s:%d", r.file, t.Position.Line)
			if n := t.Position.Line; n <= len(lines) && bytes.Contains(lines[n-1], []byte("{{")) {
				f.Problem += ": put a text with {{ }} in quotes"
			}
		}
	}
	f.Problem = strings.Join(strings.Fields(f.Problem), " ")
	return f
}

// section reads the mapping at path: a section, or the whole file if path is
// empty.
func (r *reader) section(path string, node ast.Node) {
	if _, empty := node.(*ast.NullNode); empty {
		return // all keys of the section are commented out
	}
	r.each(path, node, func(key, full string, kv *ast.MappingValueNode) {
		s, known := r.settings[full]
		switch {
		case strings.Contains(key, "."): // two ways to write a setting would let it stand there twice
			r.fault(full, kv.Key, "%s", r.unknown(path, key, full))
		case full == "channels":
			r.channels(kv.Value)
		case full == "users":
			r.users(kv.Value)
		case known:
			r.value(s, kv)
		case r.isSection(full):
			r.section(full, kv.Value)
		default:
			r.fault(full, kv.Key, "%s", r.unknown(path, key, full))
		}
	})
}

// each calls f for each key of the mapping at path.
func (r *reader) each(path string, node ast.Node, f func(key, full string, kv *ast.MappingValueNode)) {
	m, ok := node.(ast.MapNode)
	if !ok {
		r.fault(path, node, "must hold keys and values, each on its line")
		return
	}
	for it := m.MapRange(); it.Next(); {
		kv := it.KeyValue()
		plain := kv.Key.Type() == ast.StringType || kv.Key.Type() == ast.IntegerType
		if !plain || kv.Key.IsMergeKey() {
			r.fault(path, kv.Key, "the key %s is not plain text", strings.Join(strings.Fields(kv.Key.String()), " "))
			continue
		}
		name := kv.Key.GetToken().Value
		full := name
		if path != "" {
			full = path + "." + name
		}
		f(name, full, kv)
	}
}

func (r *reader) value(s setting, kv *ast.MappingValueNode) {
	r.from[s.Path] = r.where(kv.Key)
	if _, null := kv.Value.(*ast.NullNode); null {
		r.fault(s.Path, kv.Key, "has no value: give one, or leave the key out (empty is \"\" or [])")
		return
	}
	if err := s.value.read(kv.Value); err != nil {
		r.fault(s.Path, kv.Key, "%s", err)
	}
}

func (r *reader) channels(node ast.Node) {
	if _, empty := node.(*ast.NullNode); empty {
		return
	}
	r.config.Channels = map[uint32]Channel{}
	if list, ok := node.(*ast.SequenceNode); ok {
		for _, item := range list.Values {
			r.listedChannel(item)
		}
		return
	}
	r.each("channels", node, func(_, full string, kv *ast.MappingValueNode) {
		n, ok := nodeUint(kv.Key)
		if !ok || n == 0 || n > 1<<32-1 {
			r.fault(full, kv.Key, "%s", errBadChannel)
			return
		}
		r.channel(uint32(n), kv.Key, kv.Value)
	})
}

// listedChannel reads a channel of a list, which names its number as channel. Forms of other
// programs, such as Home Assistant's, have lists and no keys that people choose.
func (r *reader) listedChannel(item ast.Node) {
	var n uint64
	var number ast.Node
	before := len(r.faults)
	r.each("channels", item, func(key, full string, kv *ast.MappingValueNode) {
		if key == listedNumber {
			n, _ = nodeUint(kv.Value)
			number = kv.Value
		}
	})
	switch {
	case len(r.faults) > before:
	case number == nil:
		r.fault("channels."+listedNumber, item, "is missing")
	case n == 0 || n > 1<<32-1:
		r.fault("channels."+listedNumber, number, "%s", errBadChannel)
	default:
		r.channel(uint32(n), number, item)
	}
}

// listedNumber is the key of a channel's number in a list of channels.
const listedNumber = "channel"

// channel reads a channel, whose number stands at a place.
func (r *reader) channel(n uint32, at, node ast.Node) {
	path := channelPath(n)
	if _, twice := r.config.Channels[n]; twice {
		r.fault(path, at, "is there twice")
		return
	}
	var ch Channel
	keys := map[string]value{"name": text(&ch.Name, rule{check: anyText}), "homeassistant": boolean(&ch.HomeAssistant), "device": boolean(&ch.Device),
		"confirm": number(&ch.Confirm, leastConfirm, mostConfirm, ""), "within": duration(&ch.Within, leastWithin), "unprotected": boolean(&ch.Unprotected)}
	named, before := false, len(r.faults)
	if _, empty := node.(*ast.NullNode); !empty {
		r.each(path, node, func(key, full string, kv *ast.MappingValueNode) {
			v, known := keys[key]
			if key == listedNumber && kv.Value == at {
				return
			}
			if key == "map" {
				ch.Map = r.channelMap(full, kv.Value)
				return
			}
			if !known {
				r.fault(full, kv.Key, "unknown key%s", meant(nearest(key, append(slices.Sorted(maps.Keys(keys)), "map"))))
				return
			}
			named = named || key == "name"
			r.from[full] = r.where(kv.Key)
			if err := v.read(kv.Value); err != nil {
				r.fault(full, kv.Key, "%s", err)
			}
		})
	}
	if len(r.faults) > before {
		return // one kind of fault per channel is enough
	}
	if ch.Confirm > 0 && ch.Within == 0 {
		ch.Within = defaultWithin
	}
	if !named && (!ch.mayBeNameless() || ch.HomeAssistant) {
		r.fault(path+".name", at, "is missing")
		return
	}
	if key, err := ch.checkRule(); err != nil {
		r.fault(path+"."+key, at, "%s", err)
		return
	}
	if ch.Device && !ch.HomeAssistant {
		r.fault(path+".device", at, "needs homeassistant: true")
		return
	}
	r.config.Channels[n] = ch
}

func (r *reader) isSection(path string) bool {
	for p := range r.settings {
		if strings.HasPrefix(p, path+".") {
			return true
		}
	}
	return false
}

// unknown returns the text of the fault for an unknown key, with a suggestion if there
// is one.
func (r *reader) unknown(section, key, full string) string {
	if _, dotted := r.settings[key]; dotted && strings.Contains(key, ".") {
		first, rest, _ := strings.Cut(key, ".")
		return fmt.Sprintf("unknown key: write %s: and below it, indented, %s:", first, rest)
	}
	if now := renamed[full]; now != "" {
		return "is called " + now + " now"
	}
	var siblings, all []string
	for _, s := range Settings() {
		all = append(all, s.Path)
		if rest, ok := strings.CutPrefix(s.Path, section+"."); ok {
			siblings = append(siblings, rest)
		} else if section == "" {
			first, _, _ := strings.Cut(s.Path, ".")
			siblings = append(siblings, first)
		}
	}
	if section == "" {
		siblings = append(siblings, "channels", "users")
	}
	near := nearest(key, siblings)
	if near != "" && section != "" {
		near = section + "." + near
	}
	if near == "" {
		near = nearest(full, all)
	}
	return "unknown key" + meant(near)
}

func meant(name string) string {
	if name == "" {
		return ""
	}
	return ", did you mean " + name + "?"
}

func (r *reader) fault(path string, at ast.Node, format string, args ...any) {
	r.faults = append(r.faults, Fault{Path: path, Problem: fmt.Sprintf(format, args...), Where: r.where(at)})
}

func (r *reader) where(node ast.Node) string {
	if t := node.GetToken(); t != nil && t.Position != nil {
		return fmt.Sprintf("%s:%d", r.file, t.Position.Line)
	}
	return r.file
}
