package mqtt

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"watchtower/bridge"
)

// target is a session that gets a topic, by however many of its filters.
type target struct {
	session *session
	qos     byte
	noLocal bool // all of its filters are
	asIs    bool
	member  bool   // by a filter with the channel in it
	short   bool   // it wants the topic that one speaks on
	subIDs  *[]int // subscription identifiers, in order; nil: none
}

// route is who gets a topic, as long as the subscriptions stay as they are.
type route struct {
	topic   string
	changes *atomic.Uint64 // router.changes of what the topic begins with
	seen    uint64         // what router.generation said of it before it was matched
	*receivers
}

// receivers are what the routes have in common whose topics match the same
// subscriptions: of a channel with many members, those of all who speak there.
type receivers struct {
	of      []*subscription // that matched, in the order of the tree
	targets []target
	groups  []*group
	watches []func(topic string, payload []byte)
	hash    uint64 // of them
	routes  int    // that are cached with these
}

// group is a shared subscription: one of its targets gets a message.
type group struct {
	filter  string // share name included
	targets []target
	turn    atomic.Uint32
}

// The cache of routes is bounded in number and in bytes, as it holds them, and starts again when
// it is full: topics that matter are back at once.
const (
	routesMax     = 1 << 16
	routeBytesMax = 16 << 20
	routeBytes    = 160 // of one without targets
	targetBytes   = 64
)

// weight is about how many bytes a route holds for itself.
func (rt *route) weight() int { return routeBytes + len(rt.topic) }

// weight is about how many bytes they hold.
func (rs *receivers) weight() int {
	n := routeBytes + 8*len(rs.of) + targetBytes*len(rs.targets)
	for _, g := range rs.groups {
		n += routeBytes + targetBytes*len(g.targets)
	}
	return n
}

// router finds who gets a topic. Matches are cached by topic. A change of a
// subscription makes those old that it may concern: of topics that begin as its
// filter does, up to the level of the channel, or of all if the filter has a
// wildcard so early. So one client that comes and goes does not cost all others
// their routes.
type router struct {
	tree *bridge.Tree

	depth   int                       // levels that are looked at
	seed    maphash.Seed              // of their hash
	changes [beginnings]atomic.Uint64 // by that
	changed atomic.Uint64             // of the others

	subsMu sync.RWMutex
	subs   levels[subscribers] // by filter, without the share name
	held   int                 // bytes of what is in subs, without the tree itself

	routesMu sync.RWMutex
	routes   map[string]*route
	lists    map[uint64]*receivers // by hash: what routes have in common
	bytes    int
}

// subscribers are the subscriptions to one filter.
type subscribers struct{ all []*subscription }

// beginnings is by how many kinds of beginnings changes are told apart.
const beginnings = 1 << 12

func newRouter(tree *bridge.Tree) *router {
	return &router{
		tree: tree, seed: maphash.MakeSeed(),
		depth:  strings.Count(tree.Say(1), "/"), // all but the last: the channel's is the last of these
		routes: map[string]*route{}, lists: map[uint64]*receivers{},
	}
}

// subscriptionBytes is about what a subscription takes of memory besides its
// filter's text and the tree: itself, its place in the tables of its session and
// of its filter, and its part in a channel.
const subscriptionBytes = 384

func (sub *subscription) bytes() int {
	n := subscriptionBytes + heapSize(len(sub.filter))
	if sub.means.Short {
		n += heapSize(len(sub.topics))
	}
	return n
}

// most is the most that a subscription adds to what the router holds: its own,
// and two nodes of the tree.
func (sub *subscription) most() int {
	return sub.bytes() + heapSize(len(sub.topics)) + 2*nodeBytes
}

// size is about what all subscriptions take of memory.
func (r *router) size() int {
	r.subsMu.RLock()
	defer r.subsMu.RUnlock()
	return r.held + r.subs.bytes
}

// add puts a subscription in force, in place of old if that is not nil.
func (r *router) add(sub, old *subscription) {
	filter := sub.topics
	r.subsMu.Lock()
	at := r.subs.get(filter)
	switch {
	case at == nil:
		r.subs.set(filter, &subscribers{all: []*subscription{sub}})
		r.held += sub.bytes()
	case old != nil:
		at.all[slices.Index(at.all, old)] = sub
	default:
		at.all = append(at.all, sub)
		r.held += sub.bytes()
	}
	r.subsMu.Unlock()
	r.change(sub)
}

// change makes the routes old that a subscription may concern.
func (r *router) change(sub *subscription) {
	begin := r.beginning(sub.topics)
	if strings.ContainsAny(begin, "+#") {
		r.changed.Add(1)
		return
	}
	r.changesOf(begin).Add(1)
}

// refresh makes all routes old, because what somebody may read has changed.
func (r *router) refresh() { r.changed.Add(1) }

// beginning is the first levels of a topic or filter, without what is behind them.
func (r *router) beginning(topic string) string {
	end := 0
	for range r.depth {
		i := strings.IndexByte(topic[end:], '/')
		if i < 0 {
			return topic
		}
		end += i + 1
	}
	return topic[:end-1]
}

