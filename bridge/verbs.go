package bridge

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
)

// Publication is a broadcast, or a send if it has receivers.
type Publication struct {
	Type      Type
	Channels  []Channel
	Receivers []SenderID
	Content   Content
	Via       Protocol
	Hops      uint8
	TTL       time.Duration // how long it may wait in queues; 0: without a limit
	Wait      bool          // the caller may be slowed down while a protocol is behind
	Report    func(Report)  // called once if it is not nil and the checks have passed
}

// Publish checks a publication and puts it on the bus. If any channel or receiver is
// wrong, nobody gets anything. An Error with the code BusFailed means that some receivers
// may have the message.
func (h *Hub) Publish(s *Sender, p Publication) (ulid.ULID, error) {
	if err := h.checkContent(p.Content); err != nil {
		return ulid.ULID{}, err
	}
	if len(p.Channels) == 0 {
		return ulid.ULID{}, fault(InvalidChannel, "channels", "must name at least one channel")
	}
	if p.Type == Send && len(p.Receivers) == 0 {
		return ulid.ULID{}, fault(InvalidReceiver, "receivers", "must name at least one receiver")
	}
	if err := h.checkJoined(s, p); err != nil {
		return ulid.ULID{}, err
	}
	now := h.now()
	m := Message{
		ID: h.ids.next(now), Time: now, Type: p.Type, Sender: s.id, Name: s.Name(),
		Hint: p.Content.Hint, Data: p.Content.Data, Via: p.Via, Hops: p.Hops, Wait: p.Wait,
		patience: time.Now().Add(h.patience),
	}
	if p.TTL > 0 {
		m.Expires = now.Add(p.TTL)
	}
	channels := unique(p.Channels)
	if p.Report != nil {
		m.report = newReport(Report{ID: m.ID, Channels: channels, Sender: s.id}, p.Report)
		defer m.release()
	}
	var failed error
	for _, c := range channels {
		if p.Type == Broadcast {
			failed = cmp.Or(h.publishOn(m, c, 0), failed)
			continue
		}
		for _, r := range unique(p.Receivers) {
			failed = cmp.Or(h.publishOn(m, c, r), failed)
		}
	}
	if failed != nil {
		return m.ID, fault(BusFailed, "", "a protocol is behind and did not take the message in time; some receivers may have it")
	}
	return m.ID, nil
}

// publishOn publishes a copy of m on one channel, for one receiver if it is not 0.
func (h *Hub) publishOn(m Message, c Channel, receiver SenderID) error {
	m.Channel, m.Receiver, m.order = c, receiver, h.order.Add(1)
	h.counters.In(m.Via, 1)
	return h.bus.Publish(&m)
}

// Admit checks what an MQTT client publishes, and makes its message. The client need not
// be a member. The broker delivers the message.
func (h *Hub) Admit(s *Sender, a Address, content Content) (*Message, error) {
	if a.Sender != 0 && a.Sender != s.id {
		return nil, fault(InvalidSender, "topic", "sender %d is not you: you are %d, or leave it out", a.Sender, s.id)
	}
	if err := h.checkContent(content); err != nil {
		return nil, err
	}
	h.mu.RLock()
	dead := s.gone
	ok := a.Type == Broadcast || h.reachableLocked(a.Receiver, a.Channel)
	h.mu.RUnlock()
	if dead {
		return nil, fault(InvalidSender, "topic", "sender %d was deleted", s.id)
	}
	if !ok {
		return nil, fault(UnjoinedReceiver, "topic", "receiver %d has not joined channel %d", a.Receiver, a.Channel)
	}
	h.counters.In(h.bus.Protocol(), 1)
	now := h.now()
	return &Message{
		ID: h.ids.next(now), Time: now, Type: a.Type, Channel: a.Channel, Sender: s.id, Name: s.Name(),
		Receiver: a.Receiver, Hint: content.Hint, Data: content.Data, Via: h.bus.Protocol(), Wait: true, order: h.order.Add(1),
		patience: time.Now().Add(h.patience),
	}, nil
}

func (h *Hub) checkContent(c Content) error {
	if len(c.Data) > h.opts.MessageBytes {
		return fault(MessageTooLarge, "message", "has %d bytes, the limit is %d (limits.message_bytes)", len(c.Data), h.opts.MessageBytes)
	}
	return nil
}

