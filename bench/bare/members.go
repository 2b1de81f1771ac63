package bare

import (
	"slices"
	"sync"
	"sync/atomic"
)

// members holds the members of each channel. Reading takes no lock.
type members[M comparable] struct {
	mu   sync.Mutex
	last uint32
	byID map[uint32]M
	all  atomic.Pointer[map[uint32][]M] // by channel; replaced, never changed
}

func newMembers[M comparable]() *members[M] {
	m := &members[M]{byID: map[uint32]M{}}
	m.all.Store(&map[uint32][]M{})
	return m
}

func (m *members[M]) register(who M) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	m.byID[m.last] = who
	return m.last
}

func (m *members[M]) with(id uint32) M {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byID[id]
}

func (m *members[M]) on(channel uint32) []M { return (*m.all.Load())[channel] }

func (m *members[M]) join(channel uint32, who M) {
	m.change(func(all map[uint32][]M) {
		all[channel] = append(slices.Clone(all[channel]), who)
	})
}

// leave removes a member from a channel; 0: from all channels.
func (m *members[M]) leave(channel uint32, who M) {
	m.change(func(all map[uint32][]M) {
		for c, list := range all {
			if i := slices.Index(list, who); i >= 0 && (c == channel || channel == 0) {
				all[c] = slices.Delete(slices.Clone(list), i, i+1)
			}
		}
	})
}

func (m *members[M]) change(do func(map[uint32][]M)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[uint32][]M{}
	for c, list := range *m.all.Load() {
		all[c] = list
	}
	do(all)
	m.all.Store(&all)
}
