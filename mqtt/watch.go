package mqtt

// Watch has f called with each message whose topic matches a filter, from now
// on, until end is called. F runs in the publisher's goroutine: it puts what it
// wants into a bounded queue and returns. It does not keep the payload's bytes.
func (b *Broker) Watch(filter string, f func(topic string, payload []byte)) (end func()) {
	sub := &subscription{filter: filter, topics: filter, watch: f}
	b.router.add(sub, nil)
	return func() { b.router.remove(sub) }
}

// Retained returns a topic's retained message, or nil.
func (b *Broker) Retained(topic string) []byte {
	b.retained.mu.RLock()
	defer b.retained.mu.RUnlock()
	if m := b.retained.tree.get(topic); m != nil && !m.expired(b.now()) {
		return m.payload
	}
	return nil
}
