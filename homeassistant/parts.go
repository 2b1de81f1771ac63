package homeassistant

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"watchtower/bridge"
)

// A description that does not fit one datagram comes in parts. Each is a description in
// itself, with "part":[n,of]. They are joined once all came, in any order.
const (
	partKey       = "part"
	partsMost     = 32
	partsPatience = time.Minute // for all parts, from the first that came
	joiningMost   = 64          // senders whose parts are incomplete
)

// joining are the parts of one description that came so far. Only the tap's goroutine uses
// it.
type joining struct {
	of    int
	parts map[int]map[string]json.RawMessage
	bytes int
	began time.Time
	m     *bridge.Message // the last of them, without its data
}

// readPart reads which part a message is; of is 0 if it is whole.
func readPart(root map[string]json.RawMessage) (n, of int, err error) {
	raw, there := root[partKey]
	if !there {
		return 0, 0, nil
	}
	var numbers []int
	if json.Unmarshal(raw, &numbers) != nil || len(numbers) != 2 || numbers[1] < 1 || numbers[1] > partsMost || numbers[0] < 1 || numbers[0] > numbers[1] {
		return 0, 0, wrong(partKey, "must be [number, of how many], of at most %d", partsMost)
	}
	return numbers[0], numbers[1], nil
}

// join adds a part. It returns the whole description once all parts have come, else nil.
func (s *Service) join(m *bridge.Message, n, of int, root map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	j := s.joining[m.Sender]
	if j == nil || j.of != of || j.m.Channel != m.Channel {
		s.abandon(m.Sender)
		if len(s.joining) >= joiningMost {
			return nil, wrong(partKey, "too many descriptions are incomplete: say all parts again in a minute")
		}
		j = &joining{of: of, parts: map[int]map[string]json.RawMessage{}, began: s.hub.Now()}
		s.joining[m.Sender] = j
	}
	if _, again := j.parts[n]; !again {
		j.bytes += len(m.Data)
	}
	j.parts[n], j.m = root, &bridge.Message{Sender: m.Sender, Name: m.Name, Channel: m.Channel, Via: m.Via}
	if j.bytes > descriptionBytes {
		delete(s.joining, m.Sender)
		return nil, wrong("description", "has more than %d bytes, which is the limit for all parts together", descriptionBytes)
	}
	if len(j.parts) < of {
		return nil, nil
	}
	delete(s.joining, m.Sender)
	return joined(j.parts), nil
}

// joined joins parts section by section. What is there twice counts as it is in the first
// part that has it.
func joined(parts map[int]map[string]json.RawMessage) map[string]json.RawMessage {
	whole := map[string]json.RawMessage{}
	sections := map[string]map[string]json.RawMessage{}
	var words []json.RawMessage
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		for key, raw := range parts[n] {
			switch {
			case key == commandsSection:
				var more []json.RawMessage
				_ = json.Unmarshal(raw, &more)
				words = append(words, more...)
			case kindOf(key) != nil:
				all, _ := object(raw)
				maps.Copy(all, sections[key])
				sections[key] = all
			case key != partKey && whole[key] == nil:
				whole[key] = raw
			}
		}
	}
	for key, all := range sections {
		whole[key] = encode(all)
	}
	if words != nil {
		whole[commandsSection] = encode(words)
	}
	return whole
}

// giveUp abandons the descriptions whose parts did not come in time.
func (s *Service) giveUp() {
	for id, j := range s.joining {
		if s.hub.Now().Sub(j.began) > partsPatience {
			s.abandon(id)
		}
	}
}

// abandon drops the parts of a sender, if there are any, and tells of it.
func (s *Service) abandon(id bridge.SenderID) {
	if j := s.joining[id]; j != nil {
		delete(s.joining, id)
		s.reject(j.m, []string{oneLine(wrong(partKey, "%d of %d came within a minute", len(j.parts), j.of))}, bridge.Malformed)
	}
}