func (h *Hub) checkJoined(s *Sender, p Publication) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s.gone {
		return fault(InvalidSender, "sender", "%d was deleted", s.id)
	}
	for i, c := range p.Channels {
		if m := s.joined.get(c); m == nil || !m.member() {
			return fault(UnjoinedChannel, field("channels", i), "sender %d has not joined channel %d", s.id, c)
		}
	}
	for i, r := range p.Receivers {
		for _, c := range p.Channels {
			if !h.reachableLocked(r, c) {
				return fault(UnjoinedReceiver, field("receivers", i), "receiver %d has not joined channel %d", r, c)
			}
		}
	}
	return nil
}

func (h *Hub) reachableLocked(r SenderID, c Channel) bool {
	s := h.senders[r]
	return s != nil && s.joined.get(c) != nil && s.joined.get(c).reachable()
}

func field(name string, i int) string { return fmt.Sprintf("%s[%d]", name, i) }

func unique[T cmp.Ordered](in []T) []T {
	if len(in) < 2 {
		return in
	}
	seen := make(map[T]struct{}, len(in))
	out := make([]T, 0, len(in))
	for _, v := range in {
		if _, ok := seen[v]; !ok {
			seen[v] = struct{}{}
			out = append(out, v)
		}
	}
	return out
}

// Deliver hands a message from the bus to each protocol that has members for it. It only
// puts it into bounded queues, because it runs in the publisher's goroutine. An error
// says that a protocol did not take the message.
func (h *Hub) Deliver(m *Message) error {
	h.mu.RLock()
	ch := h.channels[m.Channel]
	h.mu.RUnlock()
	if ch == nil {
		if ch = h.newlyHeard(m.Channel); ch == nil {
			return nil
		}
	}
	ch.lastMessage.Store(m.Time.UnixMilli())
	if m.Type == Send {
		return h.deliverSend(m)
	}
	h.tap(m)
	var to [MostProtocols][]*Attachment
	for p := range ch.lists {
		list := &ch.lists[p]
		h.counters.Drop(Protocol(p), Away, int(list.lingering.Load()))
		if h.links[p] != nil {
			to[p] = list.load()
		}
	}
	return h.handAll(m, &to)
}

// handAll gives a message to each link that has members for it, once.
func (h *Hub) handAll(m *Message, to *[MostProtocols][]*Attachment) (failed error) {
	for p, l := range h.links[:len(names)] {
		if l == nil || l.protocol != Protocol(p) { // none, or a shared link, which has its turn at its first protocol
			continue
		}
		wanted := l.everything || len(to[p]) > 0
		for _, other := range l.shared {
			wanted = wanted || len(to[other]) > 0
		}
		if wanted {
			failed = cmp.Or(h.hand(l, m, to[p]), failed)
		}
	}
	return failed
}

// channelsMost bounds how many channels are known: so a client that publishes on many
// channels cannot fill the memory.
const channelsMost = 1 << 16

// newlyHeard returns a channel without members, which a message puts on the list. It
// returns nil if too many channels are known.
func (h *Hub) newlyHeard(c Channel) *channel {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.channels) >= channelsMost && h.channels[c] == nil {
		return nil
	}
	return h.channelLocked(c)
}

func (h *Hub) deliverSend(m *Message) error {
	var to [MostProtocols][]*Attachment
	h.mu.RLock()
	if s := h.senders[m.Receiver]; s != nil && s.joined.get(m.Channel) != nil {
		for _, a := range s.joined.get(m.Channel).attachments {
			switch {
			case a.lingers != 0:
				h.counters.Drop(a.Via, Away, 1)
			case a.Sends:
				to[a.Via] = append(to[a.Via], a)
			}
		}
	}
	h.mu.RUnlock()
	return h.handAll(m, &to)
}

// Receivers returns the attachments of one protocol that a message is for now. They may
// be others than when it was published. Attachment.Wants says which of them take it.
func (h *Hub) Receivers(m *Message, p Protocol) []*Attachment {
	h.mu.RLock()
	defer h.mu.RUnlock()
	ch := h.channels[m.Channel]
	if ch == nil {
		return nil
	}
	if m.Type == Broadcast {
		return ch.lists[p].load()
	}
	var to []*Attachment
	if s := h.senders[m.Receiver]; s != nil && s.joined.get(m.Channel) != nil {
		for _, a := range s.joined.get(m.Channel).attachments {
			if a.Via == p && a.Sends && a.lingers == 0 {
				to = append(to, a)
			}
		}
	}
	return to
}

