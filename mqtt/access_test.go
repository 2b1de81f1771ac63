package mqtt

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAccess(t *testing.T) {
	t.Parallel()
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
