package bridge

import (
	"strconv"
	"strings"
)

// Tree names the topics of the gateway. Under <base>/channels there is nothing
// but messages:
//
//	<base>/channels/<channel>/broadcast/<sender>
//	<base>/channels/<channel>/send/<receiver>/<sender>
//
// Ids and channels are decimal, without sign or leading zeros.
type Tree struct {
	base    string
	levels  []string
	gateway string
}

// The first level of the topics below the base. Clients own none of them.
const (
	levelChannels      = "channels"
	levelMembers       = "members"
	levelGateways      = "gateways"
	levelMe            = "me"
	levelConfirm       = "confirm"
	levelHomeAssistant = "homeassistant"
)

// NewTree returns the tree below base for the gateway of that name. Both are
// taken as valid: the configuration checks them.
func NewTree(base, gateway string) *Tree {
	return &Tree{base: base, levels: strings.Split(base, "/"), gateway: gateway}
}

// Members is the retained topic of a channel's members at this gateway.
func (t *Tree) Members(c Channel) string {
	return t.MembersAt(c, t.gateway)
}

// MembersAt is the retained topic of a channel's members at a gateway.
func (t *Tree) MembersAt(c Channel, gateway string) string {
	return t.base + "/" + levelMembers + "/" + strconv.FormatUint(uint64(c), 10) + "/" + gateway
}

// Confirm is the topic that tells how many have confirmed a message of a channel. It is not
// retained.
func (t *Tree) Confirm(c Channel) string {
	return t.base + "/" + levelConfirm + "/" + strconv.FormatUint(uint64(c), 10)
}

// Status is the retained topic that says whether this gateway is online.
func (t *Tree) Status() string { return t.base + "/" + levelGateways + "/" + t.gateway + "/status" }

// Info is the retained topic that describes this gateway.
func (t *Tree) Info() string { return t.base + "/" + levelGateways + "/" + t.gateway + "/info" }

// Refused is the topic that tells of refused publishes. It is not retained.
func (t *Tree) Refused() string { return t.base + "/" + levelGateways + "/" + t.gateway + "/refused" }

// Me is the topic that tells each subscriber its own id and name.
func (t *Tree) Me() string { return t.base + "/" + levelMe }

// HomeAssistant is a topic of this gateway's for Home Assistant.
func (t *Tree) HomeAssistant(c Channel, rest string) string {
	return t.HomeAssistants() + strconv.FormatUint(uint64(c), 10) + "/" + rest
}

// HomeAssistants is how all topics of HomeAssistant begin.
func (t *Tree) HomeAssistants() string {
	return t.base + "/" + levelHomeAssistant + "/" + t.gateway + "/"
}

// Say is the topic to which a client publishes a broadcast.
func (t *Tree) Say(c Channel) string {
	return t.base + "/" + levelChannels + "/" + strconv.FormatUint(uint64(c), 10) + "/broadcast"
}

// Tell is the topic to which a client publishes what is for one receiver.
func (t *Tree) Tell(c Channel, receiver SenderID) string {
	return t.base + "/" + levelChannels + "/" + strconv.FormatUint(uint64(c), 10) + "/send/" + strconv.FormatUint(uint64(receiver), 10)
}

// Gateway is this gateway's name.
func (t *Tree) Gateway() string { return t.gateway }

// AppendTopic appends the topic of a message.
func (t *Tree) AppendTopic(dst []byte, m *Message) []byte {
	dst = append(dst, t.base...)
	dst = append(dst, "/"+levelChannels+"/"...)
	dst = strconv.AppendUint(dst, uint64(m.Channel), 10)
	if m.Type == Send {
		dst = append(dst, "/send/"...)
		dst = strconv.AppendUint(dst, uint64(m.Receiver), 10)
		dst = append(dst, '/')
	} else {
		dst = append(dst, "/broadcast/"...)
	}
	return strconv.AppendUint(dst, uint64(m.Sender), 10)
}

// Address is what a topic under <base>/channels says. Sender is 0 if the topic leaves it
// to the gateway. The receiver is given by its id, or by its name if Receiver is 0.
type Address struct {
	Type         Type
	Channel      Channel
	Receiver     SenderID
	ReceiverName string
	Sender       SenderID
}

// Place says to whom a topic belongs.
type Place uint8

// The places of a topic.
const (
	Outside   Place = iota // the clients' own
	OnChannel              // a message on a channel
	Reserved               // the gateway's, or under the base and not in the tree
)

