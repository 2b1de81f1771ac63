package channelmap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"watchtower/bridge"
	"watchtower/config"
)

// Maps are the maps of all channels. They do not change.
type Maps struct {
	in  []*line // in the order of channels
	out map[bridge.Channel][]*line
}

// line is one direction of a line of the configuration.
type line struct {
	config.Map
	channel  bridge.Channel
	place    int // in the channel's map
	levels   []string
	template template // nil: none
}

// Outcome is what becomes of a message at a line of a map.
type Outcome byte

// The outcomes. What is skipped is not meant by the line; what failed should have crossed.
const (
	Crosses   Outcome = iota
	Empty             // there is nothing to say
	Unmatched         // it is none of the line's values
	Stored            // it was retained before, and the line wants what happens now
	ByMap             // it came in by a map
	Twice             // another line says the same there
	Failed            // the template does not fit
)

func (o Outcome) String() string {
	return [...]string{"crosses", "empty", "unmatched", "retained", "by map", "twice", "failed"}[o]
}

// Crossing is what becomes of one message at one line.
type Crossing struct {
	Channel bridge.Channel
	Place   int    // of the line in the channel's map, from 0
	Topic   string // Out: the topic to publish on; In: the topic that it came from
	Payload []byte // what is said or published; it may share the message's bytes
	QoS     byte   // Out
	Retain  bool   // Out
	Outcome
	Why string // of Failed
}

