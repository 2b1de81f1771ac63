package homeassistant

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"time"
	"unicode/utf8"

	"watchtower/bridge"
)

// The limits of the state that is gathered from a device's messages. A message that exceeds
// them begins a new state.
const (
	gatheredKeys  = 64
	gatheredBytes = 8192
)

// device is a sender that described itself. Guarded by Service.mu.
type device struct {
	sender      bridge.SenderID
	name        string
	channel     bridge.Channel
	raw         []byte // the description as a message
	description description

	gathered map[string]any // the newest value of each key in its messages
	state    []byte         // the payload for its topic; nil: none yet
	known    bool           // the device is on disk, so its state may be published
}

// said is the kind of a message.
type said int

const (
	message said = iota // no description
	faulty              // a description with a fault; it is mirrored, so that people can find it
	taken               // a description, which was accepted
)

// describe accepts a message as a description, if it is one.
func (s *Service) describe(m *bridge.Message) said {
	s.mu.Lock()
	d := s.devices[m.Sender]
	same := d != nil && d.channel == m.Channel && bytes.Equal(d.raw, m.Data)
	if same {
		delete(s.faults, m.Sender)
	}
	s.mu.Unlock()
	if same {
		return taken
	}
	description, meant, err := parse(m.Data)
	if !meant {
		return message
	}
	if err == nil && m.Name == "" {
		err = wrong("sender", "has no name: only senders with a name can be devices")
	}
	if err == nil {
		err = s.accept(m, description)
	}
	if err == nil {
		return taken
	}
	s.noteFault(m, err)
	reason := bridge.Malformed
	if errors.Is(err, errTooMany) || errors.Is(err, errForgotten) {
		reason = bridge.Limit
	}
	s.hub.Counters().Drop(m.Via, reason, 1)
	if s.noisy.allow(m.Sender, s.hub.Now()) {
		s.log.WithField("sender", m.Sender).WithField("name", m.Name).WithField("channel", m.Channel).
			WithField("fault", oneLine(err)).Warn("self-description refused")
	}
	return faulty
}

var errForgotten = errors.New("the gateway remembers no more senders (limits.senders)")

var errTooMany = errors.New("too many devices describe themselves (limits.homeassistant_devices)")

// accept makes a sender the device that it describes. An empty description removes the
// device.
func (s *Service) accept(m *bridge.Message, what description) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.devices[m.Sender]
	if what.empty() {
		delete(s.faults, m.Sender)
		if old != nil {
			s.dropLocked(old)
			signal(s.changed)
		}
		return nil
	}
	for _, other := range s.devices { // an earlier sender with this name was deleted just now
		if other.name == m.Name && other.sender != m.Sender {
			s.dropLocked(other)
		}
	}
	if old == nil && len(s.devices) >= s.opts.HomeAssistantDevices {
		return errTooMany
	}
	if old == nil && !s.hub.Remember(m.Name, m.Sender, m.Via) {
		return errForgotten
	}
	d := &device{sender: m.Sender, name: m.Name, channel: m.Channel, raw: bytes.Clone(m.Data), description: what}
	if old != nil && old.channel == m.Channel {
		d.gathered, d.state, d.known = old.gathered, old.state, old.known
	} else if old != nil {
		s.dropLocked(old)
	}
	s.devices[d.sender] = d
	delete(s.faults, d.sender)
	signal(s.changed)
	return nil
}

// restore makes a device from the memory's record.
func (s *Service) restore(r remembered) {
	what, meant, err := parse([]byte(r.Description))
	_, asked := s.opts.Channels[r.Channel]
	if !asked || !meant || err != nil || what.empty() || len(s.devices) >= s.opts.HomeAssistantDevices {
		return
	}
	d := &device{sender: r.Sender, name: r.Name, channel: r.Channel, raw: []byte(r.Description), description: what}
	d.state = s.bus.Retained(s.stateTopic(d.channel, d.sender))
	d.gathered = fields(d.state)
	s.devices[d.sender] = d
}

// dropLocked forgets a device. Its state is cleared later, after the removal of its
// entities, because their templates would fail at an empty payload. The caller holds mu.
func (s *Service) dropLocked(d *device) {
	delete(s.devices, d.sender)
	delete(s.due, s.stateTopic(d.channel, d.sender))
}

// forget drops the devices whose senders are gone.
func (s *Service) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if !s.hub.Known(d.sender) {
			s.dropLocked(d)
		}
	}
	for id := range s.faults {
		if !s.hub.Known(id) {
			delete(s.faults, id)
		}
	}
}

// feedLocked adds a message to its sender's state, if the sender is a device and the
// message is on the device's channel. The caller holds mu.
func (s *Service) feedLocked(m *bridge.Message, said map[string]any) {
	d := s.devices[m.Sender]
	if d == nil || d.channel != m.Channel || len(m.Data) == 0 || !utf8.Valid(m.Data) {
		return
	}
	state := m.Data
	if said != nil {
		state = d.gather(said)
	}
	if said == nil && !d.description.hearsText() {
		return // nobody can read it
	}
	if d.known && d.description.live() {
		s.failed("state not published", s.bus.PublishOwn(s.liveTopic(d.channel, d.sender), state))
	}
	if said == nil && d.gathered != nil {
		// The retained state stays the gathered one, so that its keys survive a restart.
		if d.known && d.description.feeds() {
			s.failed("state not published", s.bus.PublishOwn(s.stateTopic(d.channel, d.sender), state))
		}
		return
	}
	d.state = state
	if d.known && d.description.feeds() {
		s.retainLocked(s.stateTopic(d.channel, d.sender), d.state)
	}
}

// gather merges the fields of a message into the gathered ones. So a message with one key
// does not make the other keys unknown.
func (d *device) gather(said map[string]any) []byte {
	all := maps.Clone(d.gathered)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, said)
	state := encode(all)
	if len(all) > gatheredKeys || len(state) > gatheredBytes {
		all, state = said, encode(said)
	}
	d.gathered = all
	return state
}

// allowStates lets the states of these devices be published: the devices are on disk now.
func (s *Service) allowStates(saved []remembered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range saved {
		d := s.devices[r.Sender]
		if d == nil || d.known || d.channel != r.Channel {
			continue
		}
		d.known = true
		if d.state != nil && d.description.feeds() {
			s.retainLocked(s.stateTopic(d.channel, d.sender), d.state)
		}
	}
}

// write publishes due topics until ctx ends, each at most once in opts.Every.
func (s *Service) write(ctx context.Context) {
	tick := time.NewTicker(s.opts.Every)
	defer tick.Stop()
	wake := s.wake
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
			s.writeDue()
			wake = nil // not again before the next tick
		case <-tick.C:
			wake = s.wake
		}
	}
}
