package bridge

import (
	"slices"
	"sync/atomic"
	"time"
)

// Attachment is one thing that holds a sender on a channel: a stream, a callback, an MQTT
// subscription, a wire registration. Each gets one copy of every message there. The
// exported fields do not change after Attach.
type Attachment struct {
	Via        Protocol
	NoEcho     bool        // its sender's own broadcasts are not for it
	Broadcasts bool        // it gets broadcasts, and makes its sender a member
	Sends      bool        // its sender can be sent to
	Polls      bool        // its receiver asks for what waits, and is heard when it does
	Returns    bool        // its receiver comes and goes: the membership may linger until it is back
	Notices    bool        // it gets the gateway's notices too
	Replays    bool        // it was given earlier messages, so it also takes those that are on their way
	dead       atomic.Bool // removed from its lists, which may still hold it

	Address string // of a receiver that is not connected, such as a URL: it is remembered over a restart
	Member  any    // the protocol's own value: the receiver in its fan-out
	Ended   func() // called once, without locks, if the hub ends it

	membership *membership
	after      atomic.Uint64 // the number of the newest message when it was attached; 0: it takes messages that were on their way
	until      atomic.Uint64 // the number of the newest message when another took its place; 0: none did
	since      uint32        // when it was attached, in Unix seconds
	lingers    time.Duration // when it stops lingering, since the hub began; not 0: its stream ended, and it gets nothing
}

// Wants reports whether an attachment takes a message of its channel: the attachment is
// still there, or was when the message was published and another has its place now; the message is newer,
// and it is no echo that the attachment refuses.
func (a *Attachment) Wants(m *Message) bool {
	if m.Type == Notice && !a.Notices {
		return false
	}
	if a.dead.Load() && (m.order == 0 || m.order > a.until.Load()) {
		return false
	}
	return (a.Replays || m.order == 0 || m.order > a.after.Load()) && (!a.NoEcho || m.Type == Send || m.Sender != a.membership.sender.id)
}

// Sender returns the sender that the attachment belongs to.
func (a *Attachment) Sender() *Sender { return a.membership.sender }

// Channel returns the channel that it is attached to.
func (a *Attachment) Channel() Channel { return a.membership.channel.id }

// membership is one sender on one channel. Guarded by Hub.mu.
type membership struct {
	sender      *Sender
	channel     *channel
	attachments []*Attachment // in the order of joining
	told        told          // what the other gateways know of it
}

func (m *membership) member() bool { return m.has(func(a *Attachment) bool { return a.Broadcasts }) }
func (m *membership) reachable() bool {
	return m.has(func(a *Attachment) bool { return a.Sends })
}
func (m *membership) has(f func(*Attachment) bool) bool { return slices.ContainsFunc(m.attachments, f) }

// channel is a channel with members, or with a message not long ago.
type channel struct {
	id          Channel
	members     map[SenderID]*membership // guarded by Hub.mu
	lists       []list                   // by protocol: who gets broadcasts, read without a lock
	heeded      atomic.Uint32            // a protocolSet: those with anybody in their list, or with a stream that has ended; read without a lock
	unknown     atomic.Bool              // it was taken off the hub's list of channels, where another may stand for it by now
	lastMessage atomic.Int64             // Unix milliseconds; 0: none yet
	said        atomic.Uint64            // messages, since the channel is known
}

// heed notes whether a protocol has anybody here, after a change of its list. It is guarded by Hub.mu.
func (ch *channel) heed(p Protocol) {
	if l := &ch.lists[p]; len(l.load()) > 0 || l.lingering.Load() > 0 {
		ch.heeded.Or(1 << p)
	} else {
		ch.heeded.And(^uint32(1 << p))
	}
}

// heededBy returns the protocols that may have receivers of a broadcast, or of which receivers miss it.
func (ch *channel) heededBy() protocolSet { return protocolSet(ch.heeded.Load()) }

