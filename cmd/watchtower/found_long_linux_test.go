//go:build long

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// holder keeps the port of multicast DNS for itself.
const holder = `import socket, time
four, six = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
four.bind(("", 5353))
six.bind(("", 5353))
print("bound", flush=True)
time.sleep(1000)`

// A gateway runs beside avahi, and beside a program that lets nobody else have the port. It
// is announced where it listens, also on an interface that comes later.
func TestLongFound(t *testing.T) {
	if !harness.Unshared() {
		harness.Unshare(t, []string{"-m"})
		return
	}
	h := newHouse(t)
	home, cellar, shed, away := h.machine("home", 1), h.machine("cellar", 2), h.machine("shed", 3), h.machine("away", 9)
	home.avahi()
	away.avahi()
	home.gateway("--gateway-name", "house")
	cellar.gateway("--gateway-name", "house", "--mqtt", "127.0.0.1:1883", "--http", "10.79.0.2:8081")
	held, endHolder := shed.start(nil, "/usr/bin/python3", "-c", holder)
	h.Eventually(func() bool { return strings.Contains(held.String(), "bound") }, held)
	log, _ := shed.gateway("--gateway-name", "hut")
	h.Eventually(func() bool { return strings.Contains(log.String(), "another program keeps port 5353 for itself") }, log)
	endHolder()

	h.Eventually(away.twoHouses, away)
	h.Eventually(home.twoHouses, home)
	assert.Contains(t, away.browse("_watchtower._udp"), "=;lan;IPv6;Watchtower house;_watchtower._udp;")
	mqtt, http := away.browse("_mqtt._tcp"), away.browse("_http._tcp")
	assert.Regexp(t, `;lan;IPv4;Watchtower house( \(2\))?;_mqtt._tcp;local;watchtower-[0-9a-f]{8}.local;10.79.0.1;1883;`, mqtt)
	assert.NotContains(t, mqtt, "10.79.0.2", "it listens there for its own machine only")
	assert.Regexp(t, `-b.local;10.79.0.2;8081;("path=/" ?|"name=house" ?|"version=0.1.0" ?|"id=[0-9a-f]{8}" ?){4}\n`, http)
	assert.NotRegexp(t, `IPv6;[^\n]*8081`, http, "where it does not listen")
	var found struct{ Gateways []foundGateway }
	out, _ := home.find("--timeout", "1s", "--json")
	require.NoError(t, json.Unmarshal([]byte(out), &found), out)
	assert.Len(t, found.Gateways, 3, "its own too")

	home.plug("late", "10.80.0.1/24")
	away.plug("late", "10.80.0.9/24")
	h.Eventually(func() bool { return strings.Contains(away.browse("_mqtt._tcp"), ";10.80.0.1;1883;") }, away)
	h.must("ip", "-n", "home", "link", "del", "late")
	h.must("ip", "-n", "home", "link", "set", "lan", "down")
	h.must("ip", "-n", "home", "addr", "del", "10.79.0.1/24", "dev", "lan")
	h.must("ip", "-n", "home", "addr", "add", "10.79.0.7/24", "dev", "lan")
	h.must("ip", "-n", "home", "link", "set", "lan", "up")
	h.Eventually(func() bool { return strings.Contains(away.browse("_mqtt._tcp"), ";10.79.0.7;1883;") }, away)
	h.Eventually(func() bool { return strings.Contains(away.browse("_mqtt._tcp"), "Watchtower hut;") }, away, log) // it tries again
}
