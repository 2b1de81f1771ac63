package bridge

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Rule makes a channel want more than one: a message is delivered only once that many
// different senders have said the same bytes.
type Rule struct {
	Confirm     int           // how many, from 2 to 255
	Within      time.Duration // counted from the first
	Unprotected bool          // every sender counts, not only those that are proved
}

// Voice is what a request or connection shows of its sender. Its zero value shows nothing.
type Voice struct {
	Proved bool   // the sender's own token, or its user's password, came with it
	User   string // a configured user who speaks by a sender that is not its own
	Key    string // the name whose own key let the device in
}

// Voice is what the hold's device showed. It is for devices: their keys are theirs alone.
func (hd *Hold) Voice() Voice { return Voice{Key: hd.keyOf} }

// Unconfirmed is the answer to a message that its channel's rule holds back. Nobody gets the
// message yet, and it is not kept: whoever is the last to say the same bytes is heard.
type Unconfirmed struct {
	Channel   Channel
	Confirmed int // how many have said it so far
	Of        int // how many are wanted
	Until     time.Time
}

func (u *Unconfirmed) Error() string {
	return fmt.Sprintf("%d of %d have said this on channel %d: it is delivered once %d more say the same", u.Confirmed, u.Of, u.Channel, u.Of-u.Confirmed)
}

// The bounds of what waits to be confirmed on a channel.
const (
	roundsMost  = 256 // different messages
	roundsOfOne = 8   // of them, those that one sender takes part in
	marksMost   = 16  // of one sender in a round
)

// confirms holds the rules of channels, and what is half confirmed. Nothing of it is on disk.
type confirms struct {
	rules  atomic.Pointer[map[Channel]Rule]
	mu     sync.Mutex // may be held when the bus and links are given a notice, never before Hub.mu
	rounds map[Channel]map[[sha256.Size]byte]*round

	changed chan struct{} // rounds has other channels now; one place
	kept    []Channel     // those that were kept last; Run's
}

// round is a message that some have said.
type round struct {
	rule   Rule
	until  time.Time
	voices []voice
}

// voice is one that has said it.
type voice struct {
	marks  []string // two voices that share a mark are one
	sender SenderID
	via    Protocol
}

func (v *voice) is(other []string) bool {
	return slices.ContainsFunc(other, func(mark string) bool { return slices.Contains(v.marks, mark) })
}

// rule returns the rule of a channel, if it has one.
func (c *confirms) rule(ch Channel) (Rule, bool) {
	rules := c.rules.Load()
	if rules == nil {
		return Rule{}, false
	}
	rule, found := (*rules)[ch]
	return rule, found
}

// SetRules replaces the channels' rules. What is half confirmed by a rule that changes is
// forgotten.
func (d Directory) SetRules(rules map[Channel]Rule) {
	c := &d.hub.confirms
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rules.Store(&rules)
	for ch, rounds := range c.rounds {
		for _, r := range rounds {
			if rules[ch] != r.rule {
				d.hub.forgetRoundsLocked(ch, noticeReload)
				break
			}
		}
	}
}

// HalfConfirmed returns how many messages wait to be confirmed, by channel.
func (d Directory) HalfConfirmed() map[Channel]int {
	c := &d.hub.confirms
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := make(map[Channel]int, len(c.rounds))
	for ch, rounds := range c.rounds {
		waiting[ch] = len(rounds)
	}
	return waiting
}

// ForgetHalfConfirmed forgets what is half confirmed, because the gateway stops, tells of it,
// and returns the channels.
func (d Directory) ForgetHalfConfirmed() (on []Channel) {
	c := &d.hub.confirms
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.rounds {
		on = append(on, ch)
		d.hub.forgetRoundsLocked(ch, noticeRestart)
	}
	slices.Sort(on)
	return on
}

