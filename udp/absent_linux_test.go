package udp_test

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/udp"
	"watchtower/wire"
)

// Members whose hosts are switched off cost the others nothing: with the send buffer that
// the system grants by default, the hosts that are there hear everything, and new ones
// register.
func TestDeadHostsCostTheLivingNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can make a network")
		return
	}
	const dead, living, messages = 50, 5, 300
	home, away := newNamespace(t, "dhome"), newNamespace(t, "daway")
	home.ip(t, "link add name wth type veth peer name wta netns "+string(away))
	home.ip(t, "addr add 10.78.0.1/24 dev wth")
	home.ip(t, "link set wth up")
	away.ip(t, "link set wta up")
	away.ip(t, "route add 10.78.0.0/24 dev wta")
	for i := range dead + living + 1 {
		away.ip(t, fmt.Sprintf("addr add 10.78.0.%d/32 dev wta", 10+i))
	}
	var g *gateway
	home.in(t, func() {
		g = start(t, bridge.Options{}, func(o *udp.Options) { o.Listen, o.SendBuffer = "10.78.0.1:0", 212_992 })
	})
	member := func(i int) *client {
		var c *client
		away.in(t, func() {
			conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 78, 0, byte(10+i))}, g.server.Addr().(*net.UDPAddr))
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			c = &client{TB: t, Conn: conn}
		})
		c.Register()
		c.Ask(wire.Request{Op: wire.OpJoin, ID: c.ID, Channel: 7})
		return c
	}
	var there []*client
	for i := range dead + living {
		if c := member(i); i >= dead {
			there = append(there, c)
		}
	}
	for i := range dead {
		away.ip(t, fmt.Sprintf("addr del 10.78.0.%d/32 dev wta", 10+i))
	}
	home.ip(t, "neigh flush dev wth")
	hold := g.hub.Holds().New(func() {})
	defer g.hub.Holds().Release(hold)
	require.NoError(t, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
	id := uint32(hold.Sender().ID())
	tick := time.NewTicker(time.Second / 50)
	defer tick.Stop()
	for i := range messages {
		<-tick.C
		_, err := g.hub.Publish(hold.Sender(), bridge.Publication{Channels: []bridge.Channel{7}, Content: bridge.Content{Data: []byte(fmt.Sprint(i))}})
		require.NoError(t, err)
		for _, c := range there {
			c.Hears(id, 7, fmt.Sprint(i))
		}
		if i == messages/2 {
			member(dead + living)
		}
	}
	assert.NotZero(t, g.dropped(udp.Unsendable), "those to hosts that are not there")
}
