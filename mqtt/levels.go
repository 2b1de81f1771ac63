package mqtt

import (
	"strings"
	"unsafe"
)

// levels is a tree of topics, or of filters, by level, so that a wildcard visits only
// matching branches. Consecutive levels without a branch share one node: a path adds two
// nodes at most. It counts its memory in bytes, and has no lock.
type levels[V any] struct {
	root  branch[V]
	bytes int
}

// branch is a node: one level or more of some paths.
type branch[V any] struct {
	label string // its levels, joined by slashes; its own copy
	few   []*branch[V]
	many  map[string]*branch[V] // by the first level, in place of few
	peak  int32                 // largest size of many: a map does not shrink
	count int32                 // values of it and of all nodes below it
	value *V                    // of the path that ends here; nil: none
}

// fewest is how many children a node can have without a map.
const fewest = 8

// The memory in bytes of an empty map of children, of each child in it, and of a node
// without its label at most.
const (
	childrenBytes = 96
	childBytes    = 48
	nodeBytes     = 64 + 2*childBytes
)

// heapSize is about how many bytes of heap an object of n bytes takes: the sizes of the
// heap's objects grow in steps.
func heapSize(n int) int {
	switch {
	case n <= 0:
		return 0
	case n <= 256:
		return (n + 15) &^ 15
	}
	return n + n/16
}

func (b *branch[V]) size() int {
	n := heapSize(int(unsafe.Sizeof(*b))) + heapSize(len(b.label)) + heapSize(8*cap(b.few))
	if b.many != nil {
		n += childrenBytes + childBytes*int(b.peak)
	}
	return n
}

// change calls f, which changes a node, and updates bytes.
func (t *levels[V]) change(b *branch[V], f func()) {
	was := b.size()
	f()
	t.bytes += b.size() - was
}

func firstLevel(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// common returns the length of the whole levels that both begin with. Their first
// levels are equal.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	ends := func(s string) bool { return n == len(s) || s[n] == '/' }
	if ends(a) && ends(b) {
		return n
	}
	return strings.LastIndexByte(a[:n], '/')
}

// child returns the child that begins with a level, or nil.
func (b *branch[V]) child(level string) *branch[V] {
	if b.many != nil {
		return b.many[level]
	}
	for _, c := range b.few {
		if rest, ok := strings.CutPrefix(c.label, level); ok && (rest == "" || rest[0] == '/') {
			return c
		}
	}
	return nil
}

func (b *branch[V]) children() int { return len(b.few) + len(b.many) }

func (b *branch[V]) each(f func(*branch[V])) {
	for _, c := range b.few {
		f(c)
	}
	for _, c := range b.many {
		f(c)
	}
}

// only returns the only child of a node.
func (b *branch[V]) only() *branch[V] {
	for _, c := range b.many {
		return c
	}
	return b.few[0]
}

func (b *branch[V]) addChild(c *branch[V]) {
	switch {
	case b.many == nil && len(b.few) < fewest:
		b.few = append(b.few, c)
		return
	case b.many == nil:
		b.setChildren(append(b.few, c))
		return
	}
	b.many[firstLevel(c.label)] = c
	b.peak = max(b.peak, int32(len(b.many)))
}

// setChildren replaces a node's children, with a map only if they are many.
func (b *branch[V]) setChildren(all []*branch[V]) {
	b.few, b.many, b.peak = nil, nil, 0
	if len(all) <= fewest {
		b.few = append([]*branch[V](nil), all...)
		return
	}
	b.many, b.peak = make(map[string]*branch[V], len(all)), int32(len(all))
	for _, c := range all {
		b.many[firstLevel(c.label)] = c
	}
}

func (b *branch[V]) removeChild(c *branch[V]) {
	if b.many != nil {
		delete(b.many, firstLevel(c.label))
		if len(b.many) > fewest/2 && len(b.many) >= int(b.peak)/4 {
			return
		}
	}
	left := make([]*branch[V], 0, b.children())
	b.each(func(other *branch[V]) {
		if other != c {
			left = append(left, other)
		}
	})
	b.setChildren(left)
}

// rename gives a child another label that begins with the same level. It also replaces
// the map's key, which would keep the old label in memory.
func (b *branch[V]) rename(c *branch[V], label string) {
	if b.many != nil {
		delete(b.many, firstLevel(c.label))
		b.many[firstLevel(label)] = c
	}
	c.label = label
}

// get returns the value of a path, or nil.
func (t *levels[V]) get(path string) *V {
	for b, rest := &t.root, path; ; {
		c := b.child(firstLevel(rest))
		if c == nil {
			return nil
		}
		n := common(c.label, rest)
		switch {
		case n < len(c.label):
			return nil
		case n == len(rest):
			return c.value
		}
		b, rest = c, rest[n+1:]
	}
}

// set makes v, which is not nil, the value of a path.
func (t *levels[V]) set(path string, v *V) {
	for b, rest := &t.root, path; ; {
		c := b.child(firstLevel(rest))
		if c == nil {
			c = &branch[V]{label: strings.Clone(rest), value: v}
			t.bytes += c.size()
			t.change(b, func() { b.addChild(c) })
			t.countOne(path)
			return
		}
		n := common(c.label, rest)
		if n < len(c.label) {
			t.split(b, c, n)
		}
		if n == len(rest) {
			added := c.value == nil
			if c.value = v; added {
				t.countOne(path)
			}
			return
		}
		b, rest = c, rest[n+1:]
	}
}

