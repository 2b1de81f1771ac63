package udp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/udp"
	"watchtower/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = harness.Patience

type gateway struct {
	hub    *bridge.Hub
	server *udp.Server
	stop   func() // ends Serve and waits for it
}

// options are those of a gateway with nothing configured except the address.
func options(listen string) udp.Options {
	settings := config.Default()
	settings.UDP.Listen = listen
	return udp.Options{UDP: settings.UDP, Wire: settings.Wire, Limits: settings.Limits}
}

func start(t testing.TB, hubOpts bridge.Options, change func(*udp.Options)) *gateway {
	hub, _ := harness.Hub(t, udp.Protocol, hubOpts)
	opts := options("127.0.0.1:0")
	opts.SegmentationOffload, opts.Gateway, opts.TCPPort = false, 0xa1b2c3d4, func() uint16 { return 3033 }
	if change != nil {
		change(&opts)
	}
	s := udp.New(hub, opts, harness.Silent())
	require.NoError(t, s.Listen())
	return &gateway{hub: hub, server: s, stop: harness.Serve(t, s.Serve)}
}

func (g *gateway) dropped(r bridge.Reason) int { return int(g.hub.Counters().Dropped(udp.Protocol, r)) }

// client is a device: one socket.
type client = harness.Device

func (g *gateway) dial(t testing.TB) *client { return harness.Dial(t, g.server.Addr()) }

// joined is a client that has registered and joined a channel.
func (g *gateway) joined(t testing.TB, channel uint32) *client { return g.dial(t).Joined(channel) }

// TestTheOriginalsSession repeats a captured session, byte for byte. Only the id is
// chosen by the gateway.
func TestTheOriginalsSession(t *testing.T) {
	start(t, bridge.Options{}, nil).dial(t).RepeatsTheOriginal("../testdata/wire/session-original.hex")
}

func TestRequestsAndReplies(t *testing.T) {
	g := start(t, bridge.Options{SecretKey: "hunter2"}, nil)
	c := g.dial(t)
	assert.Equal(t, "E", string(c.Ask(wire.Request{Op: wire.OpRegister})), "R wants an open gateway")
	assert.Equal(t, "E", string(c.Ask(wire.Request{Op: wire.OpKey, Key: []byte("wrong")})))
	reply := c.Ask(wire.Request{Op: wire.OpKey, Key: []byte("hunter2")})
	id, err := wire.ParseAnswer(reply)
	require.NoError(t, err)
	assert.Equal(t, reply, c.Ask(wire.Request{Op: wire.OpKey, Key: []byte("hunter2")}), "the same id again")
	assert.Equal(t, reply, c.Ask(wire.Request{Op: wire.OpKeepAlive, ID: id}))
	assert.Equal(t, "W\x01\xd9\x0b\xd4\xc3\xb2\xa1", string(c.Ask(wire.Request{Op: wire.OpWhere})))
	assert.Equal(t, wire.AppendAnswer(nil, 5), c.Ask(wire.Request{Op: wire.OpJoin, ID: id, Channel: 5}))
	assert.Equal(t, wire.AppendList(nil, []uint32{5}), c.Ask(wire.Request{Op: wire.OpList, ID: id}))
	assert.Equal(t, wire.AppendAnswer(nil, 5), c.Ask(wire.Request{Op: wire.OpQuit, ID: id, Channel: 5}))
	assert.Equal(t, wire.AppendList[uint32](nil, nil), c.Ask(wire.Request{Op: wire.OpList, ID: id}))
}

func TestBroadcastsReachEveryMemberInOrder(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	members := make([]*client, 20)
	for i := range members {
		members[i] = g.joined(t, 7)
	}
	stranger := g.joined(t, 8)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for i := range 50 {
		members[0].Say(7, fmt.Sprint(i, string(all)))
	}
	for _, m := range members {
		for i := range 50 {
			m.Hears(members[0].ID, 7, fmt.Sprint(i, string(all)))
		}
	}
	stranger.Silent()
	harness.Eventually(t, func() bool { _, out := g.hub.Counters().Messages(udp.Protocol); return out == 1000 })
}

func TestSendReachesItsReceiversOnly(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	a, b, c := g.joined(t, 7), g.joined(t, 7), g.joined(t, 7)
	a.Send(wire.Request{Op: wire.OpSend, ID: a.ID, Channel: 7, Receivers: wire.AppendIDs(nil, b.ID, b.ID), Data: []byte("psst")})
	d, err := wire.ParseDelivery(b.Read())
	require.NoError(t, err)
	assert.Equal(t, wire.Delivery{Sender: a.ID, Channel: 7, Type: 1, Data: []byte("psst")}, d)
	a.Silent()
	c.Silent()
	reply := a.Ask(wire.Request{Op: wire.OpSend, ID: a.ID, Channel: 7, Receivers: wire.AppendIDs(nil, b.ID, 0xffffffff), Data: []byte("x")})
	assert.Equal(t, "E", string(reply))
	b.Silent()
}

func TestGarbageIsCountedAndNotAnswered(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.dial(t)
	garbage := []string{
		"", "hello", "\x00", "A1234", "E", "W\x01\xd9\x0b\x01\x02\x03\x04", "R\n", "K\xffabc", "M12345678\xff\xff\xff\xffdata",
		"S12345678\xff", "J1234567", strings.Repeat("x", 1201), strings.Repeat("x", 60_000),
		"M12345678\xa4\x04\x00\x00" + strings.Repeat("x", 1188), // a frame, but too long
	}
	for i := range 256 {
		if b := byte(i); b != 'R' {
			garbage = append(garbage, string(b))
		}
	}
	for _, s := range garbage {
		c.Write([]byte(s))
		c.Silent()
	}
	assert.Equal(t, len(garbage), g.dropped(bridge.Malformed))
}

