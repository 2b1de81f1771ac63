package homeassistant

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// The limits of what a description says of the device.
const (
	urlMost       = 255            // characters
	availableMost = 31 * 24 * 3600 // seconds
	ttlMost       = 14 * 24 * 3600 // seconds
	ttlUsual      = 60             // seconds
)

// about is what a description says of the device itself.
type about struct {
	texts map[string]string // by Home Assistant's key; those that are there
	mac   string            // aa:bb:cc:dd:ee:ff; empty: none

	availableFor int // seconds for which it counts as there after it spoke; 0: it is there while it is a member
	ttl          int // seconds that a command may wait for it; 0: for ever
}

// aboutTexts are the texts that a description may say of the device, with Home Assistant's
// keys for them.
var aboutTexts = []struct{ key, as string }{
	{"name", "name"}, {"model", "model"}, {"model_id", "model_id"}, {"manufacturer", "manufacturer"},
	{"sw_version", "sw_version"}, {"hw_version", "hw_version"}, {"serial", "serial_number"}, {"area", "suggested_area"},
}

var aboutKeys = []string{
	"name", "model", "model_id", "manufacturer", "sw_version", "hw_version", "serial", "area", "url", "mac", "available_for", "ttl",
}

// readAbout reads what a description says of the device. What is refused is left out.
func (d *description) readAbout(root map[string]json.RawMessage) about {
	a := about{texts: map[string]string{}, ttl: ttlUsual}
	for _, t := range aboutTexts {
		if s, there := d.readText(root, t.key, textMost); there {
			a.texts[t.as] = s
		}
	}
	if at, there := d.readText(root, "url", urlMost); there {
		if u, err := url.Parse(at); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			d.refuse(wrong("url", "must begin with http:// or https:// and a host"))
		} else {
			a.texts["configuration_url"] = at
		}
	}
	if raw, there := root["mac"]; there {
		if a.mac = macAddress(raw); a.mac == "" {
			d.refuse(wrong("mac", "must be an address such as a4:cf:12:00:00:01"))
		}
	}
	a.availableFor = d.readSeconds(root, "available_for", 0, availableMost)
	a.ttl = d.readSeconds(root, "ttl", ttlUsual, ttlMost)
	return a
}

// readText reads a text that may be missing, but not empty.
func (d *description) readText(from map[string]json.RawMessage, key string, most int) (s string, there bool) {
	raw, there := from[key]
	if !there {
		return "", false
	}
	s, ok := printable(raw, most)
	if !ok {
		d.refuse(wrong(key, "must be text of 1 to %d printable characters", most))
	}
	return s, ok
}

var hexDigits = regexp.MustCompile(`^([0-9a-f]{2}[:-]?){5}[0-9a-f]{2}$`)

// macAddress returns an address as Home Assistant writes it, or "".
func macAddress(raw json.RawMessage) string {
	said, _ := text(raw)
	said = strings.ToLower(said)
	if !hexDigits.MatchString(said) {
		return ""
	}
	said = strings.NewReplacer(":", "", "-", "").Replace(said)
	for i := 2; i < len(said); i += 3 {
		said = said[:i] + ":" + said[i:]
	}
	return said
}

// readSeconds reads a whole number of seconds that may be missing, and may be 0.
func (d *description) readSeconds(from map[string]json.RawMessage, key string, usual, most int) int {
	raw, there := from[key]
	if !there {
		return usual
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil || n < 0 || n > most {
		d.refuse(wrong(key, "must be a whole number of seconds from 0 to %d", most))
		return usual
	}
	return n
}

// device returns what discovery says of the device, besides its identifiers. The name is
// used if the description gives none.
func (a about) device(name, via string) map[string]any {
	d := map[string]any{"name": name, "via_device": via}
	for key, text := range a.texts {
		d[key] = text
	}
	if a.mac != "" {
		d["connections"] = []any{[]any{"mac", a.mac}}
	}
	return d
}
