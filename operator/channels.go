package operator

import (
	"cmp"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"watchtower/bridge"
)

// How busy a channel is: its messages in each of the last pulseSeconds.
const (
	pulseSeconds = 60
	previewBytes = 160
)

// pulse is how many messages a channel had in each of the last seconds, the newest last.
type pulse struct {
	said    uint64
	seconds []uint16 // nil: there were none
	quiet   int      // for how many seconds
}

// pulses are those of all channels. They beat while somebody looks.
type pulses struct {
	mu     sync.Mutex
	of     map[bridge.Channel]*pulse
	looked time.Time
}

// looking says that somebody looks. What was said before counts for nothing.
func (ps *pulses) looking(now time.Time, hub *bridge.Hub) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.of == nil {
		ps.of = map[bridge.Channel]*pulse{}
		for _, info := range hub.Directory().Look() {
			ps.of[info.Channel] = &pulse{said: info.Said}
		}
	}
	ps.looked = now
}

// beat notes one second, and returns the channels on which something was said in it.
func (ps *pulses) beat(now time.Time, hub *bridge.Hub) (spoken []bridge.ChannelInfo) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if now.Sub(ps.looked) > pulseSeconds*time.Second {
		ps.of = nil
	}
	if ps.of == nil {
		return nil
	}
	all := hub.Directory().Look()
	before := ps.of
	ps.of = make(map[bridge.Channel]*pulse, len(all)) // without those that are gone
	for _, info := range all {
		p := before[info.Channel]
		if p == nil || p.said > info.Said { // it is new since
			p = &pulse{}
		}
		ps.of[info.Channel] = p
		n := info.Said - p.said
		p.said = info.Said
		if n > 0 {
			p.quiet = 0
			spoken = append(spoken, info)
		} else if p.quiet++; p.quiet >= pulseSeconds {
			p.seconds = nil
			continue
		}
		p.seconds = append(p.seconds, uint16(min(n, 1<<16-1)))
		p.seconds = p.seconds[max(0, len(p.seconds)-pulseSeconds):]
	}
	return spoken
}

// seconds returns a channel's, and how many messages the last ten had.
func (ps *pulses) seconds(c bridge.Channel) (seconds []uint16, lately int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.of[c]
	if p == nil {
		return []uint16{}, 0
	}
	for _, n := range p.seconds[max(0, len(p.seconds)-10):] {
		lately += int(n)
	}
	return append([]uint16{}, p.seconds...), lately // never null
}

// channel is a channel as it is shown.
type channel struct {
	Channel bridge.Channel `json:"channel"`
	Name    string         `json:"name,omitempty"`
	Count   int            `json:"count"` // members
	Via     map[string]int `json:"via"`   // what makes them members, by protocol
	Seconds []uint16       `json:"seconds"`
	Last    *preview       `json:"last,omitempty"`
}

// preview is the beginning of a message.
type preview struct {
	ID     string          `json:"id,omitempty"` // empty: more is not known of it
	Time   time.Time       `json:"time"`
	Sender bridge.SenderID `json:"sender,omitempty"`
	Name   string          `json:"name,omitempty"`
	Kind   string          `json:"kind,omitempty"` // text, json, bytes
	Text   string          `json:"text,omitempty"`
	Bytes  int             `json:"bytes,omitempty"`
}

// channelNow returns what a channel is now.
func (s *Service) channelNow(info bridge.ChannelInfo, names map[bridge.Channel]string) channel {
	c := channel{Channel: info.Channel, Name: names[info.Channel], Via: map[string]int{}}
	var via map[bridge.Protocol]int
	c.Count, via = s.hub.Directory().CountMembers(info.Channel)
	for p, n := range via {
		c.Via[p.String()] = n
	}
	c.Seconds, _ = s.pulses.seconds(info.Channel)
	if m := s.opts.LastOn(info.Channel); m != nil {
		c.Last = previewOf(m)
	} else if !info.Last.IsZero() {
		c.Last = &preview{Time: info.Last.UTC().Truncate(time.Millisecond)}
	}
	return c
}

func previewOf(m *bridge.Message) *preview {
	p := &preview{ID: m.ID.String(), Time: m.Time.UTC().Truncate(time.Millisecond), Sender: m.Sender, Name: m.Name, Bytes: len(m.Data)}
	p.Kind, p.Text = describe(m.Hint, m.Data)
	return p
}

// describe says of which kind data is, and how it begins: text as it is, bytes in
// hexadecimal.
func describe(hint bridge.Hint, data []byte) (kind, text string) {
	begin := data[:min(len(data), previewBytes)]
	switch {
	case !utf8.Valid(data):
		return "bytes", hexOf(begin[:min(len(begin), previewBytes/3)])
	case hint == bridge.JSON:
		kind = "json"
	default:
		kind = "text"
	}
	for len(begin) > 0 && !utf8.Valid(begin) { // a character was cut
		begin = begin[:len(begin)-1]
	}
	return kind, string(begin)
}

func hexOf(b []byte) string {
	var text strings.Builder
	for i, c := range b {
		if i > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(strconv.FormatUint(uint64(c)>>4, 16) + strconv.FormatUint(uint64(c)&15, 16))
	}
	return text.String()
}

