package homeassistant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"watchtower/bridge"
	"watchtower/ticker"
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
	raw         []byte // the description as one message
	description description

	gathered map[string]any  // the newest value of each key in its messages
	state    []byte          // those as a payload; nil: none yet
	known    bool            // the device is on disk, so its state may be published
	waiting  map[form][]byte // until then

	heard  map[string]bool // keys that Home Assistant waits for, because the device has said them
	odd    map[string]bool // keys of which the log says that a value could not be read
	shown  string          // its presence, as last published; empty: not since the start
	spoke  bool            // since presence was last looked at
	renews time.Time       // when its presence is published again while it is there, if that expires
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
	same := d != nil && d.channel == m.Channel && len(d.description.refused) == 0 && bytes.Equal(d.raw, m.Data)
	if same {
		d.spoke = true
		delete(s.faults, m.Sender)
	}
	s.mu.Unlock()
	if same {
		return taken
	}
	root := descriptionRoot(m.Data)
	if root == nil {
		return message
	}
	root, raw, err := s.whole(m, root)
	switch {
	case err == nil && root == nil:
		return taken // the other parts are missing
	case err == nil && m.Name == "":
		err = wrong("sender", "has no name: only senders with a name can be devices")
	}
	if err != nil {
		s.reject(m, []string{oneLine(err)}, bridge.Malformed)
		return faulty
	}
	what := read(root)
	if !what.void() {
		err = s.accept(m, raw, what)
	}
	switch {
	case err != nil:
		s.reject(m, []string{oneLine(err)}, bridge.Limit)
	case len(what.refused) > 0:
		s.reject(m, what.refused, bridge.Malformed)
	default:
		return taken
	}
	return faulty
}

// whole returns a description's keys and its text, or neither while parts of it are missing.
func (s *Service) whole(m *bridge.Message, root map[string]json.RawMessage) (map[string]json.RawMessage, []byte, error) {
	if len(m.Data) > descriptionBytes {
		return nil, nil, wrong("description", "has %d bytes, the limit is %d", len(m.Data), descriptionBytes)
	}
	n, of, err := readPart(root)
	if err != nil || of == 0 {
		return root, bytes.Clone(m.Data), err
	}
	root, err = s.join(m, n, of, root)
	if root == nil {
		return nil, nil, err
	}
	return root, encode(root), nil
}

var errForgotten = errors.New("the gateway remembers no more senders (limits.senders)")

var errTooMany = errors.New("too many devices describe themselves (limits.homeassistant_devices)")

// accept makes a sender the device that it describes, as raw. An empty description removes
// the device.
func (s *Service) accept(m *bridge.Message, raw []byte, what description) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.devices[m.Sender]
	if len(what.refused) == 0 {
		delete(s.faults, m.Sender)
	}
	if what.empty() {
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
	d := &device{sender: m.Sender, name: m.Name, channel: m.Channel, raw: raw, description: what, heard: map[string]bool{}, odd: map[string]bool{}, waiting: map[form][]byte{}, spoke: true}
	if old != nil && old.channel == m.Channel {
		d.gathered, d.state, d.known = old.gathered, old.state, old.known
	} else if old != nil {
		s.dropLocked(old)
	}
	if old != nil {
		d.hear(slices.Collect(maps.Keys(old.heard)))
		if bytes.Equal(old.raw, raw) {
			d.odd = old.odd
		}
	}
	s.devices[d.sender] = d
	signal(s.changed)
	return nil
}

// restore makes a device from the memory's record. Its channel is announced.
func (s *Service) restore(r remembered) {
	root := descriptionRoot([]byte(r.Description))
	if root == nil || len(s.devices) >= s.opts.HomeAssistantDevices {
		return
	}
	what := read(root)
	if what.empty() || what.void() {
		return
	}
	d := &device{
		sender: r.Sender, name: r.Name, channel: r.Channel, raw: []byte(r.Description), description: what,
		heard: map[string]bool{}, odd: map[string]bool{}, waiting: map[form][]byte{},
	}
	d.hear(r.Heard)
	d.state = s.bus.Retained(s.stateTopic(d.channel, d.sender))
	d.gathered = fields(d.state)
	maps.DeleteFunc(d.gathered, func(_ string, v any) bool { return v == nil }) // not said, or as good as that
	s.devices[d.sender] = d
}

// hear notes that the device has said these keys. It reports whether Home Assistant has to
// be told, because it took what it had sent for the state until now.
func (d *device) hear(keys []string) (news bool) {
	for _, e := range d.description.entities {
		if e.says == echoes && !d.heard[e.key] && slices.Contains(keys, e.key) {
			d.heard[e.key], news = true, true
		}
	}
	return news
}

