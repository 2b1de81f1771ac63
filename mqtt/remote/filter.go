package remote

import "strings"

// matches reports whether a topic filter, which is valid, matches a topic (MQTT 5, 4.7).
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && !strings.HasPrefix(filter, "$") {
		return false
	}
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		at, below, deeper := strings.Cut(topic, "/")
		if level != "+" && level != at {
			return false
		}
		if !more || !deeper {
			return more == deeper || more && rest == "#"
		}
		filter, topic = rest, below
	}
}
