package mqtt

import (
	"slices"
	"sync/atomic"

	"watchtower/bridge"
)

// route is a cached list of the receivers of a topic, or of what any sender says to an address:
// the members of a channel, or one of them. It is valid while seen is the current generation.
type route struct {
	topic    string // "": of an address
	to       destination
	bySender bool           // who gets what is said to the address depends on who says it
	changes  *atomic.Uint64 // the counter in router.changes for the topic's prefix
	seen     uint64         // router.generation before the topic was matched
	*receivers
}

// destination is a channel, and the receiver of a send on it.
type destination struct {
	channel  bridge.Channel
	receiver bridge.SenderID // 0: a broadcast
}

func destinationOf(a *bridge.Address) destination {
	if a.Type == bridge.Send {
		return destination{a.Channel, a.Receiver}
	}
	return destination{channel: a.Channel}
}

// target is a session that gets a topic, by one or more of its filters.
type target struct {
	session *session
	qos     byte
	noLocal bool // all of its filters are
	asIs    bool
	member  bool   // a filter names the channel
	short   bool   // it gets the short topic, without the sender
	subIDs  *[]int // subscription identifiers, in order; nil: none
}

// receivers are shared by all routes whose topics match the same subscriptions.
type receivers struct {
	of      []*subscription // matching ones, in the order of the tree
	targets []target
	groups  []*group
	watches []*watcher
	hash    uint64 // of the list of
	routes  int    // cached routes that share it
}

// any reports whether there is one.
func (rs *receivers) any() bool { return len(rs.targets)+len(rs.groups)+len(rs.watches) > 0 }

// watcher is a part of the gateway that gets messages by subscriptions without a session: each
// message once.
type watcher struct{ see func(m *message, stored bool) }

// group is a shared subscription: one of its targets gets a message.
type group struct {
	filter  string // share name included
	targets []target
	turn    atomic.Uint32

	elsewhere []*peerGroup // at other gateways
	round     atomic.Uint32
}

const (
	routeBytes  = 160 // a route without targets
	targetBytes = 64
)

// weight is about how many bytes they take.
func (rs *receivers) weight() int {
	n := routeBytes + 8*len(rs.of) + targetBytes*len(rs.targets)
	for _, g := range rs.groups {
		n += routeBytes + targetBytes*len(g.targets)
	}
	return n
}

// scanMost is up to how many targets are searched one by one.
const scanMost = 16

// newReceivers merges subscriptions by session, and shared ones by filter into groups.
func newReceivers(of []*subscription) *receivers {
	rs := &receivers{of: of}
	single := 0
	for _, sub := range of {
		if !sub.shared && sub.watch == nil {
			single++
		}
	}
	rs.targets = make([]target, 0, single)
	var places map[*session]int // in targets; nil: they are few
	if single > scanMost {
		places = make(map[*session]int, single)
	}
	var groups map[string]*group // by filter
	for _, sub := range of {
		switch {
		case sub.watch != nil:
			if !slices.Contains(rs.watches, sub.watch) {
				rs.watches = append(rs.watches, sub.watch)
			}
		case sub.shared:
			if groups == nil {
				groups = map[string]*group{}
			}
			rs.share(sub, groups)
		default:
			rs.add(sub, places)
		}
	}
	return rs
}

// share adds a shared subscription to its group.
func (rs *receivers) share(sub *subscription, groups map[string]*group) {
	g := groups[sub.filter]
	if g == nil {
		g = &group{filter: sub.filter}
		groups[sub.filter] = g
		rs.groups = append(rs.groups, g)
	}
	if sub.peer != nil {
		g.elsewhere = append(g.elsewhere, sub.peer)
		return
	}
	g.targets = append(g.targets, sub.target())
}

// add adds a session's subscription, or merges it with others of the session.
func (rs *receivers) add(sub *subscription, places map[*session]int) {
	i, merges := places[sub.session]
	if places == nil {
		i = slices.IndexFunc(rs.targets, func(t target) bool { return t.session == sub.session })
		merges = i >= 0
	}
	if merges {
		rs.targets[i].merge(sub)
		return
	}
	if places != nil {
		places[sub.session] = len(rs.targets)
	}
	rs.targets = append(rs.targets, sub.target())
}

func (sub *subscription) target() target {
	t := target{session: sub.session, qos: sub.qos, noLocal: sub.noLocal, asIs: sub.asIs, member: sub.means.Channel != 0, short: sub.means.Short}
	if sub.subID > 0 {
		t.subIDs = &[]int{sub.subID}
	}
	return t
}

func (t *target) delivery(m *message) delivery {
	if t.short {
		m = m.inShort()
	}
	d := delivery{m: m, subIDs: t.subIDs, qos: min(t.qos, m.qos)}
	if m.retain && t.asIs {
		d.marks = markRetain
	}
	return d
}

func (t *target) merge(sub *subscription) {
	t.qos = max(t.qos, sub.qos)
	t.noLocal = t.noLocal && sub.noLocal
	t.asIs = t.asIs || sub.asIs
	t.member = t.member || sub.means.Channel != 0
	t.short = t.short || sub.means.Short
	switch {
	case sub.subID == 0:
	case t.subIDs == nil:
		t.subIDs = &[]int{sub.subID}
	default:
		*t.subIDs = append(*t.subIDs, sub.subID)
		slices.Sort(*t.subIDs)
	}
}
