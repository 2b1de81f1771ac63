package remote

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
)

// Memory keeps a text over restarts, such as a document of the store.
type Memory interface {
	Load() ([]byte, error) // nil: nothing was saved
	Save([]byte) error
}

// keptFilters are the filters that the broker may have in a session that it keeps: MQTT tells
// nobody. They are written before the broker is asked for them.
type keptFilters struct {
	memory Memory

	mu     sync.Mutex
	all    map[string]bool
	loaded bool
	failed bool // that was logged
}

// tidy ends what an earlier connection or run has subscribed to, and nobody wants any more.
func (c *client) tidy(conn *conn) {
	wanted := c.active()
	c.remember(wanted)
	k := &c.kept
	k.mu.Lock()
	gone := maps.Clone(k.all)
	k.mu.Unlock()
	for _, s := range wanted {
		delete(gone, s.filter)
	}
	if len(gone) == 0 {
		return
	}
	for _, filter := range slices.Sorted(maps.Keys(gone)) {
		if conn.ack.SessionPresent {
			c.unsubscribe(conn, filter)
		}
	}
	k.mu.Lock()
	for filter := range gone {
		delete(k.all, filter)
	}
	c.saveKeptLocked()
	k.mu.Unlock()
}

// remember notes filters before the broker is asked for them.
func (c *client) remember(subs []*subscription) {
	k := &c.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	c.loadKeptLocked()
	fresh := false
	for _, s := range subs {
		fresh = fresh || !k.all[s.filter]
		k.all[s.filter] = true
	}
	if fresh {
		c.saveKeptLocked()
	}
}

// loadKeptLocked loads what an earlier run has noted, once. The caller holds kept.mu.
func (c *client) loadKeptLocked() {
	k := &c.kept
	if k.loaded {
		return
	}
	k.all, k.loaded = map[string]bool{}, true
	b, err := k.memory.Load()
	var filters []string
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &filters)
	}
	if err != nil {
		c.log.WithError(err).Warn("the filters that the foreign broker may have kept are not known: what comes for them is let alone")
	}
	for _, f := range filters {
		k.all[f] = true
	}
}

// saveKeptLocked writes the filters. The caller holds kept.mu.
func (c *client) saveKeptLocked() {
	k := &c.kept
	b, err := json.Marshal(slices.Sorted(maps.Keys(k.all)))
	if err == nil {
		err = k.memory.Save(b)
	}
	if err != nil && !k.failed {
		c.log.WithError(err).Warn("the filters at the foreign broker are not on disk: it may keep some that nobody wants")
	}
	k.failed = err != nil
}
