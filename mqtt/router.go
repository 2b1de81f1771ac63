package mqtt

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"watchtower/bridge"
)

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
	named  map[string]int      // subscriptions that name a sender, by their prefix; "": it has wildcards

	routesMu sync.RWMutex
	routes   map[string]*route
	members  map[destination]*route
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
		named:  map[string]int{},
		routes: map[string]*route{}, members: map[destination]*route{}, lists: map[uint64]*receivers{},
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
		r.count(sub, 1)
	case old != nil:
		at.all[slices.Index(at.all, old)] = sub
	default:
		at.all = append(at.all, sub)
		r.count(sub, 1)
	}
	r.subsMu.Unlock()
	r.change(sub)
}

// count counts a subscription that is added, or removed with by = -1. The caller holds subsMu.
func (r *router) count(sub *subscription, by int) {
	r.held += by * sub.bytes()
	begin := r.beginning(sub.topics)
	if !namesSender(strings.Split(strings.TrimPrefix(sub.topics[len(begin):], "/"), "/")) {
		return
	}
	if strings.ContainsAny(begin, "+#") {
		begin = ""
	}
	if r.named[begin] += by; r.named[begin] == 0 {
		delete(r.named, begin)
	}
}

// namesSender reports whether a filter's levels behind the channel's match messages of some
// senders and not of others: they are a kind, for a send the receiver, and the sender.
func namesSender(levels []string) bool {
	n := 1
	if levels[0] == "send" {
		n = 2
	}
	literal := func(i int) bool { return i == len(levels)-1 && levels[i] != "+" && levels[i] != "#" }
	return literal(n) || levels[0] == "+" && literal(2)
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
			r.count(sub, -1)
		}
		if len(at.all) == 0 {
			r.subs.remove(filter)
		}
	}
	r.subsMu.Unlock()
	r.change(sub)
}

// match fills in who gets a topic.
func (r *router) match(rt *route, topic string, to *bridge.Address) {
	begin := r.beginning(topic)
	rt.changes = r.changesOf(begin)
	rt.seen = r.generation(rt.changes) // before matching: a change meanwhile invalidates the route
	var room [32]*subscription
	of := room[:0]
	r.subsMu.RLock()
	rt.bySender = r.named[""] > 0 || r.named[begin] > 0
	r.subs.ofTopic(topic, func(at *subscribers) {
		for _, sub := range at.all {
			if sub.gets(topic, to) {
				of = append(of, sub)
			}
			rt.bySender = rt.bySender || sub.session != nil && sub.session.access.Load() != nil
		}
	})
	r.subsMu.RUnlock()
	rt.receivers = r.receiversOf(of)
}

// receiversOf returns the receivers by these subscriptions: those of other routes, if there are
// equal ones. The caller may reuse the list.
func (r *router) receiversOf(of []*subscription) *receivers {
	var h maphash.Hash
	h.SetSeed(r.seed)
	for _, sub := range of {
		maphash.WriteComparable(&h, sub)
	}
	hash := h.Sum64()
	r.routesMu.RLock()
	known := r.lists[hash]
	r.routesMu.RUnlock()
	if known != nil && slices.Equal(known.of, of) {
		return known
	}
	rs := newReceivers(slices.Clone(of))
	rs.hash = hash
	return rs
}

// gets reports whether a subscription that matches a topic gets its messages. Only the
// receiver gets a message that is sent to one receiver, and not by a shared subscription.
func (sub *subscription) gets(topic string, to *bridge.Address) bool {
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
