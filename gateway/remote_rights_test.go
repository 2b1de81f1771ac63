package gateway_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// ruled is a mosquitto with rules for the gateway's user.
type ruled struct {
	*harness.Mosquitto
}

func withRulesFor(t testing.TB, lines string) ruled {
	t.Helper()
	m := ruled{&harness.Mosquitto{TB: t, Address: harness.FreeAddress(t), Dir: t.TempDir()}}
	m.Configure("allow_anonymous true\nacl_file " + m.rules(lines))
	m.Start()
	t.Cleanup(m.Kill)
	return m
}

// rules writes the rules' file.
func (m ruled) rules(lines string) (path string) {
	return m.File("acl", "user look\ntopic readwrite #\n\nuser watchtower\n"+lines+"\n")
}

// change has the broker read other rules.
func (m ruled) change(lines string) {
	m.rules(lines)
	m.Signal(syscall.SIGHUP)
}

func (r *running) readiness() string {
	_, answer := r.call("GET", "/readyz", "", "")
	return answer
}

// A broker whose rules give the gateway too little is a fault that names what is missing, and the line
// that gives it. Once the rules are right, the gateway works without a restart.
func TestABrokerWhoseRulesAreTooNarrow(t *testing.T) {
	t.Parallel()
	const all = "topic readwrite #"
	for name, c := range map[string]struct{ rules, said string }{
		"nothing":      {"topic read nothing", "write watchtower/channels/4294967295/broadcast/4294967295 (code 0x87)"},
		"no discovery": {"topic readwrite watchtower/#", "write homeassistant/device/watchtower_home/config"},
		"write only":   {"topic write #", "read or write watchtower/channels/4294967295/broadcast/4294967295"},
		"read only":    {"topic read #", "write watchtower/channels/4294967295/broadcast/4294967295 (code 0x87)"},
		"no lists":     {"topic readwrite watchtower/channels/#\ntopic readwrite watchtower/gateways/#\ntopic readwrite homeassistant/#", "write watchtower/members/4294967295/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := withRulesFor(t, c.rules)
			cfg := beside(t, m.Mosquitto, func(c *config.Config) { c.MQTT.Remote.User = "watchtower" })
			r := startHomely(t, cfg)
			eventually(t, "the gateway says what is missing", func() bool { return strings.Contains(r.readiness(), "access rules") })
			assert.Contains(t, r.readiness(), c.said)
			assert.Contains(t, r.readiness(), `topic readwrite #`)
			assert.Contains(t, r.log.String(), "access rules")
			m.change(all)
			r.isAtRemote()
		})
	}
}

// The rules are made narrower while the gateway is connected.
func TestABrokerWhoseRulesBecomeTooNarrow(t *testing.T) {
	t.Parallel()
	m := withRulesFor(t, "topic readwrite #")
	cfg := beside(t, m.Mosquitto, func(c *config.Config) { c.MQTT.Remote.User = "watchtower" })
	r := startHomely(t, cfg)
	r.isAtRemote()
	m.change("topic readwrite watchtower/#")
	d := r.named("http", "balcony")
	eventually(t, "the gateway says what it may not write", func() bool {
		d.broadcast(5, []byte(strings.Replace(balcony, "{", `{"model":"M`+string(rune('a'+len(r.log.String())%26))+`",`, 1))) // until the broker has read its rules
		return strings.Contains(r.readiness(), "write "+balconyTopic)
	})
	require.Contains(t, r.log.String(), "the foreign broker refuses what the gateway retains there")
	m.change("topic readwrite #")
	r.isAtRemote()
	kept := make(chan string, 10)
	c := stranger(t, m.Mosquitto, "look", "x", "")
	done(t, c.Subscribe(balconyTopic, 1, collect(kept)))
	assert.Contains(t, r.log.String(), "takes what it had refused")
	assert.NotContains(t, r.log.String(), "is back")
	eventually(t, "it was written once it could be", func() bool { return len(kept) > 0 && strings.Contains(<-kept, "Moisture") })
}
