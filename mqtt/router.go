package mqtt

import (
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// subscription is one filter of one session. It does not change: a SUBSCRIBE
// to the same filter puts a new one in its place.
type subscription struct {
	id      string // its name in the tree
	session *session
	filter  string // as it was given, share name included
	shared  bool
	qos     byte // granted
	noLocal bool
	asIs    bool // retain as published
	subID   int  // subscription identifier; 0: none
	means   bridge.Filter
	watch   func(topic string, payload []byte) // of the gateway's own, which has no session; else nil
}

// target is a session that gets a topic, by however many of its filters.
type target struct {
	session *session
	qos     byte
	noLocal bool // all of its filters are
	asIs    bool
	member  bool // by a filter with the channel in it
	subIDs  []int
}

// route is who gets a topic, as long as the subscriptions stay as they are.
type route struct {
	topic   string
	changes *atomic.Uint64 // router.changes of what the topic begins with
	seen    uint64         // what router.now said of it before it was matched
	targets []target
	groups  []*group
	watches []func(topic string, payload []byte)
}

// group is a shared subscription: one of its targets gets a message.
type group struct {
	targets []target
	turn    atomic.Uint32
}

// The cache of routes is bounded in number and in bytes, and starts again when
// it is full: topics that matter are back at once.
const (
	routesMax     = 1 << 16
	routeBytesMax = 32 << 20
	routeBytes    = 128 // of one without targets
	targetBytes   = 64
)

// weight is about how many bytes a route holds.
func (rt *route) weight() int {
	n := routeBytes + len(rt.topic) + targetBytes*len(rt.targets)
	for _, g := range rt.groups {
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
	tree  *bridge.Tree
	index *mochi.TopicsIndex

	depth   int                       // levels that are looked at
	seed    maphash.Seed              // of their hash
	changes [beginnings]atomic.Uint64 // by that
	changed atomic.Uint64             // of the others
	lastID  atomic.Uint64

	subsMu sync.RWMutex
	subs   map[string]*subscription // by id

	routesMu sync.RWMutex
	routes   map[string]*route
	bytes    int
}

// beginnings is by how many kinds of beginnings changes are told apart.
const beginnings = 1 << 12

func newRouter(tree *bridge.Tree) *router {
	return &router{
		tree: tree, index: mochi.NewTopicsIndex(), seed: maphash.MakeSeed(),
		depth: strings.Count(tree.Say(1), "/"), // all but the last: the channel's is the last of these
		subs:  map[string]*subscription{}, routes: map[string]*route{},
	}
}

// add puts a subscription in force, in place of old if that is not nil.
func (r *router) add(sub, old *subscription) {
	if old != nil {
		sub.id = old.id
	} else {
		sub.id = strconv.FormatUint(r.lastID.Add(1), 36)
	}
	r.subsMu.Lock()
	r.subs[sub.id] = sub
	r.subsMu.Unlock()
	if old == nil {
		for _, f := range indexed(sub.filter) {
			r.index.Subscribe(sub.id, packets.Subscription{Filter: f})
		}
	}
	r.change(sub)
}

// change makes the routes old that a subscription may concern.
func (r *router) change(sub *subscription) {
	filter, _ := cutShare(sub.filter)
	begin := r.beginning(filter)
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

// now grows with each change that may concern topics of a beginning.
func (r *router) now(changes *atomic.Uint64) uint64 { return r.changed.Load() + changes.Load() }

// indexed lists the filters under which a subscription is in mochi's index.
// There "a/#" matches "a", but "+/#" does not match "a", as it should
// (MQTT 5, 4.7.1.2): the level above stands for itself.
func indexed(filter string) []string {
	if above, ok := strings.CutSuffix(filter, "+/#"); ok && (above == "" || above[len(above)-1] == '/') {
		return []string{filter, above + "+"}
	}
	return []string{filter}
}

func (r *router) remove(sub *subscription) {
	for _, f := range indexed(sub.filter) {
		r.index.Unsubscribe(f, sub.id)
	}
	r.subsMu.Lock()
	delete(r.subs, sub.id)
	r.subsMu.Unlock()
	r.change(sub)
}

// route returns who gets a topic. The topic's bytes may be reused.
func (r *router) route(topic []byte) *route {
	r.routesMu.RLock()
	rt := r.routes[string(topic)]
	r.routesMu.RUnlock()
	if rt != nil && rt.seen == r.now(rt.changes) {
		return rt
	}
	rt = r.match(string(topic))
	r.routesMu.Lock()
	defer r.routesMu.Unlock()
	if old, ok := r.routes[rt.topic]; ok {
		r.bytes -= old.weight()
		delete(r.routes, rt.topic)
	}
	if len(r.routes) >= routesMax || r.bytes+rt.weight() > routeBytesMax {
		clear(r.routes)
		r.bytes = 0
	}
	r.bytes += rt.weight()
	r.routes[rt.topic] = rt
	return rt
}

func (r *router) match(topic string) *route {
	rt := &route{topic: topic, changes: r.changesOf(r.beginning(topic))}
	rt.seen = r.now(rt.changes) // before matching: a change meanwhile makes the result old
	found := r.index.Subscribers(topic)
	_, address, _ := r.tree.ParsePublish(topic)
	send := address.Type == bridge.Send
	r.subsMu.RLock()
	defer r.subsMu.RUnlock()
	bySession := map[*session]int{}
	for id := range found.Subscriptions {
		sub := r.subs[id]
		if sub != nil && sub.watch != nil {
			rt.watches = append(rt.watches, sub.watch)
			continue
		}
		if sub == nil || send && sub.session.sender().ID() != address.Receiver {
			continue // nobody gets what was sent to another, whatever it subscribed to
		}
		if !sub.session.access.Load().mayRead(topic) {
			continue
		}
		i, ok := bySession[sub.session]
		if !ok {
			i = len(rt.targets)
			bySession[sub.session] = i
			rt.targets = append(rt.targets, sub.target())
			continue
		}
		rt.targets[i].merge(sub)
	}
	if send {
		return rt // not for sharing
	}
	groups := map[string]*group{} // by filter
	for _, candidates := range found.Shared {
		for id := range candidates {
			sub := r.subs[id]
			if sub == nil || !sub.session.access.Load().mayRead(topic) || topic[0] == '$' && beginsWild(sub.filter) {
				continue
			}
			g := groups[sub.filter]
			if g == nil {
				g = &group{}
				groups[sub.filter] = g
				rt.groups = append(rt.groups, g)
			}
			g.targets = append(g.targets, sub.target())
		}
	}
	return rt
}

func (sub *subscription) target() target {
	t := target{session: sub.session, qos: sub.qos, noLocal: sub.noLocal, asIs: sub.asIs, member: sub.means.Channel != 0}
	if sub.subID > 0 {
		t.subIDs = []int{sub.subID}
	}
	return t
}

func (t *target) merge(sub *subscription) {
	t.qos = max(t.qos, sub.qos)
	t.noLocal = t.noLocal && sub.noLocal
	t.asIs = t.asIs || sub.asIs
	t.member = t.member || sub.means.Channel != 0
	if sub.subID > 0 {
		t.subIDs = append(t.subIDs, sub.subID)
		slices.Sort(t.subIDs)
	}
}

// beginsWild reports whether a shared filter begins with a wildcard, which does
// not match $ topics (MQTT-4.7.2-1). Of other filters mochi knows it.
func beginsWild(filter string) bool {
	rest, _ := cutShare(filter)
	return rest[0] == '+' || rest[0] == '#'
}

const sharePrefix = "$share/"

// cutShare splits a filter into its share name and the filter itself.
func cutShare(filter string) (rest string, shared bool) {
	after, ok := strings.CutPrefix(filter, sharePrefix)
	if !ok {
		return filter, false
	}
	_, rest, _ = strings.Cut(after, "/")
	return rest, true
}

// validFilter reports whether a topic filter is one (MQTT 5, 4.7 and 4.8.2).
// mochi lets wildcards stand within a level, and takes $SHARE for $share.
func validFilter(filter string) bool {
	if len(filter) > 65535 || strings.Count(filter, "/") >= topicLevels+2 || !mochi.IsValidFilter(filter, false) {
		return false
	}
	if mochi.IsSharedFilter(filter) && !strings.HasPrefix(filter, sharePrefix) {
		return false
	}
	rest, shared := cutShare(filter)
	if rest == "" || shared && strings.HasPrefix(filter, sharePrefix+"/") {
		return false
	}
	if strings.Count(rest, "/") >= topicLevels {
		return false
	}
	for level := range strings.SplitSeq(rest, "/") {
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return false
		}
	}
	return true
}
