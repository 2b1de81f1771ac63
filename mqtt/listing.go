package mqtt

import (
	"slices"
	"strings"
	"time"
)

// pageStep is how many levels are looked at while the lock is held once.
const pageStep = 512

// page returns the first levels directly below a prefix, from a name on, in their order. It
// gives the lock away from time to time, so publishers do not wait for a level with many
// topics. A level whose topics change meanwhile may be missing.
func (r *retained) page(prefix, from string, most int, now time.Time) []level[message] {
	byName := func(a, b level[message]) int { return strings.Compare(a.name, b.name) }
	page, full := []level[message]{}, false
	shorten := func() {
		slices.SortFunc(page, byName)
		page = slices.CompactFunc(page, func(a, b level[message]) bool { return a.name == b.name })
		if full = len(page) >= most; full {
			clear(page[most:])
			page = page[:most]
		}
	}
	seen := 0
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.tree.levelsBelow(prefix, func(l level[message]) {
		if l.value != nil && l.value.expired(now) {
			l.value = nil
		}
		if l.name >= from && (l.value != nil || l.below > 0) && (!full || l.name < page[most-1].name) {
			if page = append(page, l); len(page) >= 2*most {
				shorten()
			}
		}
		if seen++; seen%pageStep == 0 {
			r.mu.RUnlock() // the walk goes on with the nodes that it has: they stay what they are
			r.mu.RLock()
		}
	})
	shorten()
	return page
}

// some returns at most so many topics that begin with a prefix and whose messages f selects.
func (r *retained) some(prefix string, most int, f func(*message) bool) (topics []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	b, _ := r.tree.inside(prefix)
	if b == nil {
		return nil
	}
	b.until(func(m *message) bool {
		if len(m.topic) >= len(prefix) && f(m) {
			topics = append(topics, m.topic)
		}
		return len(topics) == most
	})
	return topics
}

// level is one level of a tree's paths, below some other.
type level[V any] struct {
	name  string
	value *V  // of the path that ends with it; nil: none
	below int // values of longer paths
}

// levelsBelow calls found with each level directly below a prefix, which is empty or ends
// with a slash.
func (t *levels[V]) levelsBelow(prefix string, found func(level[V])) {
	b, at := t.inside(prefix)
	switch {
	case b == nil:
	case at > len(b.label):
		b.each(func(c *branch[V]) { found(c.level(0)) })
	default:
		found(b.level(at))
	}
}

// inside returns the node in which a prefix ends, and where in its label the next level
// begins; beyond the label: the levels are its children. A nil node: no path begins with
// the prefix.
func (t *levels[V]) inside(prefix string) (b *branch[V], at int) {
	for b = &t.root; prefix != ""; {
		path := prefix[:len(prefix)-1]
		c := b.child(firstLevel(path))
		if c == nil {
			return nil, 0
		}
		n := common(c.label, path)
		switch {
		case n == len(path) && n < len(c.label):
			return c, n + 1
		case n < len(c.label):
			return nil, 0
		}
		b, prefix = c, prefix[n+1:]
	}
	return b, len(b.label) + 1
}

// level returns the level that begins at a place in a node's label.
func (b *branch[V]) level(at int) level[V] {
	label := b.label[at:]
	l := level[V]{name: firstLevel(label), below: int(b.count)}
	if len(l.name) == len(label) && b.value != nil {
		l.value = b.value
		l.below--
	}
	return l
}

// until calls f with the values at and below a node, until it returns true.
func (b *branch[V]) until(f func(*V) bool) bool {
	if b.value != nil && f(b.value) {
		return true
	}
	for _, c := range b.few {
		if c.until(f) {
			return true
		}
	}
	for _, c := range b.many {
		if c.until(f) {
			return true
		}
	}
	return false
}
