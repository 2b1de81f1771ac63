package http

import (
	"cmp"
	"maps"
	nethttp "net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/jsonline"
	"watchtower/history"
)

// mailbox holds the messages of channels for one sender until it polls. If it does not poll
// for MailboxTimeout, it leaves its channels.
type mailbox struct {
	server *Server
	sender *bridge.Sender
	wake   chan struct{} // signals a message or the end
	expiry *time.Timer

	mu       sync.Mutex // may be taken before the hub's lock
	joined   map[bridge.Channel]*bridge.Attachment
	gaps     []bridge.Channel // returned before the messages
	messages []*bridge.Message
	bytes    int
	readers  int
	ended    bool
}

// joinMailbox answers POST /channels/join.
func (s *Server) joinMailbox(w nethttp.ResponseWriter, r *nethttp.Request) error {
	j, _, err := s.joiner(r)
	if err != nil {
		return err
	}
	if err := s.openMailbox(j); err != nil {
		return err
	}
	return s.answer(w, channelList{j.channels})
}

// openMailbox joins channels with the sender's mailbox, and makes one if there is none.
func (s *Server) openMailbox(j join) error {
	for {
		s.mu.Lock()
		box := s.mailboxes[j.sender]
		if box == nil {
			if s.ending {
				s.mu.Unlock()
				return errStopping()
			}
			box = &mailbox{server: s, sender: j.sender, wake: make(chan struct{}, 1), joined: map[bridge.Channel]*bridge.Attachment{}}
			box.expiry = time.AfterFunc(s.opts.MailboxTimeout, box.expire)
			s.mailboxes[j.sender] = box
		}
		s.mu.Unlock()
		if again, err := box.join(j); !again {
			return err
		}
	}
}

// join attaches the mailbox to channels; again if it is attached with another echo. On an
// error it is attached to no new one. Missed messages (since) are merged with the waiting
// ones. It reports true if the mailbox has ended meanwhile.
func (b *mailbox) join(j join) (again bool, err error) {
	err = b.server.history.Join(func(now history.Moment) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if again = b.ended; again {
			return nil
		}
		return b.joinLocked(j, now)
	})
	return again, err
}

func (b *mailbox) joinLocked(j join, now history.Moment) error {
	var fresh []bridge.Channel
	for _, c := range j.channels {
		old := b.joined[c]
		if old != nil && old.NoEcho == j.noEcho && (j.since == nil || old.Replays) {
			continue
		}
		// A replacement replays too, so that it gets the messages that are on their way.
		a := &bridge.Attachment{Via: Protocol, Notices: true, Polls: true, Returns: true, Broadcasts: true, Sends: true, NoEcho: j.noEcho, Member: b, Replays: j.since != nil || old != nil}
		a.Ended = func() { b.left(c, a) }
		if err := b.server.hub.Attach(b.sender, c, a); err != nil {
			b.detachLocked(fresh)
			if len(b.joined) == 0 {
				b.endLocked()
			}
			return err
		}
		b.joined[c] = a
		if old != nil {
			b.server.hub.Detach(old)
		} else {
			fresh = append(fresh, c)
		}
	}
	if j.since != nil {
		b.fillLocked(now, now.Missed(*j.since, j.channels, b.sender, j.noEcho))
	}
	return nil
}

// fillLocked merges missed messages with the waiting ones, in the order of publication,
// without duplicates.
func (b *mailbox) fillLocked(now history.Moment, missed history.Missed) {
	all := b.messages
	waits := make(map[*bridge.Message]bool, len(all))
	for _, m := range all {
		waits[m] = true
	}
	for _, m := range missed.Messages {
		if !waits[m] {
			all = append(all, m)
		}
	}
	places := now.Places(all) // 0, so first: no longer in the history
	slices.SortStableFunc(all, func(m, n *bridge.Message) int { return cmp.Compare(places[m], places[n]) })
	b.messages, b.bytes = nil, 0
	b.gaps = sorted(append(b.gaps, missed.Gaps...))
	for _, m := range all {
		b.addLocked(m)
	}
	b.wakeUp()
}

func (b *mailbox) detachLocked(channels []bridge.Channel) {
	for _, c := range channels {
		b.server.hub.Detach(b.joined[c])
		delete(b.joined, c)
	}
}

// left notes that the sender has left a channel.
func (b *mailbox) left(c bridge.Channel, a *bridge.Attachment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.joined[c] != a {
		return
	}
	delete(b.joined, c)
	if len(b.joined) == 0 {
		b.endLocked()
		b.server.hub.Holds().Parted(b.sender, Protocol, bridge.LeftByGoodbye)
	}
}

