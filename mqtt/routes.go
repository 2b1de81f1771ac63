package mqtt

import (
	"slices"

	"watchtower/bridge"
)

// The bounds of the cache of routes: number and bytes. A full cache is emptied; topics in
// use are soon cached again.
const (
	routesMax     = 1 << 16
	routeBytesMax = 16 << 20
)

// weight is about how many bytes a route takes, without its receivers.
func (rt *route) weight() int { return routeBytes + len(rt.topic) }

// current reports whether a route is there and valid.
func (r *router) current(rt *route) bool {
	return rt != nil && rt.seen == r.generation(rt.changes)
}

// route returns a topic's route. The caller may reuse the topic's bytes.
func (r *router) route(topic []byte) *route {
	r.routesMu.RLock()
	rt := r.routes[string(topic)]
	r.routesMu.RUnlock()
	if r.current(rt) {
		return rt
	}
	rt = &route{topic: string(topic)}
	_, to, _ := r.tree.ParsePublish(rt.topic)
	r.match(rt, rt.topic, &to)
	return r.cache(rt)
}

// to returns the route of what a sender says to an address: one for all senders, unless a
// filter or an access list tells them apart.
func (r *router) to(a *bridge.Address, sender bridge.SenderID) *route {
	key := destinationOf(a)
	r.routesMu.RLock()
	rt := r.members[key]
	r.routesMu.RUnlock()
	var room [128]byte
	said := func() []byte {
		return r.tree.AppendTopic(room[:0], &bridge.Message{Type: a.Type, Channel: a.Channel, Receiver: a.Receiver, Sender: sender})
	}
	if !r.current(rt) {
		rt = &route{to: key}
		r.match(rt, string(said()), a)
		rt = r.cache(rt)
	}
	if rt.bySender {
		return r.route(said())
	}
	return rt
}

// cache caches a route, which shares equal receivers with others.
func (r *router) cache(rt *route) *route {
	r.routesMu.Lock()
	defer r.routesMu.Unlock()
	if old := r.cached(rt); old != nil {
		r.forget(old)
	}
	r.put(rt)
	if len(r.routes)+len(r.members) > routesMax || r.bytes > routeBytesMax {
		clear(r.routes)
		clear(r.members)
		clear(r.lists)
		r.bytes = 0
		r.put(rt)
	}
	return rt
}

// cached returns the route in whose place another comes; nil: there is none. The caller holds
// routesMu.
func (r *router) cached(rt *route) *route {
	if rt.topic == "" {
		return r.members[rt.to]
	}
	return r.routes[rt.topic]
}

// put puts a route into the cache. The caller holds routesMu.
func (r *router) put(rt *route) {
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
	if rt.topic == "" {
		r.members[rt.to] = rt
		return
	}
	r.routes[rt.topic] = rt
}

// forget takes a route's bytes out of the count of the cache. The caller holds routesMu, and
// replaces the route.
func (r *router) forget(rt *route) {
	r.bytes -= rt.weight()
	if rt.routes--; rt.routes > 0 {
		return
	}
	r.bytes -= rt.receivers.weight()
	if r.lists[rt.hash] == rt.receivers {
		delete(r.lists, rt.hash)
	}
}
