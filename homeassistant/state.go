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

// The bounds of what is gathered from a device's messages. What goes over begins
// anew with the last message.
const (
	gatheredKeys  = 64
	gatheredBytes = 8192
)

// device is a sender that described itself. Guarded by Service.mu.
type device struct {
	sender      bridge.SenderID
	name        string
	channel     bridge.Channel
	raw         []byte // the description as it came
	description description

	gathered map[string]any // the newest of each key that it said
	state    []byte         // as it is to be on its topic; nil: nothing yet
	known    bool           // it is on disk, so its state may be too
}

// said is what a message turned out to be.
type said int

const (
	message said = iota // and no description
	faulty              // a description with a fault, which is mirrored: somebody may look for it there
	taken               // a description
)

// describe takes a message as a description, if it is one.
func (s *Service) describe(m *bridge.Message) said {
	s.mu.Lock()
	d := s.devices[m.Sender]
	same := d != nil && d.channel == m.Channel && bytes.Equal(d.raw, m.Data)
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

// accept makes a sender the device that it describes, or takes the device away.
func (s *Service) accept(m *bridge.Message, what description) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.devices[m.Sender]
	if what.empty() {
		if old != nil {
			s.dropLocked(old)
			signal(s.changed)
		}
		return nil
	}
	for _, other := range s.devices { // a sender of that name that was deleted just now
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
	signal(s.changed)
	return nil
}

// restore makes a device of what the memory has of it.
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

// dropLocked forgets a device. Its state is cleared once Home Assistant has been
// told, whose templates would stumble over the empty payload. The caller holds mu.
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
}

// feedLocked adds a message to its sender's state, if its sender is a device and
// said it on the device's channel. The caller holds mu.
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
		// What was gathered stays: it would be unknown after the next restart.
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

// gather puts what was said over what was said before, so that two messages with
// a key each do not make each other's key unknown.
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

// allowStates has the states of devices written that are on disk now.
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

// write writes what is due, each topic at most once in opts.Every, until ctx ends.
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