func TestAFrameFromAnotherAddressIsRefused(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	a, thief := g.joined(t, 7), g.dial(t)
	thief.ID = a.ID
	assert.Equal(t, "E", string(thief.Ask(wire.Request{Op: wire.OpQuit, ID: a.ID, Channel: 7})))
	thief.Say(7, "x")
	assert.Equal(t, "E", string(thief.Read()))
	a.Say(7, "mine")
	a.Hears(a.ID, 7, "mine")
	thief.Silent()
}

func TestDatagramsOfTheLargestSize(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	a, b := g.joined(t, 7), g.joined(t, 7)
	largest := strings.Repeat("x", wire.MaxDatagram-wire.DeliveryHeader)
	a.Say(7, largest)
	a.Hears(a.ID, 7, largest)
	b.Hears(a.ID, 7, largest)
	a.Say(7, largest+"y") // it may come in, and is too long to go out again
	harness.Eventually(t, func() bool { return g.dropped(bridge.TooLarge) == 2 })
	a.Silent()
	b.Silent()
}

func TestReportsCountWhatWasDropped(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	a, b := g.joined(t, 7), g.joined(t, 7)
	hold := g.hub.Holds().New(func() {})
	defer g.hub.Holds().Release(hold)
	require.NoError(t, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
	reports := make(chan bridge.Report, 2)
	for _, size := range []int{100, 5000} {
		_, err := g.hub.Publish(hold.Sender(), bridge.Publication{
			Channels: []bridge.Channel{7}, Via: viaHTTP, Report: func(r bridge.Report) { reports <- r },
			Content: bridge.Content{Data: make([]byte, size), Hint: bridge.JSON},
		})
		require.NoError(t, err)
	}
	assert.Equal(t, map[string]int{"udp": 2}, (<-reports).Offered)
	assert.Equal(t, map[string]int{"udp": 2}, (<-reports).Dropped)
	for _, c := range []*client{a, b} {
		d, err := wire.ParseDelivery(c.Read())
		require.NoError(t, err)
		assert.EqualValues(t, 0x0200, d.Type, "the content hint")
	}
}

func TestSilentClientsLeave(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *udp.Options) { o.IdleTimeout = 50 * time.Millisecond })
	c := g.joined(t, 7)
	harness.Eventually(t, func() bool { _, n := g.hub.Directory().Counts(); return n == 0 })
	assert.Equal(t, "E", string(c.Ask(wire.Request{Op: wire.OpKeepAlive, ID: c.ID})))
}

func TestBothFamiliesOfAddresses(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *udp.Options) { o.Listen = ":0" })
	port := g.server.Addr().(*net.UDPAddr).Port
	var clients []*client
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(port)))
		require.NoError(t, err)
		defer conn.Close()
		c := &client{TB: t, Conn: conn}
		c.Register()
		c.Ask(wire.Request{Op: wire.OpJoin, ID: c.ID, Channel: 7})
		clients = append(clients, c)
	}
	for _, from := range clients {
		from.Say(7, "hello")
		for _, to := range clients {
			to.Hears(from.ID, 7, "hello")
		}
	}
}

func TestATakenPortFailsListen(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	log := logrus.New()
	hub, err := bridge.New(bridge.Options{})
	require.NoError(t, err)
	assert.ErrorContains(t, udp.New(hub, options(g.server.Addr().String()), log).Listen(), "in use")
	assert.ErrorContains(t, udp.New(hub, options("nonsense"), log).Listen(), "udp: listen")
}

func TestServeEndsAtOnceOnAContextThatHasEnded(t *testing.T) {
	hub, err := bridge.New(bridge.Options{})
	require.NoError(t, err)
	log := harness.Silent()
	s := udp.New(hub, options("127.0.0.1:0"), log)
	assert.Error(t, s.Serve(context.Background()), "not before Listen")
	require.NoError(t, s.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.NoError(t, s.Serve(ctx))
	again, err := net.ListenPacket("udp", s.Addr().String())
	require.NoError(t, err, "the port is free again")
	again.Close()
}

func TestQuiesceStopsRequestsAndNotDeliveries(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.joined(t, 7)
	hold := g.hub.Holds().New(func() {})
	defer g.hub.Holds().Release(hold)
	require.NoError(t, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))

	g.server.Quiesce(context.Background())
	g.server.Quiesce(context.Background())
	c.Say(7, "not taken any more")
	say := func(s string) {
		_, err := g.hub.Publish(hold.Sender(), bridge.Publication{Channels: []bridge.Channel{7}, Content: bridge.Content{Data: []byte(s)}})
		require.NoError(t, err)
	}
	for i := range 100 {
		say(fmt.Sprint(i))
	}
	g.stop() // sends what is left
	for i := range 100 {
		c.Hears(uint32(hold.Sender().ID()), 7, fmt.Sprint(i))
	}
	require.NoError(t, c.Conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := c.Conn.Read(make([]byte, 100))
	var timeout net.Error
	assert.True(t, errors.As(err, &timeout), "%v", err)
	_, known := g.hub.Directory().Counts()
	assert.Equal(t, 1, known, "the server's senders have left")
}
