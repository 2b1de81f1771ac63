package callback

import (
	"encoding/json"
	"maps"

	"watchtower/bridge"
)

// document is a callback as the gateways of a space share it, by its key.
type document struct {
	Sender bridge.SenderID               `json:"sender"`
	URL    string                        `json:"url"`
	On     map[bridge.Channel]membership `json:"on,omitempty"`
	State  endpointState                 `json:"state,omitzero"`
	Replay replayed                      `json:"replay,omitzero"`
}

// replayed is the last request to post failed deliveries again.
type replayed struct {
	At  int64    `json:"at"`
	IDs []string `json:"ids,omitempty"` // none: all
}

func (d document) empty() bool { return len(d.On) == 0 && d.State == endpointState{} }

// lasting is the part of the state that all gateways have. The rest is what the one that
// posts finds out.
func (s endpointState) lasting() endpointState {
	s.FailingSince, s.LastError, s.LastErrorAt = endpointState{}.FailingSince, "", endpointState{}.LastErrorAt
	return s
}

// change is what this gateway changes of a document, until the space has it.
type change struct {
	sender bridge.SenderID
	url    string
	on     map[bridge.Channel]*membership
	left   map[bridge.Channel]int64 // the joins that have ended; a later one has not
	state  *endpointState
	replay *replayed
	gone   bool // its sender was forgotten
}

// apply returns a document with a change. The document that is given does not change.
func (c *change) apply(d document) document {
	if c == nil {
		return d
	}
	if c.gone {
		return document{}
	}
	d.Sender, d.URL, d.On = c.sender, c.url, maps.Clone(d.On)
	if d.On == nil {
		d.On = map[bridge.Channel]membership{}
	}
	for ch, m := range c.on {
		if d.On[ch].Joined < m.Joined {
			d.On[ch] = *m
		}
	}
	for ch, joined := range c.left {
		if d.On[ch].Joined <= joined {
			delete(d.On, ch)
		}
	}
	if c.state != nil {
		d.State = *c.state
	}
	if c.replay != nil {
		d.Replay = *c.replay
	}
	return d
}

func encode(d document) []byte {
	b, _ := json.Marshal(d) // plain structs: cannot fail
	return b
}
