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
	Topics   map[string]discovery `json:"topics"`           // last published, by topic
	Houses   map[string]*house    `json:"houses"`           // by name
	Ghosts   map[string]discovery `json:"ghosts,omitempty"` // as an earlier version kept them: of any house
	Retained []string             `json:"retained"`         // topics that may have a retained message of PublishKept
	Devices  []remembered         `json:"devices"`
	Parked   []remembered         `json:"parked,omitempty"` // those whose channel is not announced now
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
	nothing := known{Topics: map[string]discovery{}, Houses: map[string]*house{}}
	data, err := s.memory.Load()
	if err != nil || data == nil {
		return nothing, err
	}
	s.saved = data
	var k known
	if err := json.Unmarshal(data, &k); err != nil {
		s.log.WithError(err).Error("what Home Assistant knows cannot be read: what is not wanted any more stays there")
		return nothing, nil
	}
	if k.Topics == nil {
		k.Topics = nothing.Topics
	}
	if k.Houses == nil {
		k.Houses = nothing.Houses
	}
	for name, h := range k.Houses {
		if h == nil {
			k.Houses[name] = &house{}
		}
	}
	if len(k.Ghosts) > 0 {
		k.Houses[""] = &house{Ghosts: k.Ghosts}
	}
	k.Ghosts = nil
	return k, nil
}

// restoreAll makes devices of what is remembered. A device whose channel is not announced now is
// only remembered: it is back once its channel is announced again, and need not say again what it is.
// So a start with another configuration by mistake costs nothing that lasts.
func (s *Service) restoreAll() {
	told, parked := s.known.Devices, s.known.Parked
	s.known.Devices, s.known.Parked = nil, nil
	s.untoldOf = map[bridge.Channel]int{}
	for i, r := range slices.Concat(told, parked) {
		switch _, asked := s.opts.Channels[r.Channel]; {
		case asked:
			s.restore(r)
		case len(s.known.Parked) < s.opts.HomeAssistantDevices:
			s.known.Parked = append(s.known.Parked, r)
			if i < len(told) {
				s.untoldOf[r.Channel]++
			}
		}
	}
}

// sayUntold logs how many devices Home Assistant is told of no more.
func (s *Service) sayUntold() {
	for c, n := range s.untoldOf {
		s.log.WithField("channel", c).WithField("devices", n).Warn("Home Assistant is not told of these devices: their channel has no homeassistant: true now")
	}
}

// unparkLocked forgets the parked devices that describe themselves anew, or whose senders are gone.
// The caller holds order and mu.
func (s *Service) unparkLocked() {
	s.known.Parked = slices.DeleteFunc(s.known.Parked, func(r remembered) bool {
		return s.devices[r.Sender] != nil || !s.hub.Known(r.Sender)
	})
}

// compare sets known to what is wanted now. It returns all wanted discovery messages by
// topic, and those that have to be removed first. The caller holds order.
func (s *Service) compare() (want, gone map[string]discovery) {
	s.mu.Lock()
	want = s.wantedLocked()
	s.known.Devices = s.known.Devices[:0]
	for _, id := range slices.Sorted(maps.Keys(s.devices)) {
		d := s.devices[id]
		s.known.Devices = append(s.known.Devices, remembered{d.sender, d.name, d.channel, string(d.raw), slices.Sorted(maps.Keys(d.heard))})
	}
	s.unparkLocked()
	s.mu.Unlock()
	gone = map[string]discovery{}
	for topic, old := range s.known.Topics {
		if left := old.missing(want[topic]); len(left.Components) > 0 {
			gone[topic] = left
			s.haunt(topic, left)
		}
	}
	for _, h := range s.known.Houses {
		h.lay(want)
	}
	s.known.Topics = want
	return want, gone
}

// remember writes known to the memory if it has changed. The caller holds order. It may ignore
// the error, which is logged: a full disk must not hide the devices from Home Assistant.
func (s *Service) remember() error {
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
		return nil
	}
	if err := s.memory.Save(document); err != nil {
		s.log.WithError(err).Error("what Home Assistant knows is not on disk: it may keep ghosts after a restart")
		return err
	}
	s.saved = document
	return nil
}

// empty reports whether nothing is lost if known is not written.
func (k known) empty() bool {
	n := len(k.Topics) + len(k.Retained) + len(k.Devices) + len(k.Parked)
	for _, h := range k.Houses {
		n += len(h.Ghosts)
	}
	return n == 0
}

// retained lists the retained topics of the announced channels and of these devices.
func (s *Service) retained(devices []remembered) (topics []string) {
	for _, c := range s.channels() {
		topics = append(topics, s.lastTopic(c))
	}
	for _, d := range devices {
		topics = append(topics, s.presenceTopic(d.Channel, d.Sender))
		for _, f := range []form{objects, words, both} {
			topics = append(topics, s.valueTopic(f, d.Channel, d.Sender))
		}
	}
	return topics
}

// leftovers reports whether there are retained messages that are not wanted any more.
func (s *Service) leftovers() bool {
	s.order.Lock()
	defer s.order.Unlock()
	wanted := s.retained(s.known.Devices)
	return slices.ContainsFunc(s.known.Retained, func(topic string) bool { return !slices.Contains(wanted, topic) })
}

// clearRetained removes the retained messages that are not wanted any more.
func (s *Service) clearRetained() {
	s.order.Lock()
	defer s.order.Unlock()
	wanted := s.retained(s.known.Devices)
	cleared := false
	s.mu.Lock()
	for _, topic := range s.known.Retained {
		if !slices.Contains(wanted, topic) {
			delete(s.due, topic)
			s.failed("state not removed", s.bus.PublishKept(topic, nil, 0))
			cleared = true
		}
	}
	s.mu.Unlock()
	if cleared {
		s.known.Retained = wanted
	}
}