// list is a slice that is read without a lock while it changes under Hub.mu. An append
// does not touch what readers see. A removed element stays, marked dead, until half of
// the list is dead: so a thousand leaves do not copy the slice a thousand times.
type list struct {
	p         atomic.Pointer[[]*Attachment]
	dead      int
	lingering atomic.Int32 // memberships whose stream has ended
	named     atomic.Pointer[[]*Sender]
}

// namedMost is how many of the senders whose streams have ended are named as those who miss what is
// said meanwhile. More are only counted, so that a message costs as little as with few.
const namedMost = 64

// linger notes whether the stream of a sender has ended. It is guarded by Hub.mu.
func (l *list) linger(s *Sender, ended bool) {
	var named []*Sender
	if p := l.named.Load(); p != nil {
		named = *p
	}
	if !ended {
		l.lingering.Add(-1)
		if i := slices.Index(named, s); i >= 0 {
			named = slices.Delete(slices.Clone(named), i, i+1)
			l.named.Store(&named)
		}
		return
	}
	l.lingering.Add(1)
	if len(named) < namedMost {
		named = append(slices.Clip(named), s)
		l.named.Store(&named)
	}
}

// missed counts a message for those whose streams have ended.
func (l *list) missed(p Protocol, counters *Counters) {
	n := int(l.lingering.Load())
	if n == 0 {
		return
	}
	if named := l.named.Load(); named != nil {
		for _, s := range *named {
			counters.Lose(s, p, Away, 1)
		}
		n -= len(*named)
	}
	counters.Drop(p, Away, n)
}

func (l *list) load() []*Attachment {
	if p := l.p.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *list) add(a *Attachment) {
	s := append(l.load(), a)
	l.p.Store(&s)
}

func (l *list) remove(a *Attachment) {
	a.dead.Store(true)
	l.dead++
	s := l.load()
	if l.dead*2 < len(s) {
		return
	}
	alive := make([]*Attachment, 0, len(s)-l.dead)
	for _, a := range s {
		if !a.dead.Load() {
			alive = append(alive, a)
		}
	}
	l.p.Store(&alive)
	l.dead = 0
}

// Attach joins a sender to a channel by a, and creates the channel if it is new. A stream
// or callback ends the sender's lingering membership there.
func (h *Hub) Attach(s *Sender, c Channel, a *Attachment) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.attachLocked(s, c, a)
}

func (h *Hub) attachLocked(s *Sender, c Channel, a *Attachment) error {
	if c == 0 {
		return fault(InvalidChannel, "channels", "0 is not a channel")
	}
	if s.gone {
		return fault(InvalidSender, "sender", "%d was deleted: register again", s.id)
	}
	if err := h.roomLocked(s, c); err != nil {
		return err
	}
	ch := h.channelLocked(c)
	m := s.joined.get(c)
	if m == nil {
		m = &membership{sender: s, channel: ch}
		s.joined.set(c, m)
		ch.members[s.id] = m
	}
	a.membership = m
	a.after.Store(h.order.Load())
	a.since = uint32(h.now().Unix())
	s.via = a.Via
	if a.Broadcasts && s.Name() != "" && !s.remembered() && h.keepLocked(s, a.Via) {
		h.saveLocked(s) // nobody waits: the same name gets the same id anyway
	}
	m.attachments = append(m.attachments, a)
	h.attached[a.Via]++
	if a.Broadcasts && h.links[a.Via] != nil {
		ch.lists[a.Via].add(a)
		ch.heed(a.Via)
	}
	for _, old := range slices.Clone(m.attachments) {
		if old.lingers != 0 && a.Returns {
			h.detachLocked(old)
		}
	}
	h.touchLocked(c)
	h.tellLocked(m)
	return nil
}

// roomLocked reports whether a sender may be on these channels as well.
func (h *Hub) roomLocked(s *Sender, channels ...Channel) error {
	n := len(s.joined)
	for _, c := range channels {
		if s.joined.get(c) == nil {
			n++
		}
	}
	if h.opts.SenderChannels > 0 && n > h.opts.SenderChannels && n > len(s.joined) {
		return fault(TooManyChannels, "channels", "a sender joins at most %d channels (limits.sender_channels): leave some first", h.opts.SenderChannels)
	}
	return nil
}