// ParsePublish reads the topic of a publish. It returns the address of a message on a
// channel, and for a reserved topic the reason to refuse it.
func (t *Tree) ParsePublish(topic string) (Place, Address, *Error) {
	rest, under := t.below(topic)
	if !under {
		return Outside, Address{}, nil
	}
	channel, ok := strings.CutPrefix(rest, levelChannels+"/")
	if !ok {
		return Reserved, Address{}, fault(InvalidChannel, "topic", "nothing but %s/channels/… under %s may be published to", t.base, t.base)
	}
	var room [5]string
	l := split(room[:0], channel)
	id, ok := ParseID(l[0])
	if !ok {
		return Reserved, Address{}, fault(InvalidChannel, "topic", "the channel %.40q is not a number from 1 to 4294967295", l[0])
	}
	a := Address{Channel: Channel(id)}
	ok = len(l) > 1
	ids := l[min(2, len(l)):]
	switch {
	case ok && l[1] == "broadcast" && len(ids) <= 1:
	case ok && l[1] == "send" && (len(ids) == 1 || len(ids) == 2):
		a.Type = Send
		r, isID := ParseID(ids[0])
		switch {
		case isID:
			a.Receiver = SenderID(r)
		case ValidName(ids[0]) && !allDigits(ids[0]):
			a.ReceiverName = ids[0]
		default:
			return Reserved, a, fault(InvalidReceiver, "topic", "the receiver %.40q is neither a number from 1 to 4294967295 nor a name", ids[0])
		}
		ids = ids[1:]
	default:
		return Reserved, a, fault(InvalidChannel, "topic", "publish to %s/channels/%d/broadcast or …/send/<receiver>", t.base, id)
	}
	if len(ids) == 1 {
		s, ok := ParseID(ids[0])
		if !ok {
			return Reserved, a, fault(InvalidSender, "topic", "the sender %.40q is not a number from 1 to 4294967295", ids[0])
		}
		a.Sender = SenderID(s)
	}
	return OnChannel, a, nil
}

// OnChannel reports whether a topic is below <base>/channels.
func (t *Tree) OnChannel(topic string) bool {
	rest, under := t.below(topic)
	return under && strings.HasPrefix(rest, levelChannels+"/")
}

// split appends the levels of a topic to l. The last place of l gets the rest: l has room
// for one level more than any topic of the tree.
func split(l []string, topic string) []string {
	for len(l) < cap(l)-1 {
		level, rest, more := strings.Cut(topic, "/")
		l = append(l, level)
		if !more {
			return l
		}
		topic = rest
	}
	return append(l, topic)
}

// below cuts the base off a topic.
func (t *Tree) below(topic string) (rest string, under bool) {
	rest, ok := strings.CutPrefix(topic, t.base)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", false
	}
	return strings.TrimPrefix(rest, "/"), true
}

// Filter is what a subscription's topic filter means to the channels.
type Filter struct {
	Channel    Channel  // the literal channel; 0: it has none, and joins nothing
	Broadcasts bool     // it matches the channel's broadcasts
	Sends      bool     // it matches targeted sends to Receiver
	Receiver   SenderID // 0: to anybody
	Short      bool     // it is a topic to publish to, and gets the messages with exactly that topic
}

// ParseFilter reads a topic filter without its share name. It refuses a filter under the
// base that can match nothing there.
func (t *Tree) ParseFilter(filter string) (Filter, *Error) {
	l := strings.Split(filter, "/")
	wild := false // it matches other bases as well, and may mean those
	for _, base := range t.levels {
		if len(l) == 0 || l[0] == "#" || (l[0] != "+" && l[0] != base) {
			return Filter{}, nil
		}
		wild = wild || l[0] == "+"
		l = l[1:]
	}
	f, err := t.parseBelow(l)
	if wild && err != nil {
		return Filter{}, nil
	}
	return f, err
}

// parseBelow reads the levels of a filter below the base.
func (t *Tree) parseBelow(l []string) (Filter, *Error) {
	if len(l) == 0 {
		return Filter{}, fault(InvalidChannel, "filter", "nothing is published to %s itself: subscribe to %s/#", t.base, t.base)
	}
	switch l[0] {
	case "#":
		return Filter{}, nil
	case levelMembers, levelGateways, levelMe, levelConfirm, levelHomeAssistant:
		if !ownFilter(l[0], l[1:]) {
			return Filter{}, fault(InvalidChannel, "filter", "nothing is published there under %s/%s: docs/topics.md lists what is", t.base, l[0])
		}
		return Filter{}, nil
	case "+":
		f, _ := channelFilter(l[1:]) // matches the other topics of the tree as well
		return f, nil
	case levelChannels:
		if f, ok := shortFilter(l[1:]); ok {
			return f, nil
		}
		f, ok := channelFilter(l[1:])
		if !ok {
			return f, fault(InvalidChannel, "filter", "no message has such a topic: subscribe to %s/channels/<channel>/broadcast/+ or …/<channel>/#", t.base)
		}
		return f, nil
	}
	return Filter{}, fault(InvalidChannel, "filter", "there is nothing of that name under %s: subscribe to %s/channels/<channel>/#, or to %s/# for all", t.base, t.base, t.base)
}

