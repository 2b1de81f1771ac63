package udp_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/device"
	"watchtower/udp"
	"watchtower/wire"
)

// answersFrom has devices speak to each address of a gateway that listens on all. Their
// sockets are connected, and so take datagrams from that address only.
func answersFrom(t *testing.T, g *gateway, hosts ...string) {
	port := strconv.Itoa(g.server.Addr().(*net.UDPAddr).Port)
	var clients []*client
	for _, host := range hosts {
		conn, err := net.Dial("udp", net.JoinHostPort(host, port))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		c := &client{TB: t, Conn: conn}
		c.Register()
		c.Ask(wire.Request{Op: wire.OpJoin, ID: c.ID, Channel: 7})
		clients = append(clients, c)
	}
	const burst = 200
	for i := range burst {
		clients[i%len(clients)].Say(7, fmt.Sprint(i))
		for _, c := range clients {
			c.Hears(clients[i%len(clients)].ID, 7, fmt.Sprint(i))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var devices []*device.Client
	for _, host := range hosts {
		d, err := device.Dial(ctx, "udp", net.JoinHostPort(host, port), device.Options{Acknowledge: true, Window: 4, RetryGap: time.Minute})
		require.NoError(t, err, host)
		require.NoError(t, d.Join(ctx, 8))
		devices = append(devices, d)
	}
	require.NoError(t, devices[0].Rebind(ctx))
	for i := range burst {
		require.NoError(t, devices[i%len(devices)].Broadcast(ctx, device.Text, []byte(fmt.Sprint(i)), 8))
		for _, d := range devices {
			select {
			case m := <-d.Messages():
				require.Equal(t, fmt.Sprint(i), string(m.Data))
			case <-ctx.Done():
				require.Fail(t, "not heard")
			}
		}
	}
	for _, d := range devices {
		require.NoError(t, d.Close(ctx))
	}
	assert.Zero(t, g.dropped(udp.Unsendable))
}

func TestAnswersLeaveFromWhereTheyWereAskedFor(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0"} {
		for _, merge := range []bool{true, false} {
			g := start(t, bridge.Options{}, func(o *udp.Options) { o.Listen, o.SegmentationOffload = listen, merge })
			hosts := []string{"127.0.0.1", "127.0.0.2", "127.9.8.7"}
			if listen == ":0" {
				hosts = append(hosts, "::1")
			}
			answersFrom(t, g, hosts...)
		}
	}
}

// A device whose socket is not connected may turn to another address of the gateway:
// messages then come from the address that it spoke to last.
func TestDeliveriesFollowTheDevice(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *udp.Options) { o.Listen = ":0" })
	port := g.server.Addr().(*net.UDPAddr).Port
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)})
	require.NoError(t, err)
	defer conn.Close()
	ask := func(host byte, r wire.Request) []byte {
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, host), Port: port}
		frame, err := wire.AppendRequest(nil, r)
		require.NoError(t, err)
		_, err = conn.WriteToUDP(frame, to)
		require.NoError(t, err)
		b := make([]byte, 1500)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		n, from, err := conn.ReadFromUDP(b)
		require.NoError(t, err)
		assert.Equal(t, to.String(), from.String())
		return b[:n]
	}
	id, err := wire.ParseAnswer(ask(2, wire.Request{Op: wire.OpRegister}))
	require.NoError(t, err)
	ask(2, wire.Request{Op: wire.OpJoin, ID: id, Channel: 7})
	for _, host := range []byte{2, 3, 2} {
		ask(host, wire.Request{Op: wire.OpMessage, ID: id, Channel: 7, Data: []byte("its own")})
	}
}

// One interface has two addresses in one network, as a Pi has with a cable and a radio.
// The system prefers the first, and answers broadcasts from it.
func TestAnswersInANetworkWithTwoAddresses(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can make a network: 127.0.0.2 has to do")
		return
	}
	home, away := newNamespace(t, "home"), newNamespace(t, "away")
	home.ip(t, "link add name wth type veth peer name wta netns "+string(away))
	for _, args := range []string{"addr add 10.77.0.1/24 dev wth", "addr add 10.77.0.2/24 dev wth", "addr add fd77::1/64 dev wth nodad", "addr add fd77::2/64 dev wth nodad", "link set wth up"} {
		home.ip(t, args)
	}
	for _, args := range []string{"addr add 10.77.0.9/24 dev wta", "addr add fd77::9/64 dev wta nodad", "link set wta up"} {
		away.ip(t, args)
	}
	var g *gateway
	home.in(t, func() {
		g = start(t, bridge.Options{}, func(o *udp.Options) { o.Listen, o.SegmentationOffload = ":0", true })
	})
	away.in(t, func() { answersFrom(t, g, "10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2") })

	var conn *net.UDPConn
	away.in(t, func() {
		var err error
		conn, err = net.ListenUDP("udp4", nil)
		require.NoError(t, err)
	})
	defer conn.Close()
	port := g.server.Addr().(*net.UDPAddr).Port
	where, err := wire.AppendRequest(nil, wire.Request{Op: wire.OpWhere})
	require.NoError(t, err)
	b := make([]byte, 100)
	_, err = conn.WriteToUDP(where, &net.UDPAddr{IP: net.IPv4(10, 77, 0, 255), Port: port})
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, from, err := conn.ReadFromUDP(b)
	require.NoError(t, err)
	assert.Equal(t, "10.77.0.1", from.IP.String())
}
