package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Kind is one entity of a device that describes itself to Home Assistant, and how it is used
// both ways.
type Kind struct {
	Section, Key, Entity string
	Options              json.RawMessage
	Shows                []KindShows
	Sends                []KindSends
	Late                 bool // its services can be called once it has a state
}

// KindShows is what an entity shows after its device has said a value.
type KindShows struct {
	Says  json.RawMessage
	State string
	With  map[string]any // attributes
}

// KindSends is what a device is sent when a service of its entity is called.
type KindSends struct {
	Service string
	Data    json.RawMessage
	Heard   string
}

// AllKinds are an entity or more of every kind that has values, of a device named d.
type AllKinds []Kind

// Kinds reads them from a file.
func Kinds(t testing.TB, file string) (all AllKinds) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &all))
	return all
}

// Description is a description with them all, and with a button named reset.
func (all AllKinds) Description() string {
	sections := map[string]map[string]json.RawMessage{"buttons": {"reset": json.RawMessage(`{"device_class":"restart"}`)}}
	for _, k := range all {
		if sections[k.Section] == nil {
			sections[k.Section] = map[string]json.RawMessage{}
		}
		sections[k.Section][k.Key] = k.Options
	}
	b, _ := json.Marshal(sections) // always: it was JSON
	return string(b)
}

// Shown reports whether this is what is shown.
func (s KindShows) Shown(state string, attributes map[string]any) bool {
	for name, want := range s.With {
		if !reflect.DeepEqual(want, attributes[name]) {
			return false
		}
	}
	return state == s.State
}

// Echo is what a device says that says back what it was sent.
func (k Kind) Echo(s KindSends) []byte {
	argument, _ := strings.CutPrefix(s.Heard, k.Key+" ")
	return fmt.Appendf(nil, `{%q:%q}`, k.Key, argument)
}