func (h *Hub) hand(l *Link, m *Message, to []*Attachment) error {
	m.retain()
	if !l.offer(Job{Message: m, To: to}) {
		return fault(BusFailed, "", "%s is behind", l.protocol)
	}
	return nil
}

// Join makes url a sender's callback on channels, in place of an earlier callback there.
// It calls attach for each channel that does not have this callback yet. With replays,
// the callback also takes messages on their way. Wait, called without locks, returns once
// the change is on disk.
func (k Kept) Join(s *Sender, channels []Channel, url string, noEcho, replays bool, attach func(Channel) *Attachment) (wait func() error, err error) {
	h := k.hub
	channels = unique(channels)
	h.mu.Lock()
	if s.gone {
		h.mu.Unlock()
		return nil, fault(InvalidSender, "sender", "%d was deleted", s.id)
	}
	if err := h.roomLocked(s, channels...); err != nil {
		h.mu.Unlock()
		return nil, err
	}
	changed := false
	var ended []*Attachment
	for _, c := range channels {
		var old []*Attachment
		same := false
		if m := s.joined.get(c); m != nil {
			for _, a := range m.attachments {
				if a.Address == url && a.NoEcho == noEcho {
					if same = true; replays {
						a.after.Store(0)
					}
				}
				if a.Address != "" {
					old = append(old, a)
				}
			}
		}
		if same {
			continue
		}
		fresh := attach(c)
		if err := h.attachLocked(s, c, fresh); err != nil {
			h.mu.Unlock()
			return nil, err
		}
		for _, a := range old { // it also takes over the messages on their way
			fresh.after.Store(min(fresh.after.Load(), a.after.Load()))
			h.detachLocked(a)
		}
		ended, changed = append(ended, old...), true
	}
	saved := func() error { return nil }
	if changed || s.unsaved != nil {
		saved = h.commitLocked(s)
	}
	h.mu.Unlock()
	endAll(ended)
	return func() error {
		if err := saved(); err != nil {
			return fault(StoreFailed, "", "the join could not be written to disk")
		}
		return nil
	}, nil
}

// End ends a callback of a sender on all its channels: its receiver is gone.
func (k Kept) End(s *Sender, url string) {
	h := k.hub
	h.mu.Lock()
	var ended []*Attachment
	for _, on := range slices.Backward(slices.Clone(s.joined)) {
		for _, a := range slices.Clone(on.v.attachments) {
			if a.Address == url {
				h.detachLocked(a)
				ended = append(ended, a)
			}
		}
	}
	if len(ended) > 0 {
		h.saveLocked(s)
	}
	h.mu.Unlock()
	endAll(ended)
}

// Leave ends all attachments of a sender on channels. Leaving what was not
// joined does nothing.
func (h *Hub) Leave(s *Sender, channels []Channel) {
	h.mu.Lock()
	var ended []*Attachment
	save := false
	for _, c := range channels {
		if m := s.joined.get(c); m != nil {
			save = save || m.has(func(a *Attachment) bool { return a.Address != "" })
			ended = append(ended, h.leaveLocked(m)...)
		}
	}
	if save {
		h.saveLocked(s)
	}
	h.mu.Unlock()
	endAll(ended)
}

// Joined lists the channels that a sender is a member of, ascending.
func (h *Hub) Joined(s *Sender) []Channel {
	h.mu.RLock()
	out := make([]Channel, 0, len(s.joined))
	for _, on := range s.joined {
		if on.v.member() {
			out = append(out, on.channel)
		}
	}
	h.mu.RUnlock()
	return out
}

// Channels lists the channels that have a member, or had a message lately,
// ascending.
func (d Directory) Channels() []Channel {
	h := d.hub
	now := h.now()
	h.mu.RLock()
	out := make([]Channel, 0, len(h.channels))
	for c, ch := range h.channels {
		if h.listedLocked(ch, now) {
			out = append(out, c)
		}
	}
	h.mu.RUnlock()
	slices.Sort(out)
	return out
}
