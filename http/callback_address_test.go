package http_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

func TestRefusedAddressNamesTheSetting(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.Allow = nil })
	id, _ := g.register()
	a := g.post("/channels/join/async", obj{"sender": id, "channels": []int{5}, "callback_url": "http://127.0.0.1:9/"})
	problem(t, a, 400, "invalid-callback-url", "callback_url")
	assert.Contains(t, a.json(t)["detail"], "start the gateway with --allow-callbacks 127.0.0.1 (callbacks.allow)")
	assert.Equal(t, 204, g.do("GET", fmt.Sprintf("/channels?sender=%d", id), "").status, "nothing was joined")
}

// rebinder is a DNS server with one name, whose address changes.
type rebinder struct {
	conn net.PacketConn
	addr atomic.Value // netip.Addr
	wg   sync.WaitGroup
}

func newRebinder(t *testing.T, addr string) *rebinder {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &rebinder{conn: conn}
	d.addr.Store(netip.MustParseAddr(addr))
	d.wg.Go(d.serve)
	t.Cleanup(func() {
		_ = conn.Close()
		d.wg.Wait()
	})
	return d
}

func (d *rebinder) serve() {
	b := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil {
			continue
		}
		m.Response, m.Additionals = true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: d.addr.Load().(netip.Addr).As4()},
			}}
		}
		if out, err := m.Pack(); err == nil {
			_, _ = d.conn.WriteTo(out, from)
		}
	}
}

func (d *rebinder) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", d.conn.LocalAddr().String())
	}}
}

func TestNameThatMovesIsCheckedAtTheDial(t *testing.T) {
	t.Parallel()
	dns := newRebinder(t, "192.0.2.1")
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Callbacks.Allow, o.Callbacks.Retries = nil, 0
		o.Callbacks.Resolver = dns.resolver()
	})
	r := receive(t, nil)
	_, port, err := net.SplitHostPort(r.Listener.Addr().String())
	require.NoError(t, err)
	id, _ := g.register()
	g.join(id, "http://rebind.example.:"+port+"/", 5)
	dns.addr.Store(netip.MustParseAddr("127.0.0.1"))
	g.broadcast(id, "x", 5)
	harness.Eventually(t, func() bool { return g.undelivered(bridge.Failed) == 1 }, "the dial is refused")
	assert.Empty(t, r.got)
	problem(t, g.post("/channels/join/async", obj{"sender": id, "channels": []int{6}, "callback_url": "http://rebind.example.:" + port}), 400, "invalid-callback-url", "callback_url")
}
