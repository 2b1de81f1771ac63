package house

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// State is an entity as its page shows it. A state without an entity is Missing.
type State struct {
	ID         string `json:"entity_id"`
	State      string
	Attributes map[string]any
	Changed    time.Time `json:"last_changed"`
}

// Missing is the state of an entity that is not there.
const Missing = "(missing)"

// Broker is how Home Assistant reaches a broker.
type Broker struct {
	At       string // host:port
	User     string // empty: homeassistant
	Password string
	Client   string // the client id; empty: Home Assistant makes one up
	Protocol string // empty: 5
}

// Join sets the MQTT integration up, as a person does.
func (h *House) Join(b Broker) {
	h.t.Helper()
	user := b.User
	if user == "" {
		user = "homeassistant"
	}
	protocol := b.Protocol
	if protocol == "" {
		protocol = "5"
	}
	host, port, err := net.SplitHostPort(b.At)
	require.NoError(h.t, err)
	number, err := strconv.Atoi(port)
	require.NoError(h.t, err)
	other := map[string]any{"set_client_cert": false, "set_ca_cert": "off", "transport": "tcp"}
	if b.Client != "" {
		other["client_id"] = b.Client
	}
	var flow struct {
		ID string `json:"flow_id"`
	}
	h.into(h.request("POST", "/api/config/config_entries/flow", map[string]any{"handler": "mqtt"}), &flow)
	var done struct {
		Type   string
		Errors map[string]string
		Result struct {
			Entry string `json:"entry_id"`
		}
	}
	h.into(h.request("POST", "/api/config/config_entries/flow/"+flow.ID, map[string]any{
		"broker": host, "port": number, "protocol": protocol, "username": user, "password": b.Password, "other_settings": other,
	}), &done)
	require.Equal(h.t, "create_entry", done.Type, "%v", done.Errors)
	h.entry = done.Result.Entry
}

// Reload reloads the MQTT integration, as its menu does.
func (h *House) Reload() {
	h.t.Helper()
	h.request("POST", "/api/config/config_entries/entry/"+h.entry+"/reload", nil)
}

// Forget removes the MQTT integration with its devices.
func (h *House) Forget() {
	h.t.Helper()
	h.request("DELETE", "/api/config/config_entries/entry/"+h.entry, nil)
	h.entry = ""
	h.await("MQTT's entities are gone", func() bool { return len(h.Entities()) == 0 })
}

// Options changes options of the MQTT integration: discovery_prefix, birth_topic and others
// of its form, which it is filled with.
func (h *House) Options(change map[string]any) {
	h.t.Helper()
	var form struct {
		ID     string `json:"flow_id"`
		Schema []struct {
			Name        string
			Default     any
			Description struct {
				Suggested any `json:"suggested_value"`
			}
		} `json:"data_schema"`
	}
	h.into(h.request("POST", "/api/config/config_entries/options/flow", map[string]any{"handler": h.entry}), &form)
	filled := map[string]any{}
	for _, field := range form.Schema {
		if field.Description.Suggested != nil {
			filled[field.Name] = field.Description.Suggested
		} else if field.Default != nil {
			filled[field.Name] = field.Default
		}
	}
	maps.Copy(filled, change)
	var done struct {
		Type   string
		Errors map[string]string
	}
	h.into(h.request("POST", "/api/config/config_entries/options/flow/"+form.ID, filled), &done)
	require.Equal(h.t, "create_entry", done.Type, "%v", done.Errors)
}

// States returns all states by entity id.
func (h *House) States() map[string]State {
	h.t.Helper()
	var list []State
	h.into(h.Ask("get_states", nil), &list)
	all := make(map[string]State, len(list))
	for _, s := range list {
		all[s.ID] = s
	}
	return all
}

// State returns an entity's state now.
func (h *House) State(entity string) State {
	h.t.Helper()
	if s, ok := h.States()[entity]; ok {
		return s
	}
	return State{ID: entity, State: Missing}
}

// Until looks until the states are as wanted, and returns them.
func (h *House) Until(what string, so func(map[string]State) bool) map[string]State {
	h.t.Helper()
	var all map[string]State
	h.await(what, func() bool { all = h.States(); return so(all) })
	return all
}

// Shows waits until an entity has a state, which may be Missing, and returns it.
func (h *House) Shows(entity, state string) State {
	h.t.Helper()
	var s State
	for late := time.Now().Add(Patience); ; time.Sleep(20 * time.Millisecond) {
		if s = h.State(entity); s.State == state {
			return s
		}
		if time.Now().After(late) {
			require.Equal(h.t, state, s.State, "%s\n%v\n%s", entity, s.Attributes, tail(h.Log(), 2000))
		}
	}
}

