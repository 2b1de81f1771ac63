package mqtt

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAccess(t *testing.T) {
	a := newAccess([]Rule{
		{Read: true, Pattern: "home/#"},
		{Pattern: "home/safe/#"},
		{Read: true, Write: true, Pattern: "users/%u/%c/+"},
		{Write: true, Pattern: "tele/%c_state"},
	}, "guest", "tablet")
	for topic, want := range map[string]string{
		"home":                    "r",
		"home/kitchen":            "r",
		"home/safe":               "",
		"home/safe/code":          "",
		"home/safer":              "r",
		"users/guest/tablet/x":    "rw",
		"users/guest/tablet/x/y":  "",
		"users/guest/other/x":     "",
		"users/mother/tablet/x":   "",
		"tele/tablet_state":       "w",
		"tele/tablet_state/":      "",
		"$SYS/home":               "",
		"homes":                   "",
		"users/guest/tablet":      "",
		"users/%u/%c/x":           "",
		"users/guest/tablet/x/..": "",
	} {
		got := ""
		if a.mayRead(topic) {
			got = "r"
		}
		if a.mayWrite(topic) {
			got += "w"
		}
		assert.Equal(t, want, got, topic)
	}
	for filter, want := range map[string]bool{
		"#": true, "home/#": true, "home/+/#": true, "home/safe": false, "home/safe/#": false, "home/safe/+/x": false,
		"home/+": true, "other/#": false, "+/guest/#": true, "+/mother/#": true, // of home
		"users/mother/#": false, "users/guest/#": true, "tele/#": false, "$SYS/#": false, "/home": false,
	} {
		assert.Equal(t, want, a.maySubscribe(filter), filter)
	}
	var everything *access
	assert.True(t, everything.mayRead("x") && everything.mayWrite("x") && everything.maySubscribe("#"))
	nothing := newAccess([]Rule{}, "guest", "tablet")
	assert.False(t, nothing.mayRead("x") || nothing.mayWrite("x") || nothing.maySubscribe("#"))
	all := newAccess([]Rule{{Read: true, Pattern: "#"}}, "guest", "tablet")
	assert.False(t, all.mayRead("$internal/x"), "a wildcard at the front does not open $ topics")
}

// What covers and overlap say of filters agrees with what they say of topics.
func TestFiltersAreSetsOfTopics(t *testing.T) {
	levels := []string{"", "a", "b", "$x"}
	var topics [][]string
	for _, one := range levels {
		topics = append(topics, []string{one})
		for _, two := range levels {
			topics = append(topics, []string{one, two})
			for _, three := range levels {
				topics = append(topics, []string{one, two, three})
				for _, four := range levels {
					topics = append(topics, []string{one, two, three, four})
				}
			}
		}
	}
	filter := func() []string {
		var f []string
		for range 1 + rand.IntN(3) {
			f = append(f, []string{"", "a", "b", "+", "+", "$x"}[rand.IntN(6)])
		}
		if rand.IntN(3) == 0 {
			f = append(f, "#")
		}
		return f
	}
	for range 20000 {
		p, f := filter(), filter()
		both, outside := false, false
		for _, topic := range topics {
			inP, inF := covers(p, topic), covers(f, topic)
			both = both || inP && inF
			outside = outside || inF && !inP
		}
		what := fmt.Sprintf("%q and %q", strings.Join(p, "/"), strings.Join(f, "/"))
		assert.Equal(t, both, overlap(p, f), "overlap of %s", what)
		if covers(p, f) {
			assert.False(t, outside, "%s covers", what)
		}
	}
}
