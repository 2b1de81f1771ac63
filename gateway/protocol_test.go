package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/gateway"
)

// What follows up to the test is a protocol: a line "CHANNEL TEXT" joins the channel and
// says the text there; what others say comes as the same line.
var viaLines = bridge.NewProtocol("lines")

type lines struct {
	hub  *bridge.Hub
	link *bridge.Link
	l    net.Listener
}

var speakingLines = gateway.Speaking(gateway.Protocol{Section: "lines", New: func(g *gateway.Gateway) (gateway.Server, []gateway.Port, error) {
	s := &lines{hub: g.Hub(), link: g.Hub().AddLink(viaLines, bridge.LinkQueue, bridge.LinkPatience)}
	return s, []gateway.Port{{Key: "lines", Name: "Lines", Setting: "lines.listen", Listen: "127.0.0.1:0", Bind: s.listen, Addr: func() net.Addr { return s.l.Addr() }}}, nil
}})

func (s *lines) listen() (err error) {
	s.l, err = net.Listen("tcp", "127.0.0.1:0")
	return err
}

func (s *lines) Quiesce(context.Context) { s.l.Close() }

func (s *lines) Serve(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { s.link.Run(ctx, s.fan) })
	for {
		c, err := s.l.Accept()
		if err != nil {
			<-ctx.Done() // its connections go on until everything has gone out
			return nil
		}
		all.Go(func() { s.serve(ctx, c) })
	}
}

func (s *lines) serve(ctx context.Context, c net.Conn) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	d := bridge.NewDevice(s.hub, viaLines, true, c)
	d.Register(bridge.Unproved, func() { c.Close() })
	defer d.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		var channel bridge.Channel
		text := strings.TrimLeft(in.Text(), "0123456789")
		if _, err := fmt.Sscan(in.Text(), &channel); err != nil || d.Join(channel) != nil {
			s.hub.Counters().Drop(viaLines, bridge.Malformed, 1)
			continue
		}
		said := bridge.Publication{Channels: []bridge.Channel{channel}, Content: bridge.Content{Data: []byte(strings.TrimSpace(text))}, Via: viaLines, Wait: true}
		if _, err := s.hub.Publish(d.Sender(), said); err != nil {
			s.hub.Counters().Drop(viaLines, bridge.Refused, 1)
		}
	}
}

func (s *lines) fan(jobs []bridge.Job) {
	for _, j := range jobs {
		offered := 0
		for _, a := range j.To {
			if a.Wants(j.Message) {
				offered++
				fmt.Fprintf(a.Member.(io.Writer), "%d %s\n", j.Message.Channel, j.Message.Data)
			}
		}
		j.Done(s.hub.Counters(), viaLines, offered, 0)
	}
}

func TestAProtocolInTwentyLines(t *testing.T) {
	t.Parallel()
	r := startWithOptions(t, testConfig(t), []gateway.Option{speakingLines})
	at := r.g.Listening().At("lines")
	counts := func(row string) {
		t.Helper()
		eventually(t, row, func() bool { _, all := r.call("GET", "/metrics", "", ""); return strings.Contains(all, row+"\n") })
	}
	c, err := net.Dial("tcp", at)
	require.NoError(t, err)
	defer c.Close()
	hear := bufio.NewScanner(c)
	fmt.Fprintln(c, "no channel")
	fmt.Fprintln(c, "5 hello")
	counts(`watchtower_members{protocol="lines"} 1`)

	others := []*device{r.wire("udp"), r.stream(), r.paho("paho")}
	fmt.Fprintln(c, "5 who is there?")
	for _, d := range others {
		assert.Equal(t, "who is there?", d.next(t).data)
	}
	for _, d := range others {
		d.broadcast(5, []byte("I, "+d.name))
		require.True(t, hear.Scan())
		assert.Equal(t, "5 I, "+d.name, hear.Text())
	}
	counts(`watchtower_drops_total{protocol="lines",reason="malformed"} 1`)
	counts(`watchtower_messages_in_total{protocol="lines"} 2`)
	counts(`watchtower_messages_out_total{protocol="lines"} 3`)
	assert.Contains(t, r.log.String(), "lines=\""+at+"\"", "it is where it serves")
}