// confirm applies a channel's rule to what a sender says there. It returns who has confirmed
// a message that is to be delivered, nobody for a channel without a rule, or an Unconfirmed.
func (h *Hub) confirm(s *Sender, t Type, ch Channel, data []byte, v Voice, via Protocol) ([]SenderID, error) {
	rule, found := h.confirms.rule(ch)
	if !found {
		return nil, nil
	}
	if t == Send {
		return nil, fault(InvalidChannel, "channels", "channel %d wants %d to say the same, so nobody can be sent to there: broadcast instead", ch, rule.Confirm)
	}
	marks, proved := h.marksOf(s, v)
	if !proved && !rule.Unprotected {
		return nil, fault(NotProved, "sender", "channel %d counts users of the configuration, names that an operator protected (watchtower senders protect NAME) with their token, and devices with a key of their own: sender %d is none of these here", ch, s.id)
	}
	c := &h.confirms
	c.mu.Lock()
	defer c.mu.Unlock()
	now := h.now()
	sum := sha256.Sum256(data)
	r := c.rounds[ch][sum]
	if r != nil && !now.Before(r.until) {
		h.expireLocked(ch, sum, now)
		r = nil
	}
	if r == nil {
		if err := h.mayOpenLocked(ch, marks, now); err != nil {
			return nil, err
		}
		r = &round{rule: rule, until: now.Add(rule.Within)}
	}
	if i := slices.IndexFunc(r.voices, func(o voice) bool { return o.is(marks) }); i >= 0 {
		if o := &r.voices[i]; len(o.marks) < marksMost { // it may have another name by now
			o.marks = union(o.marks, marks)
		}
		return nil, r.unconfirmed(ch)
	}
	r.voices = append(r.voices, voice{marks, s.id, via})
	if len(r.voices) >= rule.Confirm {
		c.removeLocked(ch, sum)
		by := make([]SenderID, len(r.voices))
		for i, o := range r.voices {
			by[i] = o.sender
		}
		return by, nil
	}
	c.addLocked(ch, sum, r)
	h.counters.In(via, 1)
	h.noticeLocked(ch, len(r.voices), r, "")
	return nil, r.unconfirmed(ch)
}

func (r *round) unconfirmed(ch Channel) error {
	return &Unconfirmed{Channel: ch, Confirmed: len(r.voices), Of: r.rule.Confirm, Until: r.until}
}

// marksOf returns by what a sender is told from others, and whether it is proved. One person
// may have many senders, and a sender many names after one another. A name that protects itself
// as it registers proves nothing: who has the secret key can make many of these.
func (h *Hub) marksOf(s *Sender, v Voice) (marks []string, proved bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	marks = append(marks, "sender "+strconv.FormatUint(uint64(s.id), 10))
	if name := s.Name(); name != "" {
		marks = append(marks, "name "+name)
	}
	user := s.user
	if v.User != "" {
		user = v.User
	}
	if _, known := h.users[user]; known {
		marks, proved = append(marks, "user "+user), v.Proved || v.User != ""
	}
	if v.Key != "" {
		marks, proved = append(marks, "name "+v.Key), true
	}
	return marks, proved || v.Proved && (s.approved || h.hasKeyLocked(s))
}

// mayOpenLocked refuses a message that nobody has said yet if too much waits already.
func (h *Hub) mayOpenLocked(ch Channel, marks []string, now time.Time) error {
	for sum := range h.confirms.rounds[ch] {
		h.expireLocked(ch, sum, now)
	}
	mine := 0
	for _, r := range h.confirms.rounds[ch] {
		if slices.ContainsFunc(r.voices, func(o voice) bool { return o.is(marks) }) {
			mine++
		}
	}
	if mine >= roundsOfOne || len(h.confirms.rounds[ch]) >= roundsMost {
		return fault(TooManyRequests, "message", "too many different messages wait to be confirmed on channel %d: at most %d, and %d of one sender", ch, roundsMost, roundsOfOne)
	}
	return nil
}

// expireLocked forgets a message that was not confirmed in time, and tells of it.
func (h *Hub) expireLocked(ch Channel, sum [sha256.Size]byte, now time.Time) {
	r := h.confirms.rounds[ch][sum]
	if now.Before(r.until) {
		return
	}
	h.confirms.removeLocked(ch, sum)
	h.dropRound(r)
	h.noticeLocked(ch, 0, r, noticeExpired)
}