// Compile reads the maps of the channels. The error is a config.Faults.
func Compile(channels map[uint32]config.Channel) (*Maps, error) {
	m := &Maps{out: map[bridge.Channel][]*line{}}
	var faults config.Faults
	for _, n := range slices.Sorted(maps.Keys(channels)) {
		for i, entry := range channels[n].Map {
			l := line{Map: entry, channel: bridge.Channel(n), place: i, levels: strings.Split(entry.Topic, "/")}
			variables := variablesIn
			if entry.Out {
				variables = variablesOut
			}
			var err error
			if l.template, err = parse(entry.Template, variables); err == nil && entry.In {
				err = l.checkLevels()
			}
			if err != nil {
				faults = append(faults, config.Fault{Path: fmt.Sprintf("channels.%d.map[%d].template", n, i), Problem: err.Error()})
				continue
			}
			if entry.In {
				m.in = append(m.in, &l)
			}
			if entry.Out {
				m.out[l.channel] = append(m.out[l.channel], &l)
			}
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return m, nil
}

// checkLevels refuses a template that names a level which no topic of the filter has.
func (l *line) checkLevels() error {
	if l.levels[len(l.levels)-1] == "#" {
		return nil
	}
	for _, p := range l.template {
		if p.path != nil && p.path[0] == "levels" && p.path[1].(int) >= len(l.levels) {
			return fmt.Errorf("has levels[%d], but the topic has %d levels, from 0", p.path[1], len(l.levels))
		}
	}
	return nil
}

// Filters returns the filters of all topics that come in. None of them covers another.
func (m *Maps) Filters() []Filter {
	var all []Filter
	for _, l := range m.in {
		all = append(all, Filter{Topic: l.Topic, QoS: byte(l.QoS), Retained: l.Retained})
	}
	return merged(all)
}

// Topics returns the topics to which messages of channels go out, each with the path of its
// setting.
func (m *Maps) Topics() map[string]string {
	topics := map[string]string{}
	for _, lines := range m.out {
		for _, l := range lines {
			topics[l.setting()+".topic"] = l.Topic
		}
	}
	return topics
}

// setting is the path of the line in the configuration.
func (l *line) setting() string {
	return "channels." + strconv.FormatUint(uint64(l.channel), 10) + ".map[" + strconv.Itoa(l.place) + "]"
}

// goesOut reports whether a channel has a map on which messages go out.
func (m *Maps) goesOut(c bridge.Channel) bool { return len(m.out[c]) > 0 }

// In returns what becomes of a message on a topic, for each line whose topic it matches.
// Retained says that it was retained before.
func (m *Maps) In(topic string, payload []byte, retained bool) (all []Crossing) {
	levels := strings.Split(topic, "/")
	s := &subject{payload: payload}
	for _, l := range m.in {
		if !matches(l.levels, levels) {
			continue
		}
		c := Crossing{Channel: l.channel, Place: l.place, Topic: topic}
		switch {
		case len(payload) == 0:
			c.Outcome = Empty
		case retained && !l.Retained:
			c.Outcome = Stored
		default:
			s.others = map[string]any{"topic": topic, "levels": texts(levels), "channel": number(uint32(l.channel))}
			c.Payload, c.Outcome, c.Why = l.in(s)
		}
		all = append(all, c.unless(all))
	}
	return all
}

// Out returns what becomes of a channel's message, for each line of its map.
func (m *Maps) Out(msg *bridge.Message) (all []Crossing) {
	s := &subject{payload: msg.Data, others: map[string]any{
		"channel": number(uint32(msg.Channel)), "sender": number(uint32(msg.Sender)), "name": msg.Name, "id": msg.ID.String(),
	}}
	for _, l := range m.out[msg.Channel] {
		c := Crossing{Channel: l.channel, Place: l.place, Topic: l.Topic, QoS: byte(l.QoS), Retain: l.Retain, Outcome: ByMap}
		if msg.Via != Protocol {
			c.Payload, c.Outcome, c.Why = l.out(*s)
		}
		all = append(all, c.unless(all))
	}
	return all
}

// Said is Out for what a sender of a name says on a channel.
func (m *Maps) Said(channel uint32, name string, data []byte) []Crossing {
	return m.Out(&bridge.Message{Channel: bridge.Channel(channel), Name: name, Data: data})
}

// unless returns the crossing, or that another one says the same already.
func (c Crossing) unless(said []Crossing) Crossing {
	if c.Outcome == Crosses && slices.ContainsFunc(said, func(o Crossing) bool {
		return o.Outcome == Crosses && o.Channel == c.Channel && o.Topic == c.Topic && bytes.Equal(o.Payload, c.Payload)
	}) {
		c.Outcome = Twice
	}
	return c
}

// in picks from a payload, and translates that.
func (l *line) in(s *subject) (data []byte, o Outcome, why string) {
	data = s.payload
	if l.Template != "" {
		var err error
		if data, err = l.template.fill(s); err != nil {
			return failed(err)
		}
	}
	return l.translate(data)
}

// out translates a message, and makes a payload of that.
func (l *line) out(s subject) (data []byte, o Outcome, why string) {
	if l.Values != nil {
		if data, o, why = l.translate(s.payload); o == Unmatched {
			return data, o, why
		}
		s.payload, s.read = data, false
	}
	data = s.payload
	if l.Template != "" {
		var err error
		if data, err = l.template.fill(&s); err != nil {
			return failed(err)
		}
	}
	if len(data) == 0 {
		return nil, Empty, ""
	}
	return data, Crosses, ""
}

// translate looks a text up in the line's values, if it has some.
func (l *line) translate(data []byte) ([]byte, Outcome, string) {
	if l.Values != nil {
		to, known := l.Values[string(data)]
		if !known {
			return nil, Unmatched, ""
		}
		data = []byte(to)
	}
	if len(data) == 0 {
		return nil, Empty, ""
	}
	return data, Crosses, ""
}

// failed returns the outcome of a template's error: what names something that is not there has
// nothing to say.
func failed(err error) ([]byte, Outcome, string) {
	if errors.Is(err, errNothing) {
		return nil, Empty, ""
	}
	return nil, Failed, err.Error()
}

func number(n uint32) json.Number { return json.Number(strconv.FormatUint(uint64(n), 10)) }

func texts(all []string) []any {
	list := make([]any, len(all))
	for i, s := range all {
		list[i] = s
	}
	return list
}
