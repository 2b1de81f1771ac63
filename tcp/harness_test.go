package tcp_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/tcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = harness.Patience

type gateway struct {
	hub    *bridge.Hub
	server *tcp.Server
	stop   func() // ends Serve and waits for it
}

// options are those of a gateway with nothing configured except the address.
func options(listen string) tcp.Options {
	settings := config.Default()
	settings.TCP.Listen = listen
	return tcp.Options{TCP: settings.TCP, Wire: settings.Wire, Limits: settings.Limits}
}

func start(t testing.TB, hubOpts bridge.Options, change func(*tcp.Options)) *gateway {
	hubOpts.Limits = config.Default().Limits
	hubOpts.SenderChannels = 0 // any number
	hub, _ := harness.Hub(t, tcp.Protocol, hubOpts)
	opts := options("127.0.0.1:0")
	opts.Gateway = 0xa1b2c3d4
	if change != nil {
		change(&opts)
	}
	s := tcp.New(hub, opts, harness.Silent())
	require.NoError(t, s.Listen())
	return &gateway{hub: hub, server: s, stop: harness.Serve(t, s.Serve)}
}

func (g *gateway) dropped(r bridge.Reason) int { return int(g.hub.Counters().Dropped(tcp.Protocol, r)) }

func (g *gateway) senders() int {
	_, n := g.hub.Directory().Counts()
	return n
}

// speaker is a sender on a channel that does not use TCP.
func (g *gateway) speaker(t testing.TB, channel bridge.Channel) (id uint32, say func(data []byte)) {
	id, publish := harness.Speaker(t, g.hub, viaHTTP, channel)
	return id, func(data []byte) { publish(data, nil) }
}

// client is a device: one connection.
type client struct {
	*harness.Device
	conn *net.TCPConn
}

func (g *gateway) dial(t testing.TB) *client {
	d := harness.Dial(t, g.server.Addr())
	return &client{Device: d, conn: d.Conn.(*net.TCPConn)}
}

// joined is a client that has registered and joined a channel.
func (g *gateway) joined(t testing.TB, channel uint32) *client {
	c := g.dial(t)
	c.Joined(channel)
	return c
}

// closed returns what the gateway sent before it closed the connection.
func (c *client) closed() string {
	c.Helper()
	require.NoError(c, c.conn.SetReadDeadline(time.Now().Add(patience)))
	b, err := io.ReadAll(c.In)
	require.NoError(c, err)
	return string(b)
}
