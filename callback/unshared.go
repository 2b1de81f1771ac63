package callback

import (
	"bytes"
	"context"
	"encoding/json"

	"watchtower/bridge"
	"watchtower/ticker"
)

// What this gateway has changed of callbacks' documents, and the space does not have yet, is on its disk
// too, a second later at most: so it is not lost if the gateway starts anew while no server can be reached.

// keptChange is a change as it is on the disk.
type keptChange struct {
	Sender bridge.SenderID                `json:"sender"`
	URL    string                         `json:"url"`
	On     map[bridge.Channel]*membership `json:"on,omitempty"`
	Left   map[bridge.Channel]int64       `json:"left,omitempty"`
	State  *endpointState                 `json:"state,omitempty"`
	Replay *replayed                      `json:"replay,omitempty"`
	Gone   bool                           `json:"gone,omitempty"`
}

// restoreChanges takes what an earlier start has kept. It is called before documents are heard.
func (t *together) restoreChanges() {
	if t.Changes == nil {
		return
	}
	all := map[string]keptChange{}
	text, err := t.Changes.Load()
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.service.log.WithError(err).Error("changes of callbacks that were not shared yet cannot be read: they are lost")
		return
	}
	t.kept = text
	for key, k := range all {
		ch := &change{sender: k.Sender, url: k.URL, on: k.On, left: k.Left, state: k.State, replay: k.Replay, gone: k.Gone}
		if ch.on == nil {
			ch.on = map[bridge.Channel]*membership{}
		}
		if ch.left == nil {
			ch.left = map[bridge.Channel]int64{}
		}
		t.changes[key] = ch
		t.loose[key] = struct{}{}
		t.documents.Touch(key)
	}
}

// keepChanges keeps what is not shared yet, until ctx ends.
func (t *together) keepChanges(ctx context.Context) {
	if t.Changes == nil {
		return
	}
	tick := ticker.New(saveEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			tick.Next()
		}
		text := t.encodeChanges()
		if bytes.Equal(text, t.kept) {
			continue
		}
		if err := t.Changes.Save(text); err != nil {
			t.service.log.WithError(err).Warn("changes of callbacks that are not shared yet are not on the disk yet")
			continue
		}
		t.kept = text
	}
}

// encodeChanges returns what is not shared yet; nothing if there is none.
func (t *together) encodeChanges() []byte {
	c := t.service
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(t.changes) == 0 {
		return nil
	}
	all := map[string]keptChange{}
	for key, ch := range t.changes {
		all[key] = keptChange{ch.sender, ch.url, ch.on, ch.left, ch.state, ch.replay, ch.gone}
	}
	text, _ := json.Marshal(all) // plain structs: cannot fail
	return text
}
