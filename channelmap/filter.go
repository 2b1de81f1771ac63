package channelmap

import (
	"slices"
	"strings"
)

// Filter is a topic filter to which a tree listens.
type Filter struct {
	Topic    string
	QoS      byte
	Retained bool // some map wants what was retained before, too
}

// matches reports whether a topic's levels match a filter's. Wildcards do not match topics
// that begin with $ (MQTT-4.7.2-1).
func matches(filter, topic []string) bool {
	if strings.HasPrefix(topic[0], "$") && (filter[0] == "+" || filter[0] == "#") {
		return false
	}
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i == len(topic) || level != "+" && level != topic[i]:
			return false
		}
	}
	return len(filter) == len(topic)
}

// covers reports whether every topic that matches the other filter matches this one.
func covers(filter, other []string) bool {
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i == len(other) || other[i] == "#" || level != "+" && level != other[i]:
			return false
		}
	}
	return len(filter) == len(other)
}

// merged returns filters of which none covers another, in order, for trees that give a message
// once for each filter that it matches.
func merged(all []Filter) []Filter {
	var kept []Filter
	for _, f := range all {
		levels := strings.Split(f.Topic, "/")
		covered := slices.IndexFunc(kept, func(k Filter) bool { return covers(strings.Split(k.Topic, "/"), levels) })
		if covered >= 0 {
			kept[covered] = kept[covered].and(f)
			continue
		}
		kept = slices.DeleteFunc(kept, func(k Filter) bool {
			if covers(levels, strings.Split(k.Topic, "/")) {
				f = f.and(k)
				return true
			}
			return false
		})
		kept = append(kept, f)
	}
	slices.SortFunc(kept, func(a, b Filter) int { return strings.Compare(a.Topic, b.Topic) })
	return kept
}

// and returns the filter with what another one wants of the same messages.
func (f Filter) and(other Filter) Filter {
	f.QoS, f.Retained = max(f.QoS, other.QoS), f.Retained || other.Retained
	return f
}
