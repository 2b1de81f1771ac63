package mqtt

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"watchtower/bridge"
)

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

// route is a cached list of a topic's receivers. It is valid while seen is the current
// generation.
type route struct {
	topic   string
	changes *atomic.Uint64 // the counter in router.changes for the topic's prefix
	seen    uint64         // router.generation before the topic was matched
	*receivers
}

// place is a topic to which a client publishes: what it means, and who gets it. It is valid
// for one access list.
type place struct {
	topic     string
	onChannel bool
	address   bridge.Address
	access    *access
	route     *route // nil: not looked up yet
}

// receivers are shared by all routes whose topics match the same subscriptions, such as
// the topics of all senders on one channel.
type receivers struct {
	of      []*subscription // matching ones, in the order of the tree
	targets []target
	groups  []*group
	watches []*watcher
	hash    uint64 // of the list of
	routes  int    // cached routes that share it
}

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

// The bounds of the cache of routes: number and bytes. A full cache is emptied; topics in
// use are soon cached again.
const (
	routesMax     = 1 << 16
	routeBytesMax = 16 << 20
	routeBytes    = 160 // a route without targets
	targetBytes   = 64
)

// weight is about how many bytes a route takes, without its receivers.
func (rt *route) weight() int { return routeBytes + len(rt.topic) }

// weight is about how many bytes they take.
func (rs *receivers) weight() int {
	n := routeBytes + 8*len(rs.of) + targetBytes*len(rs.targets)
	for _, g := range rs.groups {
		n += routeBytes + targetBytes*len(g.targets)
	}
	return n
}

// router finds the receivers of a topic, and caches them as routes. A change of a
// subscription invalidates only the routes whose topics start with the first depth levels
// of its filter; or all routes, if these levels have a wildcard. So a client that comes
// and goes does not invalidate the routes of all others.
type router struct {
	tree *bridge.Tree

	depth   int                       // levels of a prefix, up to the channel
	seed    maphash.Seed              // to hash prefixes
	changes [beginnings]atomic.Uint64 // changes, by the prefix's hash
	changed atomic.Uint64             // changes that concern all topics

	subsMu sync.RWMutex
	subs   levels[subscribers] // by filter, without the share name
	held   int                 // bytes of the subscriptions in subs, without the tree

	routesMu sync.RWMutex
	routes   map[string]*route
	lists    map[uint64]*receivers // by hash
	bytes    int
}

// subscribers are the subscriptions to one filter.
type subscribers struct{ all []*subscription }

// sharing returns the sessions that have the same shared subscription.
func (r *router) sharing(as *subscription) (all []*session) {
	r.subsMu.RLock()
	defer r.subsMu.RUnlock()
	if at := r.subs.get(as.topics); at != nil {
		for _, sub := range at.all {
			if sub.filter == as.filter && sub.session != nil {
				all = append(all, sub.session)
			}
		}
	}
	return all
}

// beginnings is the number of counters that prefixes are hashed to.
const beginnings = 1 << 12

func newRouter(tree *bridge.Tree) *router {
	return &router{
		tree: tree, seed: maphash.MakeSeed(),
		depth:  strings.Count(tree.Say(1), "/"), // all levels but the last; the channel's is the last of these
		routes: map[string]*route{}, lists: map[uint64]*receivers{},
	}
}

// subscriptionBytes is about the memory of a subscription without its filter's text and
// the tree: itself, its entries in two tables, and its part in a channel.
const subscriptionBytes = 384

func (sub *subscription) bytes() int {
	n := subscriptionBytes + heapSize(len(sub.filter))
	if sub.means.Short {
		n += heapSize(len(sub.topics))
	}
	return n
}

// most is how many bytes a subscription adds to the router at most: its own and two nodes
// of the tree.
func (sub *subscription) most() int {
	return sub.bytes() + heapSize(len(sub.topics)) + 2*nodeBytes
}

// size is about how many bytes all subscriptions take.
func (r *router) size() int {
	r.subsMu.RLock()
	defer r.subsMu.RUnlock()
	return r.held + r.subs.bytes
}

// add adds a subscription, in place of old if that is not nil.
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

// change invalidates the routes that a subscription may concern.
func (r *router) change(sub *subscription) {
	begin := r.beginning(sub.topics)
	if strings.ContainsAny(begin, "+#") {
		r.changed.Add(1)
		return
	}
	r.changesOf(begin).Add(1)
}

// refresh invalidates all routes, after a change of an access list.
func (r *router) refresh() { r.changed.Add(1) }

// beginning returns the first depth levels of a topic or filter.
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

// generation grows with each change that may concern topics with a prefix.
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

// route returns a topic's route. The caller may reuse the topic's bytes.
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

// cache caches a route, which shares equal receivers with others. The caller holds routesMu.
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

// forget removes a route from the cache. The caller holds routesMu.
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
	rt.seen = r.generation(rt.changes) // before matching: a change meanwhile invalidates the route
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

// gets reports whether a subscription that matches a topic gets its messages. Only the
// receiver gets a message that is sent to one receiver, and not by a shared subscription.
func (sub *subscription) gets(topic string, to bridge.Address) bool {
	switch {
	case sub.watch != nil:
		return true
	case sub.peer != nil:
		return to.Type != bridge.Send
	case to.Type == bridge.Send && (sub.shared || sub.session.sender().ID() != to.Receiver):
		return false
	}
	return sub.session.access.Load().mayRead(topic)
}

// newReceivers merges subscriptions by session, and shared ones by filter into groups.
func newReceivers(of []*subscription) *receivers {
	rs := &receivers{of: of}
	bySession := map[*session]int{}
	groups := map[string]*group{} // by filter
	for _, sub := range of {
		i, merges := bySession[sub.session]
		switch {
		case sub.watch != nil:
			if !slices.Contains(rs.watches, sub.watch) {
				rs.watches = append(rs.watches, sub.watch)
			}
		case sub.shared:
			g := groups[sub.filter]
			if g == nil {
				g = &group{filter: sub.filter}
				groups[sub.filter] = g
				rs.groups = append(rs.groups, g)
			}
			if sub.peer != nil {
				g.elsewhere = append(g.elsewhere, sub.peer)
				continue
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
