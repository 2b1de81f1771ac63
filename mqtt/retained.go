package mqtt

import (
	"strings"
	"sync"
	"time"
)

// retained keeps the last retained message of each topic, in a tree by level so
// that a wildcard looks only where it matches.
type retained struct {
	most, mostBytes int // of what is the clients'; bytes as footprint has them

	mu       sync.RWMutex
	root     node
	n        int                   // all
	clients  int                   // of them the clients' own
	bytes    int                   // footprint of those
	expiring map[*message]struct{} // those that have a message expiry interval
	keep     bool                  // for takeChanged
	changed  map[string]*message   // clients' topics, since takeChanged; an empty payload: removed
}

type node struct {
	children map[string]*node
	m        *message
	own      bool // it is the gateway's
}

// Where a retained message comes from.
type source byte

const (
	published source = iota // by a client: within the limits, and written to disk
	own                     // by the gateway, which writes it anew at each start
	kept                    // by the gateway, and written to disk
	restored                // from disk
)

// levelBytes is about what a level of a topic takes in the tree.
const levelBytes = 100

// footprint is about what a retained message takes of memory.
func footprint(m *message) int {
	return m.weight() + levelBytes*(1+strings.Count(m.topic, "/"))
}

// set puts a message in the place of the topic's last; an empty payload
// removes it. What would go over a limit is refused.
func (r *retained) set(m *message, from source) error {
	if m.origin != nil { // what is kept does not keep its publisher's session
		m = &message{topic: m.topic, payload: m.payload, qos: m.qos, retain: true, extras: m.extras, expires: m.expires}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(m.payload) > 0 && from == published {
		if err := r.admit(m); err != nil {
			return err
		}
	}
	switch old := r.root.child(m.topic); {
	case from == published, from == kept:
		r.note(m)
	case from == own && old != nil && old.m != nil && !old.own:
		r.note(&message{topic: m.topic}) // a client's is not to come back with the next start
	}
	if len(m.payload) == 0 {
		r.remove(&r.root, m.topic)
		return nil
	}
	n := &r.root
	for level := range strings.SplitSeq(m.topic, "/") {
		child := n.children[level]
		if child == nil {
			child = &node{}
			if n.children == nil {
				n.children = map[string]*node{}
			}
			n.children[strings.Clone(level)] = child
		}
		n = child
	}
	r.clear(n)
	n.m, n.own = m, from == own || from == kept
	r.n++
	if !n.own {
		r.clients++
		r.bytes += footprint(m)
	}
	if m.expires != 0 {
		if r.expiring == nil {
			r.expiring = map[*message]struct{}{}
		}
		r.expiring[m] = struct{}{}
	}
	return nil
}

// admit reports whether a client's message is within the limits. The caller
// holds mu.
func (r *retained) admit(m *message) error {
	old, grows := r.root.find(m.topic), footprint(m)
	if old != nil {
		grows -= footprint(old)
	}
	switch {
	case old == nil && r.clients >= r.most:
		return errRetained
	case grows > 0 && r.bytes+grows > r.mostBytes:
		return errRetainedBytes
	}
	return nil
}

// find returns the message of a topic, or nil.
func (n *node) find(topic string) *message {
	if n = n.child(topic); n == nil {
		return nil
	}
	return n.m
}

// child returns the node of a topic, or nil.
func (n *node) child(topic string) *node {
	for level := range strings.SplitSeq(topic, "/") {
		if n = n.children[level]; n == nil {
			return nil
		}
	}
	return n
}

// clear takes a node's message away. The caller holds mu.
func (r *retained) clear(n *node) {
	if n.m == nil {
		return
	}
	delete(r.expiring, n.m)
	r.n--
	if !n.own {
		r.clients--
		r.bytes -= footprint(n.m)
	}
	n.m = nil
}

// remove removes a topic's message, and the branches that this leaves bare.
func (r *retained) remove(n *node, topic string) {
	level, rest, more := strings.Cut(topic, "/")
	child := n.children[level]
	switch {
	case child == nil:
		return
	case more:
		r.remove(child, rest)
	default:
		r.clear(child)
	}
	if child.m == nil && len(child.children) == 0 {
		delete(n.children, level)
	}
}

// note remembers a change for the keeper. The caller holds mu.
func (r *retained) note(m *message) {
	if !r.keep {
		return
	}
	if r.changed == nil {
		r.changed = map[string]*message{}
	}
	r.changed[m.topic] = m
}

// takeChanged returns the last change of each topic since it was last called.
func (r *retained) takeChanged() map[string]*message {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := r.changed
	r.changed = nil
	return changed
}

// match calls found with each message whose topic matches a filter and that
// has not expired, and with how many there are in all. Wildcards do not match
// topics that begin with $ (MQTT-4.7.2-1). No message changes meanwhile, so
// that a newer one is not delivered before an older one is found; found only
// queues.
func (r *retained) match(filter string, now time.Time, found func(m *message, of int)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.root.match(strings.Split(filter, "/"), true, func(m *message) {
		if !m.expired(now) {
			found(m, r.n)
		}
	})
}

func (n *node) match(levels []string, top bool, found func(*message)) {
	if len(levels) == 0 {
		if n.m != nil {
			found(n.m)
		}
		return
	}
	switch levels[0] {
	case "#":
		n.all(top, found)
	case "+":
		for name, child := range n.children {
			if !top || !strings.HasPrefix(name, "$") {
				child.match(levels[1:], false, found)
			}
		}
	default:
		if child := n.children[levels[0]]; child != nil {
			child.match(levels[1:], false, found)
		}
	}
}

// all finds everything below and at n: "a/#" matches "a" as well.
func (n *node) all(top bool, found func(*message)) {
	if n.m != nil {
		found(n.m)
	}
	for name, child := range n.children {
		if !top || !strings.HasPrefix(name, "$") {
			child.all(false, found)
		}
	}
}

// expire forgets messages that have expired. What never expires costs nothing.
func (r *retained) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range r.expiring {
		if m.expired(now) {
			r.remove(&r.root, m.topic)
			r.note(&message{topic: m.topic})
		}
	}
}
