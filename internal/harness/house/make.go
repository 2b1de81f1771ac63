package house

import (
	"strings"
	"time"
)

// Automate makes an automation, or changes the one of that id, until the test ends, as its
// editor does. It returns once the automation waits for its triggers. The id is any word.
func (h *House) Automate(id string, automation any) {
	h.t.Helper()
	running := func() (since time.Time) { // zero: it is not there
		for _, s := range h.States() {
			if strings.HasPrefix(s.ID, "automation.") && s.Attributes["id"] == id {
				return s.Changed
			}
		}
		return time.Time{}
	}
	path, before := "/api/config/automation/config/"+id, running()
	h.request("POST", path, automation)
	h.await("the automation is there", func() bool { now := running(); return !now.IsZero() && now != before })
	if h.automations[id] {
		return
	}
	h.automations[id] = true
	h.t.Cleanup(func() {
		if h.cmd != nil {
			h.request("DELETE", path, nil)
		}
	})
}

// Set gives an entity that belongs to no integration a state, as its developer tools do.
func (h *House) Set(entity, state string) {
	h.t.Helper()
	h.request("POST", "/api/states/"+entity, map[string]any{"state": state})
}

// Dashboard makes a dashboard of these cards until the test ends, as its editor does, and
// returns the path of its page.
func (h *House) Dashboard(cards ...any) (path string) {
	h.t.Helper()
	const at = "of-test"
	var made struct{ ID string }
	h.into(h.Ask("lovelace/dashboards/create", map[string]any{"url_path": at, "title": "Home"}), &made)
	h.t.Cleanup(func() {
		if h.cmd != nil {
			h.Ask("lovelace/dashboards/delete", map[string]any{"dashboard_id": made.ID})
		}
	})
	h.Ask("lovelace/config/save", map[string]any{"url_path": at, "config": map[string]any{
		"views": []any{map[string]any{"title": "Home", "cards": cards}},
	}})
	return "/" + at + "/0"
}

// Import imports a blueprint for automations by its address, as its dialogue does, and returns
// its path.
func (h *House) Import(address string) (path string) {
	h.t.Helper()
	var imported struct {
		Path   string   `json:"suggested_filename"`
		Text   string   `json:"raw_data"`
		Faults []string `json:"validation_errors"`
	}
	h.into(h.Ask("blueprint/import", map[string]any{"url": address}), &imported)
	if len(imported.Faults) > 0 {
		h.t.Fatalf("the blueprint's faults: %v", imported.Faults)
	}
	h.Ask("blueprint/save", map[string]any{
		"domain": "automation", "path": imported.Path, "yaml": imported.Text, "source_url": address, "allow_override": true,
	})
	return imported.Path + ".yaml"
}
