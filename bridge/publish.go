package bridge

import (
	"cmp"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/config"
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
	Outside   bool          // the sender need not be on the channels, as an operator
	Voice     Voice         // what was shown of the sender, for channels with a Rule
	Wait      bool          // the caller may be slowed down while a protocol is behind
	Report    func(Report)  // called once if it is not nil and the checks have passed
	Within    time.Duration // how long the report waits for other gateways; 0: reportPatience
}

// reportPatience is how long a delivery report waits for other gateways.
const reportPatience = 5 * time.Second

// Publish checks a publication and puts it on the bus. If any channel or receiver is
// wrong, nobody gets anything. An Error with the code BusFailed means that some receivers
// may have the message. An Unconfirmed is no failure: the message waits for others who say
// the same.
func (h *Hub) Publish(s *Sender, p Publication) (ulid.ULID, error) {
	if err := h.CheckContent(p.Content); err != nil {
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
	channels := unique(p.Channels)
	by, err := h.confirmAll(s, p, channels)
	if err != nil {
		return ulid.ULID{}, err
	}
	now := h.now()
	m := Message{
		ID: h.ids.next(now), Time: now, Type: p.Type, Sender: s.id, Name: s.Name(),
		Hint: p.Content.Hint, Data: p.Content.Data, Via: p.Via, Hops: p.Hops, Wait: p.Wait,
		ConfirmedBy: by, patience: time.Now().Add(h.patience),
	}
	if p.TTL > 0 {
		m.Expires = now.Add(p.TTL)
	}
	if p.Report != nil {
		m.report = newReport(Report{ID: m.ID, Channels: channels, Sender: s.id}, cmp.Or(p.Within, reportPatience), p.Report)
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

// confirmAll applies the channels' rules. A message that waits on one channel cannot be
// delivered on others.
func (h *Hub) confirmAll(s *Sender, p Publication, channels []Channel) ([]SenderID, error) {
	for i, c := range p.Channels {
		if _, found := h.confirms.rule(c); found && len(channels) > 1 {
			return nil, fault(InvalidChannel, field("channels", i), "channel %d wants more than one to say the same: name no other channel beside it", c)
		}
	}
	return h.confirm(s, p.Type, channels[0], p.Content.Data, p.Voice, p.Via)
}

// publishOn publishes a copy of m on one channel, for one receiver if it is not 0.
func (h *Hub) publishOn(m Message, c Channel, receiver SenderID) error {
	m.Channel, m.Receiver, m.order = c, receiver, h.order.Add(1)
	h.counters.In(m.Via, 1)
	return h.bus.Publish(&m)
}

// Admit checks what an MQTT client publishes, and makes its message. The client need not
// be a member. The broker delivers the message. An error that is an Unconfirmed is no
// refusal (Publish).
func (h *Hub) Admit(s *Sender, a Address, content Content, v Voice) (*Message, error) {
	if a.Sender != 0 && a.Sender != s.id {
		return nil, fault(InvalidSender, "topic", "sender %d is not you: you are %d, or leave it out", a.Sender, s.id)
	}
	if err := h.CheckContent(content); err != nil {
		return nil, err
	}
	h.mu.RLock()
	dead := s.gone
	ok := a.Type == Broadcast || h.reachableLocked(a.Receiver, a.Channel)
	h.mu.RUnlock()
	if dead {
		return nil, fault(InvalidSender, "topic", "sender %d was deleted: register again", s.id)
	}
	if !ok {
		return nil, fault(UnjoinedReceiver, "topic", "receiver %d has not joined channel %d: only who has can be sent to", a.Receiver, a.Channel)
	}
	by, err := h.confirm(s, a.Type, a.Channel, content.Data, v, h.bus.Protocol())
	if err != nil {
		return nil, err
	}
	h.counters.In(h.bus.Protocol(), 1)
	now := h.now()
	m := newMessage(content)
	*m = Message{
		ID: h.ids.next(now), Time: now, Type: a.Type, Channel: a.Channel, Sender: s.id, Name: s.Name(),
		Receiver: a.Receiver, Hint: content.Hint, Data: m.Data, Via: h.bus.Protocol(), Wait: true, order: h.order.Add(1),
		ConfirmedBy: by, patience: time.Now().Add(h.patience),
	}
	return m, nil
}

// CheckContent returns an Error with the code MessageTooLarge if a message is larger than
// limits.message_bytes. Publish and Admit call it: a protocol does only to refuse earlier.
func (h *Hub) CheckContent(c Content) error {
	if len(c.Data) > h.opts.MessageBytes {
		more := ""
		if h.opts.MessageBytes < config.MostMessageBytes {
			more = ", or raise limits.message_bytes"
		}
		return fault(MessageTooLarge, "message", "has %d bytes, the limit is %d: say less%s", len(c.Data), h.opts.MessageBytes, more)
	}
	return nil
}

func (h *Hub) checkJoined(s *Sender, p Publication) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s.gone {
		return fault(InvalidSender, "sender", "%d was deleted: register again", s.id)
	}
	for i, c := range p.Channels {
		if !p.Outside && !h.memberLocked(s, c) {
			return fault(UnjoinedChannel, field("channels", i), "sender %d has not joined channel %d: join it first", s.id, c)
		}
	}
	for i, r := range p.Receivers {
		for _, c := range p.Channels {
			if !h.reachableLocked(r, c) {
				return fault(UnjoinedReceiver, field("receivers", i), "receiver %d has not joined channel %d: only who has can be sent to", r, c)
			}
		}
	}
	return nil
}

func (h *Hub) reachableLocked(r SenderID, c Channel) bool {
	s := h.senders[r]
	return s != nil && s.joined.get(c) != nil && s.joined.get(c).reachable() || h.elsewhereLocked(r, c, PeerMember.isReachable)
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
