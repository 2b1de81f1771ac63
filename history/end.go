package history

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"watchtower/bridge"
)

// Messages are in memory only, but a regular stop saves where they ended. So a client
// that comes back after the start, and has heard the last message, has missed nothing and
// is told of no gap. What was saved is deleted before the first message, so that nobody
// believes it after a crash.

// Store keeps a document.
type Store interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// ending is where a history ended.
type ending struct {
	Begun    time.Time
	Run      uint64
	Position uint64
	Lost     loss
	Channels map[bridge.Channel]loss
}

// goOn continues the history that was saved, of which no message is known any more.
func (h *History) goOn() error {
	store := h.opts.Store
	if store == nil || h.opts.Messages == 0 {
		return nil
	}
	b, err := store.Load()
	if err != nil || len(b) == 0 {
		return err
	}
	if err := store.Save(nil); err != nil {
		return err // what was saved would be believed after a crash
	}
	var e ending
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun, h.run, h.position, h.lost = e.Begun, e.Run, e.Position, e.Lost
	for c, last := range e.Channels {
		p := &past{channel: c, lost: last}
		p.emptied = h.emptied.PushBack(p)
		h.channels[c] = p
	}
	return nil
}

// ended returns where the history ends. Channels beyond channelsRemembered count as one.
func (h *History) ended() ending {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Collect(maps.Values(h.channels))
	slices.SortFunc(all, func(a, b *past) int { return cmp.Compare(b.last().Position, a.last().Position) })
	e := ending{h.begun, h.run, h.position, h.lost, map[bridge.Channel]loss{}}
	for i, p := range all {
		last := p.last()
		if i < channelsRemembered {
			e.Channels[p.channel] = last
		} else if last.Position > e.Lost.Position {
			e.Lost = last
		}
	}
	return e
}

// last is the last message of a channel, kept or not.
func (p *past) last() loss {
	if n := p.records.count; n > 0 {
		return p.records.at(n - 1).loss()
	}
	return p.lost
}

// KeepEnd saves where the history ended. It is called when no message comes any more, and
// Serve has returned. If one came later, and was refused, it saves nothing.
func (h *History) KeepEnd() error {
	store := h.opts.Store
	if store == nil || h.opts.Messages == 0 || h.link.Late() {
		return nil
	}
	b, err := json.Marshal(h.ended())
	if err != nil {
		return err
	}
	return store.Save(b)
}
