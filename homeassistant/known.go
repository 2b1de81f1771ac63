package homeassistant

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"watchtower/bridge"
)

// known is what Home Assistant may know. It is written to disk before it is published.
type known struct {
	Topics   map[string]discovery `json:"topics"`   // last published, by topic
	Ghosts   map[string]discovery `json:"ghosts"`   // removed components, until Home Assistant has surely seen the removal
	Retained []string             `json:"retained"` // topics that may have a retained message of PublishKept
	Devices  []remembered         `json:"devices"`
}

// remembered is a device that described itself.
type remembered struct {
	Sender      bridge.SenderID `json:"sender"`
	Name        string          `json:"name"`
	Channel     bridge.Channel  `json:"channel"`
	Description string          `json:"description"`
	Heard       []string        `json:"heard,omitempty"` // keys for which Home Assistant waits
}

// load reads known from the memory. If its JSON is damaged, load begins with nothing:
// devices describe themselves again.
func (s *Service) load() (known, error) {
	k := known{Topics: map[string]discovery{}, Ghosts: map[string]discovery{}}
	data, err := s.memory.Load()
	if err != nil || data == nil {
		return k, err
	}
	s.saved = data
	read := k
	if err := json.Unmarshal(data, &read); err != nil {
		s.log.WithError(err).Error("what Home Assistant knows cannot be read: what is not wanted any more stays there")
		return known{Topics: map[string]discovery{}, Ghosts: map[string]discovery{}}, nil
	}
	if read.Topics == nil || read.Ghosts == nil {
		read.Topics, read.Ghosts = k.Topics, k.Ghosts
	}
	return read, nil
}

// compare sets known to what is wanted now. It returns all wanted discovery messages by
// topic, and those that have to be removed first.
func (s *Service) compare() (want, gone map[string]discovery) {
	s.mu.Lock()
	want = s.wantedLocked()
	s.known.Devices = s.known.Devices[:0]
	for _, id := range slices.Sorted(maps.Keys(s.devices)) {
		d := s.devices[id]
		s.known.Devices = append(s.known.Devices, remembered{d.sender, d.name, d.channel, string(d.raw), slices.Sorted(maps.Keys(d.heard))})
	}
	s.mu.Unlock()
	gone = map[string]discovery{}
	for topic, old := range s.known.Topics {
		if left := old.missing(want[topic]); len(left.Components) > 0 {
			gone[topic] = left
			s.known.haunt(topic, left)
		}
	}
	for topic, ghost := range s.known.Ghosts {
		if ghost = ghost.missing(want[topic]); len(ghost.Components) > 0 {
			s.known.Ghosts[topic] = ghost
		} else {
			delete(s.known.Ghosts, topic) // all its components are wanted again
		}
	}
	s.known.Topics = want
	return want, gone
}

// The limits of ghosts, so that devices which come and go for days do not fill the memory.
// Ghosts beyond them are forgotten. Most likely Home Assistant has seen their removal.
const (
	ghostsMost = 256  // components of one topic
	hauntsMost = 1024 // topics
	allGhosts  = 2048 // components of all topics: about a megabyte
)

// haunt adds to a topic's ghosts.
func (k known) haunt(topic string, left discovery) {
	if all := left.with(k.Ghosts[topic].Components); len(all.Components) <= ghostsMost {
		left = all
	}
	k.Ghosts[topic] = left
	n := 0
	for _, ghost := range k.Ghosts {
		n += len(ghost.Components)
	}
	for other, ghost := range k.Ghosts { // in any order
		if len(k.Ghosts) <= hauntsMost && n <= allGhosts {
			break
		}
		if other != topic {
			n -= len(ghost.Components)
			delete(k.Ghosts, other)
		}
	}
}

// remember writes known to the memory if it has changed. An error is only logged, and
// publishing goes on: a full disk must not hide the devices from Home Assistant.
func (s *Service) remember() {
	topics := s.retained(s.known.Devices)
	for _, topic := range s.known.Retained { // those of before too, until they are cleared
		if !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	s.known.Retained = topics
	defer s.allowStates(s.known.Devices)
	document := encode(s.known)
	if bytes.Equal(document, s.saved) || s.saved == nil && s.known.empty() {
		return
	}
	if err := s.memory.Save(document); err != nil {
		s.log.WithError(err).Error("what Home Assistant knows is not on disk: it may keep ghosts after a restart")
	} else {
		s.saved = document
	}
}

func (k known) empty() bool { return len(k.Topics)+len(k.Ghosts)+len(k.Retained)+len(k.Devices) == 0 }

// retained lists the retained topics of the announced channels and of these devices.
func (s *Service) retained(devices []remembered) (topics []string) {
	for _, c := range s.channels() {
		topics = append(topics, s.lastTopic(c))
	}
	for _, d := range devices {
		topics = append(topics, s.stateTopic(d.Channel, d.Sender))
	}
	return topics
}

// leftovers reports whether there are retained messages that are not wanted any more.
func (s *Service) leftovers() bool {
	wanted := s.retained(s.known.Devices)
	return slices.ContainsFunc(s.known.Retained, func(topic string) bool { return !slices.Contains(wanted, topic) })
}

// clearRetained removes the retained messages that are not wanted any more.
func (s *Service) clearRetained() {
	wanted := s.retained(s.known.Devices)
	cleared := false
	s.mu.Lock()
	for _, topic := range s.known.Retained {
		if !slices.Contains(wanted, topic) {
			delete(s.due, topic)
			s.failed("state not removed", s.bus.PublishKept(topic, nil))
			cleared = true
		}
	}
	s.mu.Unlock()
	if cleared {
		s.known.Retained = wanted
	}
}
