package udp_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/udp"
	"watchtower/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second // for what is to happen

// loopback is a bus that hands everything straight back.
type loopback struct{ hub *bridge.Hub }

func (l loopback) Publish(m *bridge.Message) error { return l.hub.Deliver(m) }
func (l loopback) Protocol() bridge.Protocol       { return udp.Protocol }

func (l loopback) PublishRetained(topic string, _ []byte) error { return nil }

type gateway struct {
	hub    *bridge.Hub
	server *udp.Server
	stop   func() // ends Serve and waits for it
}

// options are those of a gateway with nothing configured, but for the address.
func options(listen string) udp.Options {
	settings := config.Default()
	settings.UDP.Listen = listen
	return udp.Options{UDP: settings.UDP, Wire: settings.Wire, Limits: settings.Limits}
}

func start(t testing.TB, hubOpts bridge.Options, change func(*udp.Options)) *gateway {
	log := logrus.New()
	log.SetOutput(io.Discard)
	hubOpts.Limits, hubOpts.Senders, hubOpts.Log = config.Default().Limits, config.Default().Senders, log
	hub, err := bridge.New(hubOpts)
	require.NoError(t, err)
	hub.SetBus(loopback{hub})
	opts := options("127.0.0.1:0")
	opts.SegmentationOffload, opts.Gateway, opts.TCPPort = false, 0xa1b2c3d4, func() uint16 { return 3033 }
	if change != nil {
		change(&opts)
	}
	s := udp.New(hub, opts, log)
	require.NoError(t, s.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	g := &gateway{hub: hub, server: s}
	g.stop = func() {
		if cancel == nil {
			return
		}
		cancel()
		cancel = nil
		select {
		case err := <-served:
			assert.NoError(t, err)
		case <-time.After(patience):
			t.Error("Serve does not return")
		}
	}
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) dropped(r bridge.Reason) int { return int(g.hub.Counters().Dropped(udp.Protocol, r)) }

// client is a device: one socket.
type client struct {
	testing.TB
	conn net.Conn
	id   uint32
}

func (g *gateway) dial(t testing.TB) *client {
	c, err := net.Dial("udp", g.server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return &client{TB: t, conn: c}
}

// joined is a client that has registered and joined a channel.
func (g *gateway) joined(t testing.TB, channel uint32) *client {
	c := g.dial(t)
	c.register()
	c.ask(wire.Request{Op: wire.OpJoin, ID: c.id, Channel: channel})
	return c
}

func (c *client) write(b []byte) {
	c.Helper()
	_, err := c.conn.Write(b)
	require.NoError(c, err)
}

func (c *client) send(r wire.Request) {
	c.Helper()
	frame, err := wire.AppendRequest(nil, r)
	require.NoError(c, err)
	c.write(frame)
}

func (c *client) read() []byte {
	c.Helper()
	b := make([]byte, 65536)
	require.NoError(c, c.conn.SetReadDeadline(time.Now().Add(patience)))
	n, err := c.conn.Read(b)
	require.NoError(c, err)
	require.NotZero(c, n, "the gateway never sends an empty datagram")
	return b[:n]
}

// ask sends a request and returns the reply.
func (c *client) ask(r wire.Request) []byte {
	c.Helper()
	c.send(r)
	return c.read()
}

func (c *client) register() {
	c.Helper()
	id, err := wire.ParseAnswer(c.ask(wire.Request{Op: wire.OpRegister}))
	require.NoError(c, err)
	c.id = id
}

func (c *client) say(channel uint32, data string) {
	c.Helper()
	c.send(wire.Request{Op: wire.OpMessage, ID: c.id, Channel: channel, Data: []byte(data)})
}

func (c *client) hears(sender, channel uint32, data string) {
	c.Helper()
	d, err := wire.ParseDelivery(c.read())
	require.NoError(c, err)
	require.Equal(c, wire.Delivery{Sender: sender, Channel: channel, Data: []byte(data)}, d)
}

// silent holds that nothing was sent to the client: the gateway answers in
// order, so an answer to W that comes first says that there was nothing before.
func (c *client) silent() {
	c.Helper()
	assert.Equal(c, byte('W'), c.ask(wire.Request{Op: wire.OpWhere})[0])
}

// TestTheOriginalsSession repeats a captured session, byte for byte. Only the
// id is the gateway's choice.
func TestTheOriginalsSession(t *testing.T) {
	text, err := os.ReadFile("../testdata/wire/session-original.hex")
	require.NoError(t, err)
	c := start(t, bridge.Options{}, nil).dial(t)
	id := ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if id != "" {
			line = strings.ReplaceAll(line, "fe ca ad 0b", id)
		}
		frame, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line[1:]), " ", ""))
		require.NoError(t, err)
		switch {
		case line[0] == '>':
			c.write(frame)
		case id == "":
			reply := c.read()
			require.Len(t, reply, 5)
			id = fmt.Sprintf("% x", reply[1:])
		default:
			assert.Equal(t, frame, c.read())
		}
	}
}

