package tcp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/tcp"
	"watchtower/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second // for what is to happen

// loopback is a bus that hands everything straight back.
type loopback struct{ hub *bridge.Hub }

func (l loopback) Publish(m *bridge.Message) error { return l.hub.Deliver(m) }
func (l loopback) Protocol() bridge.Protocol       { return tcp.Protocol }

func (l loopback) PublishRetained(topic string, _ []byte) error { return nil }

type gateway struct {
	hub    *bridge.Hub
	server *tcp.Server
	stop   func() // ends Serve and waits for it
}

// options are those of a gateway with nothing configured, but for the address.
func options(listen string) tcp.Options {
	settings := config.Default()
	settings.TCP.Listen = listen
	return tcp.Options{TCP: settings.TCP, Wire: settings.Wire, Limits: settings.Limits}
}

func start(t testing.TB, hubOpts bridge.Options, change func(*tcp.Options)) *gateway {
	log := logrus.New()
	log.SetOutput(io.Discard)
	hubOpts.Limits, hubOpts.Senders, hubOpts.Log = config.Default().Limits, config.Default().Senders, log
	hubOpts.SenderChannels = 0 // any number
	hub, err := bridge.New(hubOpts)
	require.NoError(t, err)
	hub.SetBus(loopback{hub})
	opts := options("127.0.0.1:0")
	opts.Gateway = 0xa1b2c3d4
	if change != nil {
		change(&opts)
	}
	s := tcp.New(hub, opts, log)
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
		case <-time.After(2 * patience):
			t.Error("Serve does not return")
		}
	}
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) dropped(r bridge.Reason) int { return int(g.hub.Counters().Dropped(tcp.Protocol, r)) }

func (g *gateway) senders() int {
	_, n := g.hub.Directory().Counts()
	return n
}

// speaker is a sender on a channel that is not over TCP.
func (g *gateway) speaker(t testing.TB, channel bridge.Channel) (id uint32, say func(data []byte)) {
	hold := g.hub.Holds().New(func() {})
	t.Cleanup(func() { g.hub.Holds().Release(hold) })
	require.NoError(t, g.hub.Attach(hold.Sender(), channel, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
	return uint32(hold.Sender().ID()), func(data []byte) {
		_, err := g.hub.Publish(hold.Sender(), bridge.Publication{
			Channels: []bridge.Channel{channel}, Content: bridge.Content{Data: data}, Wait: true,
		})
		require.NoError(t, err)
	}
}

// client is a device: one connection.
type client struct {
	testing.TB
	conn *net.TCPConn
	in   *bufio.Reader
	id   uint32
}

func (g *gateway) dial(t testing.TB) *client {
	c, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return &client{TB: t, conn: c.(*net.TCPConn), in: bufio.NewReader(c)}
}

// joined is a client that has registered and joined a channel.
func (g *gateway) joined(t testing.TB, channel uint32) *client {
	c := g.dial(t)
	c.register()
	c.ask(wire.Request{Op: wire.OpJoin, ID: c.id, Channel: channel})
	return c
}

func basicFrame(t testing.TB, r wire.Request) []byte {
	t.Helper()
	b, err := wire.AppendRequest(nil, r)
	require.NoError(t, err)
	return b
}

func (c *client) write(b []byte) {
	c.Helper()
	require.NoError(c, c.conn.SetWriteDeadline(time.Now().Add(patience)))
	_, err := c.conn.Write(b)
	require.NoError(c, err)
}

func (c *client) send(r wire.Request) { c.Helper(); c.write(basicFrame(c, r)) }

// read returns the next frame. Listed says that it answers an L.
func (c *client) read(listed ...bool) []byte {
	c.Helper()
	require.NoError(c, c.conn.SetReadDeadline(time.Now().Add(patience)))
	var b []byte
	for {
		n, err := wire.ReplyLength(b, len(listed) > 0)
		require.NoError(c, err)
		if n > 0 && n == len(b) {
			return b
		}
		more := make([]byte, max(1, n-len(b)))
		_, err = io.ReadFull(c.in, more)
		require.NoError(c, err)
		b = append(b, more...)
	}
}

func (c *client) ask(r wire.Request) []byte {
	c.Helper()
	c.send(r)
	if r.Op == wire.OpList {
		return c.read(true)
	}
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
	if d.Sender != sender || d.Channel != channel || d.Type != 0 || string(d.Data) != data {
		require.Equal(c, fmt.Sprint(sender, channel, 0, data), fmt.Sprint(d.Sender, d.Channel, d.Type, string(d.Data)))
	}
}

// silent holds that nothing was sent to the client so far: answers come in
// order.
func (c *client) silent() {
	c.Helper()
	assert.Equal(c, byte('W'), c.ask(wire.Request{Op: wire.OpWhere})[0])
}

// closed returns what the gateway sent before it closed the connection.
func (c *client) closed() string {
	c.Helper()
	require.NoError(c, c.conn.SetReadDeadline(time.Now().Add(patience)))
	b, err := io.ReadAll(c.in)
	require.NoError(c, err)
	return string(b)
}