// listChannels answers GET /operator/channels.
func (s *Service) listChannels(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "order", "find", "from", "limit"); err != nil {
		return err
	}
	s.pulses.looking(s.opts.Now(), s.hub)
	q := r.URL.Query()
	from, err := number(q.Get("from"), 1, 1<<32-1)
	if err != nil {
		return fault(invalidQuery, "from", "must be a place in the list, is %q", bridge.Shorten(q.Get("from")))
	}
	limit, err := pageSize(q.Get("limit"))
	if err != nil {
		return err
	}
	names := s.opts.About().Channels
	all := s.withNamed(s.hub.Directory().Look(), names)
	if find := strings.ToLower(q.Get("find")); find != "" {
		all = slices.DeleteFunc(all, func(c bridge.ChannelInfo) bool {
			number := strconv.FormatUint(uint64(c.Channel), 10)
			return !strings.Contains(number, find) && !strings.Contains(strings.ToLower(names[c.Channel]), find)
		})
	}
	if err := s.order(all, q.Get("order")); err != nil {
		return err
	}
	all = all[min(int(from)-1, len(all)):]
	next := uint64(0)
	if len(all) > limit {
		all, next = all[:limit], from+uint64(limit)
	}
	list := make([]channel, 0, len(all))
	for _, info := range all {
		list = append(list, s.channelNow(info, names))
	}
	return s.answer(w, struct {
		Channels []channel `json:"channels"`
		Next     uint64    `json:"next,omitempty"`
	}{list, next})
}

// withNamed adds the channels that the configuration names and nobody is on.
func (s *Service) withNamed(all []bridge.ChannelInfo, names map[bridge.Channel]string) []bridge.ChannelInfo {
	there := make(map[bridge.Channel]bool, len(all))
	for _, c := range all {
		there[c.Channel] = true
	}
	for c := range names {
		if !there[c] {
			all = append(all, bridge.ChannelInfo{Channel: c})
		}
	}
	return all
}

// order sorts channels as a query asks for: by number, by how much was said lately, or by
// when something was said last.
func (s *Service) order(all []bridge.ChannelInfo, by string) error {
	lately := map[bridge.Channel]int{}
	switch by {
	case "", "number", "last":
	case "busy":
		for _, c := range all {
			_, lately[c.Channel] = s.pulses.seconds(c.Channel)
		}
	default:
		return fault(invalidQuery, "order", "must be number, busy or last, is %q", bridge.Shorten(by))
	}
	slices.SortFunc(all, func(a, b bridge.ChannelInfo) int {
		order := lately[b.Channel] - lately[a.Channel]
		if by == "last" {
			order = b.Last.Compare(a.Last)
		}
		return cmp.Or(order, cmp.Compare(a.Channel, b.Channel))
	})
	return nil
}

// tellChannels gives pages that follow them the channels on which something was said in
// the last second.
func (s *Service) tellChannels() {
	follow := false
	s.pages.each(func(p *page) {
		p.mu.Lock()
		follow = follow || p.channels
		p.mu.Unlock()
	})
	now := s.opts.Now()
	if follow {
		s.pulses.looking(now, s.hub)
	}
	spoken := s.pulses.beat(now, s.hub)
	if !follow || len(spoken) == 0 {
		return
	}
	names := s.opts.About().Channels
	list := make([]channel, 0, min(len(spoken), mostPage))
	for _, info := range spoken[:min(len(spoken), mostPage)] {
		list = append(list, s.channelNow(info, names))
	}
	text := mustJSON(struct {
		Type     string    `json:"type"`
		Channels []channel `json:"channels"`
	}{"channels", list})
	s.pages.each(func(p *page) {
		p.mu.Lock()
		if p.channels {
			p.rawLocked(text)
		}
		p.mu.Unlock()
		p.rouse()
	})
}

// channelOf reads a channel of a path.
func channelOf(text string) (bridge.Channel, error) {
	n, ok := bridge.ParseID(text)
	if !ok {
		return 0, fault(bridge.InvalidChannel, "path", "%s is not a channel from 1 to 4294967295", bridge.Shorten(text))
	}
	return bridge.Channel(n), nil
}

// member is a member of a channel as it is shown.
type member struct {
	ID   bridge.SenderID `json:"id"`
	Name string          `json:"name,omitempty"`
	Via  []way           `json:"via"`

	Gateway string `json:"gateway,omitempty"` // the other one by which it is a member
}

// way is how a member gets what is said.
type way struct {
	Protocol string    `json:"protocol"`
	Since    time.Time `json:"since,omitzero"` // not known at another gateway
	Away     bool      `json:"away,omitempty"` // its stream has ended; it may come back
}

// listMembers answers GET /operator/channels/{id}/members.
func (s *Service) listMembers(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "from", "limit"); err != nil {
		return err
	}
	c, err := channelOf(r.id)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	from, err := number(q.Get("from"), 1, 1<<32-1)
	if err != nil {
		return fault(invalidQuery, "from", "must be a sender's id, is %q", bridge.Shorten(q.Get("from")))
	}
	limit, err := pageSize(q.Get("limit"))
	if err != nil {
		return err
	}
	count, _ := s.hub.Directory().CountMembers(c)
	infos, next := s.hub.Directory().LookAtMembers(c, bridge.SenderID(from), limit)
	list := make([]member, 0, len(infos))
	for _, info := range infos {
		m := member{ID: info.ID, Name: info.Name, Via: []way{}, Gateway: info.Gateway}
		for _, a := range info.Via {
			m.Via = append(m.Via, way{a.Protocol.String(), a.Since.UTC(), a.Away})
		}
		list = append(list, m)
	}
	return s.answer(w, struct {
		Count   int             `json:"count"`
		Members []member        `json:"members"`
		Next    bridge.SenderID `json:"next,omitempty"`
	}{count, list, next})
}