// ownFilter reports whether a filter can match one of the gateways' own topics. For Home
// Assistant it checks the levels of the gateway and the channel only.
func ownFilter(kind string, l []string) bool {
	channel := func(s string) bool { _, ok := ParseID(s); return ok }
	about := func(s string) bool { return s == "status" || s == "info" || s == "refused" }
	switch kind {
	case levelMembers:
		return matchLevels(l, channel, ValidName)
	case levelConfirm:
		return matchLevels(l, channel)
	case levelGateways:
		return matchLevels(l, ValidName, about)
	case levelHomeAssistant:
		more := l[min(2, len(l)):]
		return matchLevels(l[:len(l)-len(more)], ValidName, channel) && (len(more) > 0 || l[len(l)-1] == "#")
	}
	return matchLevels(l)
}

// matchLevels reports whether filter levels can match a topic with as many levels as
// there are functions, each accepted by its function.
func matchLevels(l []string, is ...func(string) bool) bool {
	for _, is := range is {
		if len(l) == 0 {
			return false
		}
		if l[0] == "#" {
			return true
		}
		if l[0] != "+" && !is(l[0]) {
			return false
		}
		l = l[1:]
	}
	return len(l) == 0 || len(l) == 1 && l[0] == "#"
}

// shortFilter reads a filter that is a topic to publish to: <channel>/broadcast or
// <channel>/send. It is given the levels after <base>/channels.
func shortFilter(l []string) (f Filter, ok bool) {
	if len(l) != 2 {
		return f, false
	}
	id, ok := ParseID(l[0])
	f = Filter{Channel: Channel(id), Broadcasts: l[1] == "broadcast", Sends: l[1] == "send", Short: true}
	return f, ok && (f.Broadcasts || f.Sends)
}

// Whole returns the filter with the levels that a short one leaves out, as +. Its
// argument has no share name.
func (f Filter) Whole(filter string) string {
	switch {
	case f.Short && f.Broadcasts:
		return filter + "/+"
	case f.Short:
		return filter + "/+/+"
	}
	return filter
}

// ShortTopic returns the topic with which a short filter gets a message.
func ShortTopic(topic string, of Type) string {
	topic = topic[:strings.LastIndexByte(topic, '/')]
	if of == Send {
		topic = topic[:strings.LastIndexByte(topic, '/')]
	}
	return topic
}

// channelFilter reads what follows <base>/channels. It reports false if no
// message can match.
func channelFilter(l []string) (Filter, bool) {
	if len(l) == 0 {
		return Filter{}, false
	}
	if l[0] == "#" {
		return Filter{}, true
	}
	var f Filter
	if l[0] != "+" {
		id, ok := ParseID(l[0])
		if !ok {
			return f, false
		}
		f.Channel = Channel(id)
	}
	_, f.Broadcasts = matchIDs(l[1:], "broadcast", 1)
	f.Receiver, f.Sends = matchIDs(l[1:], "send", 2)
	return f, f.Broadcasts || f.Sends
}

// matchIDs reports whether filter levels match kind followed by n ids, and the
// first id if it is literal.
func matchIDs(l []string, kind string, n int) (first SenderID, ok bool) {
	for i := 0; i <= n; i++ {
		switch {
		case len(l) == 0:
			return 0, false
		case l[0] == "#":
			return first, true
		case l[0] == "+":
		case i == 0:
			if l[0] != kind {
				return 0, false
			}
		default:
			id, ok := ParseID(l[0])
			if !ok {
				return 0, false
			}
			if i == 1 {
				first = SenderID(id)
			}
		}
		l = l[1:]
	}
	return first, len(l) == 0 || (len(l) == 1 && l[0] == "#")
}

// allDigits reports whether a text is an id, or meant as one, and so never a name.
func allDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// ParseID reads an id or channel: decimal, 1 to 4294967295, no leading zeros.
func ParseID(s string) (uint32, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' || len(s) > 10 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// ValidName reports whether s can be a sender's or gateway's name: 1 to 64 of
// A–Z a–z 0–9 _ . : -
func ValidName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return true
}