// expire ends a mailbox without a reader.
func (b *mailbox) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readers == 0 && !b.ended {
		b.endLocked()
		b.server.hub.Holds().Parted(b.sender, Protocol, bridge.LeftBySilence)
	}
}

// endLocked leaves all channels and drops the waiting messages.
func (b *mailbox) endLocked() {
	b.ended = true
	b.expiry.Stop()
	for _, a := range b.joined {
		b.server.hub.Detach(a)
	}
	b.server.hub.Counters().Lose(b.sender, Protocol, bridge.Disconnected, len(b.messages))
	b.joined, b.messages = nil, nil
	b.server.forgetMailbox(b)
	b.wakeUp()
}

func (s *Server) forgetMailbox(b *mailbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mailboxes[b.sender] == b {
		delete(s.mailboxes, b.sender)
	}
}

func (b *mailbox) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// add adds a message. The oldest ones make room, and leave a gap.
func (b *mailbox) add(m *bridge.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		b.server.hub.Counters().Lose(b.sender, Protocol, bridge.Disconnected, 1)
		return false
	}
	b.addLocked(m)
	b.wakeUp()
	return true
}

func (b *mailbox) addLocked(m *bridge.Message) {
	b.messages = append(b.messages, m)
	b.bytes += history.Size(m)
	for len(b.messages) > 1 && (len(b.messages) > b.server.opts.StreamQueue || b.bytes > b.server.opts.StreamBytes) {
		old := b.messages[0]
		b.messages[0] = nil
		b.messages = b.messages[1:]
		b.bytes -= history.Size(old)
		b.server.hub.Counters().Lose(b.sender, Protocol, bridge.QueueFull, 1)
		b.gaps = append(b.gaps, old.Channel)
	}
	b.gaps = sorted(b.gaps)
}

// take empties the mailbox. text has its messages as the elements of a JSON array.
func (b *mailbox) take(now time.Time) (text []byte, ended bool) {
	b.mu.Lock()
	gaps, messages := b.gaps, b.messages
	b.gaps, b.messages, b.bytes = nil, nil, 0
	ended = b.ended
	b.mu.Unlock()
	element := func() {
		if len(text) > 0 {
			text = append(text, ',')
		}
	}
	for _, c := range gaps {
		element()
		text = jsonline.AppendGap(text, c)
	}
	for _, m := range messages {
		if m.Expired(now) {
			b.server.hub.Counters().Lose(b.sender, Protocol, bridge.Expired, 1)
			continue
		}
		element()
		text = jsonline.Append(text, m)
	}
	return text, ended
}

// mostWait is the longest wait of GET /messages, in seconds.
const mostWait = 300

// messages answers GET /messages with the waiting messages, or with the first that come
// within the client's wait.
func (s *Server) messages(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, q, err := s.asker(r, "sender", "wait")
	if err != nil {
		return err
	}
	wait := uint64(0)
	if q.Has("wait") {
		if wait, err = strconv.ParseUint(q.Get("wait"), 10, 32); err != nil || wait > mostWait {
			return fault(bridge.InvalidField, "wait", "%s is not a whole number of seconds from 0 to %d", bridge.Shorten(q.Get("wait")), mostWait)
		}
	}
	s.mu.Lock()
	box := s.mailboxes[sender]
	s.mu.Unlock()
	if box == nil || !box.beginReading() {
		return fault(notFound, "sender", "%d has no mailbox: POST /channels/join makes one", sender.ID())
	}
	defer box.endReading()
	late := time.NewTimer(time.Duration(wait) * time.Second)
	defer late.Stop()
	for waiting := wait > 0; ; {
		text, ended := box.take(s.hub.Now())
		if len(text) > 0 || !waiting || ended {
			s.writeBytes(w, nethttp.StatusOK, typeJSON, append(append([]byte(`{"messages":[`), text...), "]}\n"...))
			return nil
		}
		select {
		case <-box.wake:
		case <-late.C:
			waiting = false
		case <-s.quiet.Done():
			waiting = false
		case <-r.Context().Done():
			return nil // nothing was taken
		}
	}
}

func (b *mailbox) beginReading() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers++
	return !b.ended
}

func (b *mailbox) endReading() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers--
	if !b.ended {
		b.expiry.Reset(b.server.opts.MailboxTimeout)
	}
}

// endMailboxes ends all mailboxes.
func (s *Server) endMailboxes() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	for _, b := range s.allMailboxes() {
		b.mu.Lock()
		if !b.ended {
			b.endLocked()
		}
		b.mu.Unlock()
	}
}

// allMailboxes returns a copy, since a mailbox's lock is taken before the server's.
func (s *Server) allMailboxes() []*mailbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.mailboxes))
}