func (r *router) changesOf(beginning string) *atomic.Uint64 {
	return &r.changes[maphash.String(r.seed, beginning)%beginnings]
}

// generation grows with each change that may concern topics of a beginning.
func (r *router) generation(changes *atomic.Uint64) uint64 { return r.changed.Load() + changes.Load() }

func (r *router) remove(sub *subscription) {
	filter := sub.topics
	r.subsMu.Lock()
	if at := r.subs.get(filter); at != nil {
		if i := slices.Index(at.all, sub); i >= 0 {
			at.all = slices.Delete(at.all, i, i+1)
			r.held -= sub.bytes()
		}
		if len(at.all) == 0 {
			r.subs.remove(filter)
		}
	}
	r.subsMu.Unlock()
	r.change(sub)
}

// route returns who gets a topic. The topic's bytes may be reused.
func (r *router) route(topic []byte) *route {
	r.routesMu.RLock()
	rt := r.routes[string(topic)]
	r.routesMu.RUnlock()
	if rt != nil && rt.seen == r.generation(rt.changes) {
		return rt
	}
	rt = r.match(string(topic))
	r.routesMu.Lock()
	defer r.routesMu.Unlock()
	if old, ok := r.routes[rt.topic]; ok {
		r.forget(old)
	}
	r.cache(rt)
	if len(r.routes) > routesMax || r.bytes > routeBytesMax {
		clear(r.routes)
		clear(r.lists)
		r.bytes = 0
		r.cache(rt)
	}
	return rt
}

// cache keeps a route. If others have the same receivers, it has them from
// those. The caller holds routesMu.
func (r *router) cache(rt *route) {
	if known := r.lists[rt.hash]; known != nil && slices.Equal(known.of, rt.of) {
		rt.receivers = known
	} else if known == nil {
		rt.routes = 0
		r.lists[rt.hash] = rt.receivers
	}
	if rt.routes++; rt.routes == 1 {
		r.bytes += rt.receivers.weight()
	}
	r.bytes += rt.weight()
	r.routes[rt.topic] = rt
}

// forget takes a route out. The caller holds routesMu.
func (r *router) forget(rt *route) {
	delete(r.routes, rt.topic)
	r.bytes -= rt.weight()
	if rt.routes--; rt.routes > 0 {
		return
	}
	r.bytes -= rt.receivers.weight()
	if r.lists[rt.hash] == rt.receivers {
		delete(r.lists, rt.hash)
	}
}

func (r *router) match(topic string) *route {
	rt := &route{topic: topic, changes: r.changesOf(r.beginning(topic))}
	rt.seen = r.generation(rt.changes) // before matching: a change meanwhile makes the result old
	_, address, _ := r.tree.ParsePublish(topic)
	r.subsMu.RLock()
	defer r.subsMu.RUnlock()
	var of []*subscription
	r.subs.ofTopic(topic, func(at *subscribers) {
		for _, sub := range at.all {
			if sub.gets(topic, address) {
				of = append(of, sub)
			}
		}
	})
	rt.receivers = newReceivers(of)
	var hash maphash.Hash
	hash.SetSeed(r.seed)
	for _, sub := range of {
		maphash.WriteComparable(&hash, sub)
	}
	rt.hash = hash.Sum64()
	return rt
}

// gets reports whether a subscription that matches a topic gets what is said
// there. Nobody gets what was sent to another, whatever it subscribed to; nor
// is that for sharing.
func (sub *subscription) gets(topic string, to bridge.Address) bool {
	switch {
	case sub.watch != nil:
		return true
	case to.Type == bridge.Send && (sub.shared || sub.session.sender().ID() != to.Receiver):
		return false
	}
	return sub.session.access.Load().mayRead(topic)
}

// newReceivers merges subscriptions by session, and those that share a filter
// into a group.
func newReceivers(of []*subscription) *receivers {
	rs := &receivers{of: of}
	bySession := map[*session]int{}
	groups := map[string]*group{} // by filter
	for _, sub := range of {
		i, merges := bySession[sub.session]
		switch {
		case sub.watch != nil:
			rs.watches = append(rs.watches, sub.watch)
		case sub.shared:
			g := groups[sub.filter]
			if g == nil {
				g = &group{filter: sub.filter}
				groups[sub.filter] = g
				rs.groups = append(rs.groups, g)
			}
			g.targets = append(g.targets, sub.target())
		case merges:
			rs.targets[i].merge(sub)
		default:
			bySession[sub.session] = len(rs.targets)
			rs.targets = append(rs.targets, sub.target())
		}
	}
	return rs
}

func (sub *subscription) target() target {
	t := target{session: sub.session, qos: sub.qos, noLocal: sub.noLocal, asIs: sub.asIs, member: sub.means.Channel != 0, short: sub.means.Short}
	if sub.subID > 0 {
		t.subIDs = &[]int{sub.subID}
	}
	return t
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