// Detach ends an attachment because its owner wants that: Ended is not called. It does
// nothing if the attachment has ended already. Next is one of the same receiver on the same channel
// that takes its place, if there is one: no message is between them. One that is on its way may be for both, in
// one Job: the receiver takes it once.
func (h *Hub) Detach(a *Attachment, next ...*Attachment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range next {
		n.after.Store(a.after.Load())
		a.until.Store(h.order.Load())
	}
	h.detachLocked(a)
}

// DetachLingering ends a stream's attachment, but keeps the membership for a
// while, so that a reconnect does not look like a leave.
func (h *Hub) DetachLingering(a *Attachment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := a.membership
	attached := m != nil && slices.Contains(m.attachments, a)
	h.detachLocked(a)
	if !attached || h.opts.Linger <= 0 || m.sender.gone {
		return
	}
	if m.has(func(o *Attachment) bool { return o.Returns }) {
		return // another stream or callback holds it anyway
	}
	ghost := &Attachment{Via: a.Via, Returns: true, NoEcho: a.NoEcho, Broadcasts: true, Sends: true, lingers: h.now().Sub(h.begun) + h.opts.Linger}
	ghost.dead.Store(true)
	if m.sender.joined.get(m.channel.id) == nil { // it was the last: the membership starts again
		m = &membership{sender: m.sender, channel: h.channelLocked(m.channel.id)}
		m.sender.joined.set(m.channel.id, m)
		m.channel.members[m.sender.id] = m
	}
	ghost.membership = m
	m.attachments = append(m.attachments, ghost)
	h.attached[ghost.Via]++
	h.ghosts[ghost] = struct{}{}
	m.channel.lists[ghost.Via].linger(m.sender, true)
	m.channel.heed(ghost.Via)
	h.touchLocked(m.channel.id)
	h.tellLocked(m)
}

func (h *Hub) detachLocked(a *Attachment) {
	m := a.membership
	if m == nil {
		return
	}
	i := slices.Index(m.attachments, a)
	if i < 0 {
		return
	}
	m.attachments = slices.Delete(m.attachments, i, i+1)
	h.attached[a.Via]--
	switch {
	case a.lingers != 0:
		m.channel.lists[a.Via].linger(m.sender, false)
		m.channel.heed(a.Via)
		delete(h.ghosts, a)
	case a.Broadcasts && h.links[a.Via] != nil:
		m.channel.lists[a.Via].remove(a)
		m.channel.heed(a.Via)
	default:
		a.dead.Store(true)
	}
	if len(m.attachments) == 0 {
		m.sender.joined.remove(m.channel.id)
		delete(m.channel.members, m.sender.id)
	}
	h.touchLocked(m.channel.id)
	h.tellLocked(m)
}

// leaveLocked ends a membership. It returns the ended attachments, for endAll.
func (h *Hub) leaveLocked(m *membership) []*Attachment {
	ended := slices.Clone(m.attachments)
	for _, a := range ended {
		h.detachLocked(a)
	}
	return ended
}

func (h *Hub) channelLocked(c Channel) *channel {
	ch := h.channels[c]
	if ch == nil {
		ch = &channel{id: c, members: map[SenderID]*membership{}, lists: make([]list, len(names))}
		h.channels[c] = ch
	}
	return ch
}

// listedLocked reports whether a channel has a member, or had a message lately.
func (h *Hub) listedLocked(ch *channel, now time.Time) bool {
	last := ch.lastMessage.Load()
	return len(ch.members) > 0 || last != 0 && now.Sub(time.UnixMilli(last)) < h.opts.ListedFor
}

// endLingering ends memberships that have lingered long enough.
func (h *Hub) endLingering() {
	now := h.now().Sub(h.begun)
	h.mu.Lock()
	defer h.mu.Unlock()
	for a := range h.ghosts { // deleting while ranging over a map is allowed
		if now > a.lingers {
			h.detachLocked(a)
		}
	}
}

// Leave ends all attachments of a sender on channels, at other gateways too. Leaving what was not
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
	for _, c := range channels {
		Peers{h}.Leave(s.id, c)
	}
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
