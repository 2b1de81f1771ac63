package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// contains reports whether a text has all of these in it.
func contains(text string, all ...string) bool {
	for _, one := range all {
		if !strings.Contains(text, one) {
			return false
		}
	}
	return true
}

func testRemoteURL(t *testing.T) {
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := onRemote(t, m, nil)
	c := stranger(t, m, "look", "x", "")
	heard := make(chan string, 10)
	done(t, c.Subscribe("watchtower/channels/#", 1, func(_ paho.Client, m paho.Message) { heard <- string(m.Payload()) }))
	r.wire("udp").broadcast(5, []byte("on both"))
	require.Equal(t, "on both", <-heard)
}

// The broker lets in whom it knows.
func testRemoteLogin(t *testing.T) {
	m := withRules(t, "probe")
	for user, said := range map[string]string{"gateway": "", "stranger": "not authorized", "": "not authorized"} {
		r := start(t, func(c *config.Config) {
			c.MQTT.Remote.URL = m.URL()
			byRules(c)
			if c.MQTT.Remote.User = user; user == "" {
				c.MQTT.Remote.Password = ""
			}
		})
		if said == "" {
			r.isAtRemote()
			continue
		}
		eventually(t, "the gateway says why", func() bool {
			_, answer := r.call("GET", "/readyz", "", "")
			return contains(answer, said, "mqtt.remote.user")
		})
	}
}

func testRemoteTLS(t *testing.T) {
	ca := newAuthority(t)
	ca.issue("server", "127.0.0.1")
	ca.issue("client", "gateway")
	m := harness.StartMosquitto(t, fmt.Sprintf("allow_anonymous true\ncertfile %s\nkeyfile %s\ncafile %s\nrequire_certificate true", ca.path("server"), ca.path("server.key"), ca.path("ca")))
	with := func(change func(*config.Remote)) *running {
		return start(t, func(c *config.Config) {
			c.MQTT.Remote = config.Remote{URL: "mqtts://" + m.Address, Trust: "none", TLSCA: ca.path("ca"), TLSCertificate: ca.path("client"), TLSKey: ca.path("client.key")}
			change(&c.MQTT.Remote)
		})
	}
	with(func(*config.Remote) {}).isAtRemote()
	for said, change := range map[string]func(*config.Remote){
		"unknown authority": func(c *config.Remote) { c.TLSCA = "" },
		"tls":               func(c *config.Remote) { c.TLSCertificate, c.TLSKey = "", "" },
	} {
		r := with(change)
		eventually(t, "the gateway says why", func() bool {
			_, answer := r.call("GET", "/readyz", "", "")
			return contains(answer, "remote_fault", said)
		})
	}
}

// A device's login by which nobody can be let in ends nothing: the gateway says so, and tries on.
func testRemoteProbe(t *testing.T) {
	m := withRules(t, "probe")
	for _, probe := range []config.Login{{User: "probe", Password: "wrong"}, {User: "nobody", Password: "x"}} {
		r := start(t, func(c *config.Config) {
			c.MQTT.Remote.URL = m.URL()
			byRules(c)
			c.MQTT.Remote.Probe = probe
		})
		eventually(t, "the gateway says why", func() bool {
			_, answer := r.call("GET", "/readyz", "", "")
			return contains(answer, "mqtt.remote.probe: as "+probe.User)
		})
	}
}

// Channel messages have that QoS at the foreign broker: a client that is away gets those of QoS 1.
func testRemoteQoS(t *testing.T) {
	for _, qos := range []int{0, 1} {
		m := harness.StartMosquitto(t, "allow_anonymous true")
		r := onRemote(t, m, func(c *config.Config) { c.MQTT.Remote.QoS = qos })
		c := stranger(t, m, "look", "x", "")
		heard := make(chan byte, 10)
		done(t, c.Subscribe("watchtower/channels/#", 1, func(_ paho.Client, m paho.Message) { heard <- m.Qos() }))
		r.wire("tcp").broadcast(5, []byte("x"))
		require.Equal(t, byte(qos), <-heard)
	}
}
