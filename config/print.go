package config

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// YAML returns the configuration as the text of a file that Load can read. If secrets is
// false, secrets are left out: their lines are comments.
func (c *Config) YAML(secrets bool) []byte {
	var b bytes.Buffer
	section := ""
	for _, s := range settings(c) {
		in, key, nested := strings.Cut(s.Path, ".")
		indent := "  "
		if !nested {
			in, key, indent = "", s.Path, ""
		}
		if in != section && in != "" {
			fmt.Fprintf(&b, "%s:\n", in)
		}
		section = in
		fmt.Fprintf(&b, "%s# %s\n", indent, s.Help())
		text := s.value.yaml()
		if s.Secret && !secrets && text != `""` {
			fmt.Fprintf(&b, "%s# %s: set, not shown\n", indent, key)
			continue
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, key, text)
	}
	if len(c.Channels) > 0 {
		fmt.Fprintf(&b, "# the channels' names, for people, and which of them Home Assistant is told of\nchannels:\n")
		for _, n := range slices.Sorted(maps.Keys(c.Channels)) {
			asked := ""
			if c.Channels[n].HomeAssistant {
				asked = ", homeassistant: true"
			}
			if c.Channels[n].Device {
				asked += ", device: true"
			}
			fmt.Fprintf(&b, "  %d: {name: %s%s}\n", n, strconv.Quote(c.Channels[n].Name), asked)
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
