package homeassistant_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// registry is what a Home Assistant remembers of discovery. It removes only what it has seen
// since its start.
type registry struct {
	known map[string]bool            // topic and key of each component
	seen  map[string]map[string]bool // keys by topic, since its start
}

func newRegistry() *registry {
	return &registry{map[string]bool{}, map[string]map[string]bool{}}
}

func (r *registry) restart() { clear(r.seen) }

func (r *registry) receive(topic string, payload []byte) {
	if !isDiscovery(topic) {
		return
	}
	if len(payload) == 0 {
		r.forget(topic)
		return
	}
	if r.seen[topic] == nil {
		r.seen[topic] = map[string]bool{}
	}
	for key, stub := range componentsOf(payload) {
		switch {
		case !stub:
			r.seen[topic][key], r.known[topic+" "+key] = true, true
		case r.seen[topic][key]:
			delete(r.seen[topic], key)
			delete(r.known, topic+" "+key)
		}
	}
}

// forget is what it does when its owner deletes a device, too.
func (r *registry) forget(topic string) {
	for key := range r.seen[topic] {
		delete(r.known, topic+" "+key)
	}
	delete(r.seen, topic)
}

// componentsOf lists the components of a payload; true: only the stub of one.
func componentsOf(payload []byte) map[string]bool {
	var d struct{ Components map[string]map[string]any }
	if err := json.Unmarshal(payload, &d); err != nil {
		panic(err)
	}
	all := map[string]bool{}
	for key, c := range d.Components {
		all[key] = len(c) == 1
	}
	return all
}

// discovered lists the components that are in retained discovery.
func (b *bus) discovered() (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for topic, payload := range b.retained {
		if isDiscovery(topic) && len(payload) > 0 {
			for key := range componentsOf(payload) {
				all = append(all, topic+" "+key)
			}
		}
	}
	slices.Sort(all)
	return all
}

// connect connects a house that gets what is retained, and says that it is born.
func (h *home) connect(r *registry) *client {
	c := h.house("homeassistant")
	h.bus.mu.Lock()
	c.registry = r
	for topic, payload := range h.bus.retained {
		r.receive(topic, payload)
	}
	h.bus.mu.Unlock()
	h.birthOf(c)
	return c
}

// revive begins another life after a kill. The retained messages that do not outlive the process
// are gone.
func (h *home) revive() {
	h.stop()
	h.bus.life.end(-1)
	maps.DeleteFunc(h.bus.retained, func(topic string, _ []byte) bool { return isDiscovery(topic) })
	h.start()
}

// The gateway is killed at each step of a removal: before and after each message that it
// publishes, and each document that it writes. Then the house shows what is discovered, and nothing
// else; and what it was acknowledged to have removed does not come back.
func TestKilledAtEachStepOfARemoval(t *testing.T) {
	const description = `{"sensors":{"a":{},"b":{}}}`
	removals := map[string]func(h *home, say func(string), r *registry) (acknowledged bool){
		"by the house": func(h *home, _ func(string), r *registry) bool {
			r.forget(balconyTopic)
			err := h.bus.remove(balconyTopic)
			return err == nil && h.bus.life.step()
		},
		"by the device":  func(_ *home, say func(string), _ *registry) bool { say(`{"sensors":{},"commands":[]}`); return false },
		"of a component": func(_ *home, say func(string), _ *registry) bool { say(`{"sensors":{"a":{}}}`); return false },
		"by a change of kind": func(_ *home, say func(string), _ *registry) bool {
			say(`{"sensors":{"a":{}},"switches":{"b":{}}}`)
			return false
		},
		"by the configuration": func(h *home, _ func(string), _ *registry) bool {
			delete(h.options.Channels, 6)
			h.stop()
			h.start()
			return false
		},
		"of all that there is": func(h *home, _ func(string), _ *registry) bool {
			clear(h.options.Channels)
			h.stop()
			h.start()
			return false
		},
	}
	for name, remove := range removals {
		for _, house := range []string{"stays", "restarts", "is away"} {
			t.Run(name+", the house "+house, func(t *testing.T) {
				for step, last := 0, false; !last; step++ {
					require.Less(t, step, 100)
					synctest.Test(t, func(t *testing.T) {
						h := newHome(t, "home")
						h.options.Channels[6] = "Door"
						h.start()
						_, say := h.sender("balcony")
						say(description)
						r := newRegistry()
						c := h.connect(r)
						wait(t, 30)
						require.Equal(t, h.bus.discovered(), slices.Sorted(maps.Keys(r.known)))
						require.Len(t, r.known, 17)
						c.away.Store(house == "is away")

						h.bus.life.end(step)
						acknowledged := remove(h, say, r)
						wait(t, 60)
						last = h.bus.life.taken() <= step
						if house != "stays" {
							r.restart()
						}
						h.revive()
						h.connect(r)
						wait(t, 60)
						where := fmt.Sprintf("killed after %d steps", step)
						assert.Equal(t, h.bus.discovered(), slices.Sorted(maps.Keys(r.known)), where)
						if acknowledged {
							assert.NotContains(t, strings.Join(h.bus.discovered(), " "), "balcony", where)
						}
						h.stop()
					})
				}
			})
		}
	}
}