// Has waits until MQTT has exactly these entities with a state, and none that is only
// remembered.
func (h *House) Has(entities ...string) {
	h.t.Helper()
	entities = slices.Sorted(slices.Values(entities)) // not in the caller's list
	var got []string
	late := time.Now().Add(Patience)
	for {
		got = nil
		states := h.States()
		for _, e := range h.Entities() {
			s, there := states[e.ID]
			switch {
			case !there:
				got = append(got, e.ID+" "+Missing)
			case s.Attributes["restored"] == true:
				got = append(got, e.ID+" (restored)")
			default:
				got = append(got, e.ID)
			}
		}
		slices.Sort(got)
		if slices.Equal(entities, got) {
			return
		}
		if time.Now().After(late) {
			require.Equal(h.t, entities, got, tail(h.Log(), 2000))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Call calls a service, such as button.press, for an entity. It returns when the service
// has run; the test fails if Home Assistant says that it failed.
func (h *House) Call(service, entity string, data map[string]any) {
	h.t.Helper()
	require.NoError(h.t, h.TryCall(service, entity, data))
}

// TryCall is Call for services that may fail.
func (h *House) TryCall(service, entity string, data map[string]any) error {
	h.t.Helper()
	domain, name, _ := strings.Cut(service, ".")
	with := map[string]any{"domain": domain, "service": name, "service_data": data}
	if data == nil {
		with["service_data"] = map[string]any{}
	}
	if entity != "" {
		with["target"] = map[string]any{"entity_id": entity}
	}
	if a := h.ask("call_service", with, nil); !a.Success {
		return fmt.Errorf("%s: %s", service, a.Error)
	}
	return nil
}

// Entity is an entry of the entity registry.
type Entity struct {
	ID       string `json:"entity_id"`
	Unique   string `json:"unique_id"`
	Device   string `json:"device_id"`
	Platform string
	Name     string `json:"original_name"`
	Category string `json:"entity_category"`
	Disabled string `json:"disabled_by"`
}

// Entities lists what the registry has of MQTT.
func (h *House) Entities() (mqtt []Entity) {
	h.t.Helper()
	var all []Entity
	h.into(h.Ask("config/entity_registry/list", nil), &all)
	for _, e := range all {
		if e.Platform == "mqtt" {
			mqtt = append(mqtt, e)
		}
	}
	return mqtt
}

// Device is an entry of the device registry.
type Device struct {
	ID           string
	Name         string
	Manufacturer string
	Model        string
	Via          string     `json:"via_device_id"`
	Area         string     `json:"area_id"`
	Software     string     `json:"sw_version"`
	Hardware     string     `json:"hw_version"`
	Serial       string     `json:"serial_number"`
	URL          string     `json:"configuration_url"`
	Entries      []string   `json:"config_entries"`
	Identifiers  [][]string `json:"identifiers"`
	Connections  [][]string `json:"connections"`
}

// Devices lists the devices of MQTT by name.
func (h *House) Devices() map[string]Device {
	h.t.Helper()
	var all []Device
	h.into(h.Ask("config/device_registry/list", nil), &all)
	mqtt := map[string]Device{}
	for _, d := range all {
		if slices.Contains(d.Entries, h.entry) {
			mqtt[d.Name] = d
		}
	}
	return mqtt
}

// DeleteDevice deletes a device of MQTT, as its page does.
func (h *House) DeleteDevice(name string) {
	h.t.Helper()
	d, ok := h.Devices()[name]
	require.True(h.t, ok, name)
	h.Ask("config/device_registry/remove_config_entry", map[string]any{"device_id": d.ID, "config_entry_id": h.entry})
}

// DeleteEntity deletes an entity from the registry, as its dialogue does.
func (h *House) DeleteEntity(id string) {
	h.t.Helper()
	h.Ask("config/entity_registry/remove", map[string]any{"entity_id": id})
}

// Render renders a template with Home Assistant's own engine.
func (h *House) Render(template string) string {
	h.t.Helper()
	var text string
	raw := h.request("POST", "/api/template", map[string]any{"template": template})
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return text
}

// At returns where its page is: http://host:port. Token returns the owner's access token.
func (h *House) At() string    { return "http://" + h.at }
func (h *House) Token() string { return h.token }
