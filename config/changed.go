package config

import (
	"maps"
	"reflect"
	"slices"
)

// Changed returns the paths of what differs between two configurations: first settings,
// then channels and users (channels.5, users.guest).
func Changed(a, b *Config) (paths []string) {
	of := settings(b)
	for i, s := range settings(a) {
		if s.value.yaml() != of[i].value.yaml() {
			paths = append(paths, s.Path)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(union(a.Channels, b.Channels))) {
		was, before := a.Channels[n]
		if is, after := b.Channels[n]; before != after || !reflect.DeepEqual(was, is) {
			paths = append(paths, channelPath(n))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(union(a.Users, b.Users))) {
		was, before := a.Users[name]
		if is, after := b.Users[name]; before != after || !reflect.DeepEqual(was, is) {
			paths = append(paths, "users."+name)
		}
	}
	return paths
}

// Reload takes over from another configuration the settings whose rows are marked
// reloads().
func (c *Config) Reload(read Config) {
	of := settings(&read)
	for i, s := range settings(c) {
		if s.Reloads {
			s.value.take(of[i].value)
			c.takeSource(s.Path, &read)
		}
	}
}

func union[K comparable, V any](a, b map[K]V) map[K]V {
	all := maps.Clone(a)
	if all == nil {
		all = map[K]V{}
	}
	maps.Copy(all, b)
	return all
}