func TestRequestsAndReplies(t *testing.T) {
	g := start(t, bridge.Options{SecretKey: "hunter2"}, nil)
	c := g.dial(t)
	assert.Equal(t, "E", string(c.ask(wire.Request{Op: wire.OpRegister})), "R wants an open gateway")
	assert.Equal(t, "E", string(c.ask(wire.Request{Op: wire.OpKey, Key: []byte("wrong")})))
	reply := c.ask(wire.Request{Op: wire.OpKey, Key: []byte("hunter2")})
	id, err := wire.ParseAnswer(reply)
	require.NoError(t, err)
	assert.Equal(t, reply, c.ask(wire.Request{Op: wire.OpKey, Key: []byte("hunter2")}), "the same id again")
	assert.Equal(t, reply, c.ask(wire.Request{Op: wire.OpKeepAlive, ID: id}))
	assert.Equal(t, "W\x01\xd9\x0b\xd4\xc3\xb2\xa1", string(c.ask(wire.Request{Op: wire.OpWhere})))
	assert.Equal(t, wire.AppendAnswer(nil, 5), c.ask(wire.Request{Op: wire.OpJoin, ID: id, Channel: 5}))
	assert.Equal(t, wire.AppendList(nil, []uint32{5}), c.ask(wire.Request{Op: wire.OpList, ID: id}))
	assert.Equal(t, wire.AppendAnswer(nil, 5), c.ask(wire.Request{Op: wire.OpQuit, ID: id, Channel: 5}))
	assert.Equal(t, wire.AppendList[uint32](nil, nil), c.ask(wire.Request{Op: wire.OpList, ID: id}))
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
		members[0].say(7, fmt.Sprint(i, string(all)))
	}
	for _, m := range members {
		for i := range 50 {
			m.hears(members[0].id, 7, fmt.Sprint(i, string(all)))
		}
	}
	stranger.silent()
	require.Eventually(t, func() bool { _, out := g.hub.Counters().Messages(udp.Protocol); return out == 1000 }, patience, time.Millisecond)
}

func TestSendReachesItsReceiversOnly(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	a, b, c := g.joined(t, 7), g.joined(t, 7), g.joined(t, 7)
	a.send(wire.Request{Op: wire.OpSend, ID: a.id, Channel: 7, Receivers: wire.AppendIDs(nil, b.id, b.id), Data: []byte("psst")})
	d, err := wire.ParseDelivery(b.read())
	require.NoError(t, err)
	assert.Equal(t, wire.Delivery{Sender: a.id, Channel: 7, Type: 1, Data: []byte("psst")}, d)
	a.silent()
	c.silent()
	reply := a.ask(wire.Request{Op: wire.OpSend, ID: a.id, Channel: 7, Receivers: wire.AppendIDs(nil, b.id, 0xffffffff), Data: []byte("x")})
	assert.Equal(t, "E", string(reply))
	b.silent()
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
		c.write([]byte(s))
		c.silent()
	}
	assert.Equal(t, len(garbage), g.dropped(bridge.Malformed))
}

func TestAFrameFromAnotherAddressIsRefused(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	a, thief := g.joined(t, 7), g.dial(t)
	thief.id = a.id
	assert.Equal(t, "E", string(thief.ask(wire.Request{Op: wire.OpQuit, ID: a.id, Channel: 7})))
	thief.say(7, "x")
	assert.Equal(t, "E", string(thief.read()))
	a.say(7, "mine")
	a.hears(a.id, 7, "mine")
	thief.silent()
}

func TestDatagramsOfTheLargestSize(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	a, b := g.joined(t, 7), g.joined(t, 7)
	largest := strings.Repeat("x", wire.MaxDatagram-wire.DeliveryHeader)
	a.say(7, largest)
	a.hears(a.id, 7, largest)
	b.hears(a.id, 7, largest)
	a.say(7, largest+"y") // can come in, and not go out again
	require.Eventually(t, func() bool { return g.dropped(bridge.TooLarge) == 2 }, patience, time.Millisecond)
	a.silent()
	b.silent()
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
		d, err := wire.ParseDelivery(c.read())
		require.NoError(t, err)
		assert.EqualValues(t, 0x0200, d.Type, "the content hint")
	}
}

func TestSilentClientsLeave(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *udp.Options) { o.IdleTimeout = 50 * time.Millisecond })
	c := g.joined(t, 7)
	require.Eventually(t, func() bool { _, n := g.hub.Directory().Counts(); return n == 0 }, patience, 5*time.Millisecond)
	assert.Equal(t, "E", string(c.ask(wire.Request{Op: wire.OpKeepAlive, ID: c.id})))
}

func TestBothFamiliesOfAddresses(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *udp.Options) { o.Listen = ":0" })
	port := g.server.Addr().(*net.UDPAddr).Port
	var clients []*client
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(port)))
		require.NoError(t, err)
		defer conn.Close()
		c := &client{TB: t, conn: conn}
		c.register()
		c.ask(wire.Request{Op: wire.OpJoin, ID: c.id, Channel: 7})
		clients = append(clients, c)
	}
	for _, from := range clients {
		from.say(7, "hello")
		for _, to := range clients {
			to.hears(from.id, 7, "hello")
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
	log := logrus.New()
	log.SetOutput(io.Discard)
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
	c.say(7, "not taken any more")
	say := func(s string) {
		_, err := g.hub.Publish(hold.Sender(), bridge.Publication{Channels: []bridge.Channel{7}, Content: bridge.Content{Data: []byte(s)}})
		require.NoError(t, err)
	}
	for i := range 100 {
		say(fmt.Sprint(i))
	}
	g.stop() // sends what is left
	for i := range 100 {
		c.hears(uint32(hold.Sender().ID()), 7, fmt.Sprint(i))
	}
	require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := c.conn.Read(make([]byte, 100))
	var timeout net.Error
	assert.True(t, errors.As(err, &timeout), "%v", err)
	_, known := g.hub.Directory().Counts()
	assert.Equal(t, 1, known, "the server's senders have left")
}
