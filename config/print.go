package config

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// yaml returns the keys that are set, with their values.
func (c Channel) yaml() (keys []string) {
	if c.Name != "" || !c.mayBeNameless() {
		keys = append(keys, "name: "+strconv.Quote(c.Name))
	}
	if c.HomeAssistant {
		keys = append(keys, "homeassistant: true")
	}
	if c.Device {
		keys = append(keys, "device: true")
	}
	if c.Confirm > 0 {
		keys = append(keys, "confirm: "+strconv.Itoa(c.Confirm), "within: "+formatDuration(c.Within))
	}
	if c.Unprotected {
		keys = append(keys, "unprotected: true")
	}
	if len(c.Map) > 0 {
		var lines []string
		for _, m := range c.Map {
			lines = append(lines, m.yaml())
		}
		keys = append(keys, "map: ["+strings.Join(lines, ", ")+"]")
	}
	return keys
}

// YAML returns the configuration as the text of a file that Load can read. If secrets is
// false, secrets are left out: their lines are comments.
func (c *Config) YAML(secrets bool) []byte {
	var b bytes.Buffer
	var section []string
	for _, s := range settings(c) {
		levels := strings.Split(s.Path, ".")
		in, key := levels[:len(levels)-1], levels[len(levels)-1]
		for i := range in {
			if i >= len(section) || !slices.Equal(in[:i+1], section[:i+1]) {
				fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), in[i])
			}
		}
		section = in
		indent := strings.Repeat("  ", len(in))
		fmt.Fprintf(&b, "%s# %s\n", indent, s.Help())
		text := s.value.yaml()
		if s.Secret && !secrets && text != `""` {
			fmt.Fprintf(&b, "%s# %s: set, not shown\n", indent, key)
			continue
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, key, text)
	}
	if len(c.Channels) > 0 {
		fmt.Fprintf(&b, "# the channels' names, for people, which of them Home Assistant is told of, which want more than one to say the same, and which are mapped to other topics\nchannels:\n")
		for _, n := range slices.Sorted(maps.Keys(c.Channels)) {
			fmt.Fprintf(&b, "  %d: {%s}\n", n, strings.Join(c.Channels[n].yaml(), ", "))
		}
	}
	if len(c.Users) > 0 {
		fmt.Fprintf(&b, "# who may connect over MQTT besides those with the secret key or a token, and who is an operator\nusers:\n")
		for _, name := range slices.Sorted(maps.Keys(c.Users)) {
			u := c.Users[name]
			if secrets {
				fmt.Fprintf(&b, "  %q: %s\n", name, yamlUser(u, strconv.Quote(u.PasswordHash)))
			} else {
				fmt.Fprintf(&b, "  # %q: %s\n", name, yamlUser(u, "set, not shown"))
			}
		}
	}
	return b.Bytes()
}
