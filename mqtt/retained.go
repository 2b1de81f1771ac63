package mqtt

import (
	"strings"
	"sync"
	"time"
)

// retained keeps the last retained message of each topic, in a tree by level so
// that a wildcard looks only where it matches.
type retained struct {
	mu       sync.RWMutex
	root     node
	n        int
	expiring map[*message]struct{} // those that have a message expiry interval
}

type node struct {
	children map[string]*node
	m        *message
}

// set puts a message in the place of the topic's last; an empty payload
// removes it.
func (r *retained) set(m *message) {
	if m.origin != nil { // what is kept does not keep its publisher's session
		m = &message{topic: m.topic, payload: m.payload, qos: m.qos, retain: true, extras: m.extras, expires: m.expires}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(m.payload) == 0 {
		r.remove(&r.root, m.topic)
		return
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
	if n.m == nil {
		r.n++
	}
	delete(r.expiring, n.m)
	n.m = m
	if m.expires != 0 {
		if r.expiring == nil {
			r.expiring = map[*message]struct{}{}
		}
		r.expiring[m] = struct{}{}
	}
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
	case child.m != nil:
		delete(r.expiring, child.m)
		child.m = nil
		r.n--
	}
	if child.m == nil && len(child.children) == 0 {
		delete(n.children, level)
	}
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
		}
	}
}