// dropLocked forgets a device. Its state is cleared later, after the removal of its
// entities, because their templates would fail at an empty payload. The caller holds mu.
func (s *Service) dropLocked(d *device) {
	delete(s.devices, d.sender)
	for _, f := range []form{objects, words, both} {
		delete(s.due, s.valueTopic(f, d.channel, d.sender))
	}
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
	if d != nil && d.channel == m.Channel {
		d.spoke = true
	}
	if d == nil || d.channel != m.Channel || len(m.Data) == 0 || !utf8.Valid(m.Data) {
		return
	}
	if said == nil {
		s.sayLocked(d, words, m.Data)
		s.sayLocked(d, both, m.Data)
		return
	}
	if d.hear(slices.Collect(maps.Keys(said))) {
		signal(s.changed)
	}
	s.checkLocked(m, d, said)
	s.passLocked(d, said)
	lasting := d.lasting(said)
	if len(lasting) == 0 && len(said) > 0 {
		return // it holds nothing but what counts once
	}
	d.state = d.gather(lasting)
	s.sayLocked(d, objects, d.state)
	s.sayLocked(d, both, d.state)
}

// sayLocked publishes what a device said to those of its entities that read the form. The
// caller holds mu.
func (s *Service) sayLocked(d *device, f form, payload []byte) {
	retained, live := d.description.reading(f)
	if retained && !d.known { // published once the device is on disk
		d.waiting[f] = payload
	}
	if !d.known {
		return
	}
	if live {
		s.failed("state not published", s.bus.PublishOwn(s.liveTopic(f, d.channel, d.sender), payload))
	}
	if retained {
		s.retainLocked(s.valueTopic(f, d.channel, d.sender), payload)
	}
}

// checkLocked counts the values that an entity cannot read: they are unknown in Home
// Assistant. The log tells of each key once. The caller holds mu.
func (s *Service) checkLocked(m *bridge.Message, d *device, said map[string]any) {
	for _, e := range d.description.entities {
		v, there := said[e.key]
		if !there || e.fits == nil || e.fits(e, v) {
			continue
		}
		s.hub.Counters().Drop(m.Via, bridge.Malformed, 1)
		if path := e.section + "." + e.key; !d.odd[path] {
			d.odd[path] = true
			s.log.WithField("sender", m.Sender).WithField("name", m.Name).WithField("key", path).
				WithField("value", bridge.Shorten(string(encode(v)))).Warn("a value that its entity cannot read: it is unknown")
		}
	}
}

// passLocked publishes the values that count once, at once. The caller holds mu.
func (s *Service) passLocked(d *device, said map[string]any) {
	once := map[string]any{}
	for _, e := range d.description.entities {
		if v, there := said[e.key]; there && e.momentary() {
			once[e.key] = v
		}
	}
	if d.known && len(once) > 0 {
		s.failed("event not published", s.bus.PublishOwn(s.momentTopic(d.channel, d.sender), encode(once)))
	}
}

// lasting returns what is gathered of a message: all but the keys that only count once.
func (d *device) lasting(said map[string]any) map[string]any {
	left := maps.Clone(said)
	for _, e := range d.description.entities {
		if e.momentary() && !d.description.gathers(e.key) {
			delete(left, e.key)
		}
	}
	return left
}

// gather merges the fields of a message into the gathered ones. So a message with one key
// does not make the other keys unknown. Keys that were not said yet are null.
func (d *device) gather(said map[string]any) []byte {
	all := maps.Clone(d.gathered)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, said)
	if len(all) > max(gatheredKeys, len(d.description.entities)) || len(encode(all)) > gatheredBytes {
		all = said
	}
	d.gathered = all
	shown := maps.Clone(all)
	for _, key := range d.description.reads() {
		if _, there := shown[key]; !there {
			shown[key] = nil
		}
	}
	return encode(shown)
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
		s.showLocked(d)
		if d.state != nil {
			d.waiting[objects] = d.state
		}
		for f, payload := range d.waiting {
			if retained, _ := d.description.reading(f); retained {
				s.retainLocked(s.valueTopic(f, d.channel, d.sender), payload)
			}
		}
		clear(d.waiting)
	}
}

// write publishes due topics until ctx ends, each at most once in opts.Every.
func (s *Service) write(ctx context.Context) {
	tick := ticker.New(s.opts.Every)
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
			tick.Next()
			wake = s.wake
			s.showPresence()
		}
	}
}
