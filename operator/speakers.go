package operator

import (
	"strings"
	"sync"

	"watchtower/bridge"
)

// consoleName is the sender of who has the admin key. A user of the configuration has one
// of its own: console.ann.
const consoleName = "console"

// ofOperators reports whether a name is of an operator's sender.
func ofOperators(name string) bool {
	return name == consoleName || strings.HasPrefix(name, consoleName+".")
}

// voice returns what an operator has shown: who has signed in by a user's password speaks as
// that user. The admin key is nobody's own.
func (who caller) voice() bridge.Voice {
	if who.vouched || who.session == "" || who.name == adminName {
		return bridge.Voice{}
	}
	return bridge.Voice{User: who.name}
}

// speakers are the senders of operators: one for each who has said something.
type speakers struct {
	hub *bridge.Hub

	mu   sync.Mutex
	held map[string]*bridge.Hold // by name
}

// of returns the sender of an operator, which is made when it first speaks.
func (sp *speakers) of(who caller) (*bridge.Sender, error) {
	name := consoleName
	if who.name != "" && who.name != adminName {
		name += "." + who.name
	}
	if !bridge.ValidName(name) { // a user's name may be long
		name = strings.ToValidUTF8(name[:min(len(name), 64)], "_")
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if hold := sp.held[name]; hold != nil {
		return hold.Sender(), nil
	}
	var hold *bridge.Hold
	hold, err := sp.hub.Holds().Register(bridge.Naming{Name: name, Lasting: true, Via: Protocol}, func() {
		sp.mu.Lock()
		defer sp.mu.Unlock()
		if sp.held[name] == hold {
			delete(sp.held, name)
		}
	})
	if err != nil {
		return nil, err
	}
	hold.Present(Protocol)
	sp.held[name] = hold
	return hold.Sender(), nil
}
