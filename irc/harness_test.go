package irc_test

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/irc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var viaHTTP = bridge.NewProtocol("http")

type gateway struct {
	hub    *bridge.Hub
	server *irc.Server
	stop   func()
}

func start(t testing.TB, hubOpts bridge.Options, change func(*irc.Options)) *gateway {
	settings := config.Default()
	if hubOpts.SenderChannels == 0 {
		hubOpts.Limits = settings.Limits
	}
	hubOpts.Tree = bridge.NewTree("watchtower", "test")
	hub, _ := harness.Hub(t, viaHTTP, hubOpts)
	settings.IRC.Listen = "127.0.0.1:0"
	opts := irc.Options{IRC: settings.IRC, Limits: settings.Limits}
	opts.Names = func() map[bridge.Channel]string { return map[bridge.Channel]string{7: "watering", 8: "Back door"} }
	if change != nil {
		change(&opts)
	}
	s := irc.New(hub, opts, harness.Silent())
	require.NoError(t, s.Listen())
	return &gateway{hub: hub, server: s, stop: harness.Serve(t, s.Serve, runs(hub))}
}

func (g *gateway) dropped(r bridge.Reason) int { return int(g.hub.Counters().Dropped(irc.Protocol, r)) }

// client is a client of IRC that shows what it gets as it came.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (g *gateway) dial(t testing.TB) *client {
	conn, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReaderSize(conn, 16<<10)}
}

func (c *client) say(lines ...string) {
	c.t.Helper()
	_, err := c.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
	require.NoError(c.t, err)
}

// line returns the next line without its end.
func (c *client) line() string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(harness.Patience))
	text, err := c.in.ReadString('\n')
	require.NoError(c.t, err)
	require.True(c.t, strings.HasSuffix(text, "\r\n"), text)
	return strings.TrimSuffix(text, "\r\n")
}

// until returns the first line that matches.
func (c *client) until(pattern string) string {
	c.t.Helper()
	wanted := regexp.MustCompile(pattern)
	var all []string
	_ = c.conn.SetReadDeadline(time.Now().Add(harness.Patience))
	for {
		text, err := c.in.ReadString('\n')
		require.NoError(c.t, err, "no %s in:\n%s", pattern, strings.Join(all, ""))
		if wanted.MatchString(strings.TrimSuffix(text, "\r\n")) {
			return strings.TrimSuffix(text, "\r\n")
		}
		all = append(all, text)
	}
}

// none says that nothing that matches comes before the answer to a ping.
func (c *client) none(pattern string) {
	c.t.Helper()
	token := fmt.Sprint("until-", time.Now().UnixNano())
	c.say("PING " + token)
	for {
		line := c.line()
		if strings.HasSuffix(line, " :"+token) {
			return
		}
		require.NotRegexp(c.t, pattern, line)
	}
}

// as is a client that has registered, and joined channels.
func (g *gateway) as(t testing.TB, nick string, channels ...string) *client {
	c := g.dial(t)
	c.say("NICK "+nick, "USER "+nick+" 0 * :"+nick)
	c.until(` 376 `)
	c.on(channels...)
	return c
}

func (c *client) on(channels ...string) {
	c.t.Helper()
	for _, ch := range channels {
		c.say("JOIN " + ch)
		c.until(` 366 \S+ ` + ch + ` `)
	}
}