// countOne counts a new value at all nodes of its path.
func (t *levels[V]) countOne(path string) {
	t.root.count++
	for b, rest := &t.root, path; ; {
		b = b.child(firstLevel(rest))
		b.count++
		if len(b.label) == len(rest) {
			return
		}
		rest = rest[len(b.label)+1:]
	}
}

// split cuts a child's label at n. Its value and its children move to a new node below.
func (t *levels[V]) split(b, c *branch[V], n int) {
	t.change(c, func() {
		lower := &branch[V]{label: strings.Clone(c.label[n+1:]), few: c.few, many: c.many, peak: c.peak, count: c.count, value: c.value}
		t.bytes += lower.size()
		b.rename(c, strings.Clone(c.label[:n]))
		c.few, c.many, c.peak, c.value = []*branch[V]{lower}, nil, 0, nil
	})
}

// remove removes a path, and the nodes that are not needed any more.
func (t *levels[V]) remove(path string) {
	if t.removeBelow(&t.root, path) {
		t.root.count--
	}
}

// removeBelow reports whether there was a value.
func (t *levels[V]) removeBelow(b *branch[V], path string) bool {
	c := b.child(firstLevel(path))
	if c == nil {
		return false
	}
	n := common(c.label, path)
	switch {
	case n < len(c.label):
		return false
	case n == len(path) && c.value != nil:
		c.value = nil
	case n == len(path) || !t.removeBelow(c, path[n+1:]):
		return false
	}
	c.count--
	switch {
	case c.value != nil:
	case c.children() == 0:
		t.bytes -= c.size()
		t.change(b, func() { b.removeChild(c) })
	case c.children() == 1:
		t.join(b, c, c.only())
	}
	return true
}

// join merges a child with its only child.
func (t *levels[V]) join(b, c, only *branch[V]) {
	t.change(c, func() {
		t.bytes -= only.size()
		b.rename(c, c.label+"/"+only.label)
		c.few, c.many, c.peak, c.value = only.few, only.many, only.peak, only.value
	})
}

// ofTopic calls found with the value of each filter in the tree that matches a
// topic. Wildcards do not match topics that begin with $ (MQTT-4.7.2-1).
func (t *levels[V]) ofTopic(topic string, found func(*V)) {
	if strings.HasPrefix(topic, "$") {
		t.root.child(firstLevel(topic)).ofTopic(topic, found)
		return
	}
	t.root.below(topic, found)
}

// below looks for filters among a node's children; topic is the rest of the topic.
func (b *branch[V]) below(topic string, found func(*V)) {
	b.child(firstLevel(topic)).ofTopic(topic, found)
	b.child("+").ofTopic(topic, found)
	b.child("#").ofTopic(topic, found)
}

func (b *branch[V]) ofTopic(topic string, found func(*V)) {
	if b == nil {
		return
	}
	var level, is string
	label, topicLeft := b.label, true
	for labelLeft := true; labelLeft; {
		level, label, labelLeft = strings.Cut(label, "/")
		if level == "#" { // also without a further level: "a/#" matches "a"
			found(b.value)
			return
		}
		if !topicLeft {
			return
		}
		is, topic, topicLeft = strings.Cut(topic, "/")
		if level != "+" && level != is {
			return
		}
	}
	if topicLeft {
		b.below(topic, found)
		return
	}
	if b.value != nil {
		found(b.value)
	}
	if all := b.child("#"); all != nil {
		found(all.value)
	}
}

// ofFilter calls found with the value of each topic in the tree that matches a filter.
func (t *levels[V]) ofFilter(filter string, found func(*V)) { t.root.matching(filter, true, found) }

// matching looks for topics among a node's children; filter is the rest of the filter.
func (b *branch[V]) matching(filter string, top bool, found func(*V)) {
	level := firstLevel(filter)
	if level != "#" && level != "+" {
		if c := b.child(level); c != nil {
			c.ofFilter(filter, found)
		}
		return
	}
	b.each(func(c *branch[V]) {
		if !top || !strings.HasPrefix(c.label, "$") {
			c.ofFilter(filter, found)
		}
	})
}

func (b *branch[V]) ofFilter(filter string, found func(*V)) {
	var level, is string
	label, labelLeft := b.label, true
	for labelLeft {
		var filterLeft bool
		if level, filter, filterLeft = strings.Cut(filter, "/"); level == "#" {
			b.all(found)
			return
		}
		is, label, labelLeft = strings.Cut(label, "/")
		switch {
		case level != "+" && level != is, !filterLeft && labelLeft:
			return
		case !filterLeft:
			if b.value != nil {
				found(b.value)
			}
			return
		}
	}
	if filter == "#" { // "a/#" matches "a"
		b.all(found)
		return
	}
	b.matching(filter, false, found)
}

// all calls found with each value at and below a node.
func (b *branch[V]) all(found func(*V)) {
	if b.value != nil {
		found(b.value)
	}
	b.each(func(c *branch[V]) { c.all(found) })
}