// expireHalfConfirmed forgets all that was not confirmed in time.
func (h *Hub) expireHalfConfirmed() {
	h.confirms.mu.Lock()
	defer h.confirms.mu.Unlock()
	now := h.now()
	for ch, rounds := range h.confirms.rounds {
		for sum := range rounds {
			h.expireLocked(ch, sum, now)
		}
	}
}

// forgetRoundsLocked forgets what is half confirmed on a channel, and tells why.
func (h *Hub) forgetRoundsLocked(ch Channel, why string) {
	var last *round
	for _, r := range h.confirms.rounds[ch] {
		h.dropRound(r)
		last = r
	}
	delete(h.confirms.rounds, ch)
	h.confirms.change()
	if last != nil {
		h.noticeLocked(ch, 0, last, why)
	}
}

// dropRound counts what is not delivered.
func (h *Hub) dropRound(r *round) {
	for _, o := range r.voices {
		h.counters.Drop(o.via, NotConfirmed, 1)
	}
}

func (c *confirms) addLocked(ch Channel, sum [sha256.Size]byte, r *round) {
	if c.rounds == nil {
		c.rounds = map[Channel]map[[sha256.Size]byte]*round{}
	}
	if c.rounds[ch] == nil {
		c.rounds[ch] = map[[sha256.Size]byte]*round{}
		c.change()
	}
	c.rounds[ch][sum] = r
}

func (c *confirms) removeLocked(ch Channel, sum [sha256.Size]byte) {
	delete(c.rounds[ch], sum)
	if len(c.rounds[ch]) == 0 {
		delete(c.rounds, ch)
		c.change()
	}
}

func (c *confirms) change() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// keepHalfConfirmed has the channels with something half confirmed kept, if they changed.
func (h *Hub) keepHalfConfirmed() {
	c := &h.confirms
	c.mu.Lock()
	on := slices.Sorted(maps.Keys(c.rounds))
	c.mu.Unlock()
	if h.opts.KeepHalfConfirmed != nil && !slices.Equal(on, c.kept) {
		h.opts.KeepHalfConfirmed(on)
		c.kept = on
	}
}

// TellForgotten tells that an earlier run of the gateway forgot what was half confirmed on
// these channels.
func (d Directory) TellForgotten(on []Channel) {
	c := &d.hub.confirms
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range on {
		if rule, found := c.rule(ch); found {
			d.hub.noticeLocked(ch, 0, &round{rule: rule}, noticeRestart)
		}
	}
}

func union(a, b []string) []string {
	for _, mark := range b {
		if !slices.Contains(a, mark) {
			a = append(a, mark)
		}
	}
	return a
}

// Why a notice says that nothing is confirmed any more.
const (
	noticeExpired = "expired"
	noticeReload  = "reload"
	noticeRestart = "restart"
)

// noticeLocked tells a channel's members, and the bus, how many have confirmed. The lock
// keeps notices in order. Nothing here waits: notices go into queues.
func (h *Hub) noticeLocked(ch Channel, confirmed int, r *round, why string) {
	text := fmt.Appendf(nil, `{"type":"confirm","channel":%d,"confirmed":%d,"of":%d`, ch, confirmed, r.rule.Confirm)
	if confirmed > 0 {
		text = r.until.UTC().AppendFormat(append(text, `,"until":"`...), "2006-01-02T15:04:05.000Z")
		text = append(text, '"')
	}
	if why != "" {
		text = append(append(append(text, `,"reason":"`...), why...), '"')
	}
	text = append(text, '}')
	if err := h.bus.PublishOwn(h.tree.Confirm(ch), text); err != nil && h.opts.Log != nil {
		h.opts.Log.WithError(err).WithField("channel", ch).Warn("notice of a confirmation not published")
	}
	now := h.now()
	_ = h.handNotice(&Message{ID: h.ids.next(now), Time: now, Type: Notice, Channel: ch, Data: text, Hint: JSON, Via: h.bus.Protocol()})
}
