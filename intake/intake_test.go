package intake_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/intake"
)

type closer struct{ closed int }

func (c *closer) Close() error { c.closed++; return nil }

func at(text string) netip.Prefix { return intake.Of(netip.MustParseAddr(text)) }

func TestWhatAnAddressIsCountedBy(t *testing.T) {
	for text, counted := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1:2:3:4": "2001:db8::/64", "fe80::1%eth0": "fe80::1/128", // all of a house are in one /64 of these
	} {
		assert.Equal(t, counted, at(text).String())
	}
	assert.Equal(t, at("192.0.2.1"), intake.From(&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 5}))
	assert.False(t, intake.From(nil).IsValid())
}

// Bytes that are lent to a stranger come back exactly once, in whatever way it ends.
func TestWhatIsLentIsGivenBack(t *testing.T) {
	now := time.Unix(1e9, 0)
	in := intake.New(intake.Options{Limits: config.Limits{StrangersBytes: 80_000, RegisterTimeout: time.Second}, Now: func() time.Time { return now }, Counters: &bridge.Counters{}})
	door := in.Door(viaTCP, "limits.tcp_connections", 0)
	enter := func(from string) (*intake.Guest, *closer) {
		g, c := new(intake.Guest), new(closer)
		require.True(t, door.Enter(g, intake.Visit{At: at(from), Bytes: 4000, Closer: c}))
		return g, c
	}
	held := func() int { n, _ := in.Held(); return n }
	a, ca := enter("10.0.0.1")
	loan := a.Lend(at("10.0.0.1"))
	assert.True(t, loan.Take(6000))
	assert.False(t, loan.Take(6000), "an eighth is one address's")
	assert.Equal(t, 10_000, held())
	a.Know()
	assert.Equal(t, 6000, held())
	assert.True(t, loan.Take(1000))
	loan.Close()
	assert.Equal(t, 0, held())
	assert.True(t, a.Estrange(4000, ca))
	a.Leave()
	a.Leave()
	assert.Equal(t, 0, held())

	b, cb := enter("10.0.0.2") // is expelled while it has a loan
	loan = b.Lend(at("10.0.0.2"))
	require.True(t, loan.Take(8000))
	for range 19 {
		enter("10.0.0.3")
	}
	assert.Equal(t, 0, cb.closed, "the other address holds more")
	now = now.Add(2 * time.Second)
	enter("10.0.0.4")
	assert.Equal(t, 1, cb.closed, "it is past its time")
	before := held()
	loan.Close()
	b.Leave()
	assert.Equal(t, before, held())
	assert.False(t, loan.Take(1), "it has left")
	assert.LessOrEqual(t, held(), 80_000)
}

// A stranger that borrows does not push out those of addresses that hold less.
func TestABorrowerGivesWay(t *testing.T) {
	in := intake.New(intake.Options{Limits: config.Limits{StrangersBytes: 80_000, RegisterTimeout: time.Hour}})
	door := in.Door(viaHTTP, "limits.http_connections", 0)
	small := make([]closer, 18)
	for i := range small {
		require.True(t, door.Enter(new(intake.Guest), intake.Visit{At: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 32), Bytes: 4000, Closer: &small[i]}))
	}
	var g intake.Guest
	require.True(t, door.Enter(&g, intake.Visit{At: at("10.0.0.1"), Bytes: 4000, Closer: new(closer)}))
	loan := g.Lend(at("10.0.0.1"))
	assert.True(t, loan.Take(4000))
	assert.False(t, loan.Take(4000))
	for i := range small {
		assert.Zero(t, small[i].closed)
	}
}

func TestABufferGrowsWithWhatArrives(t *testing.T) {
	in := intake.New(intake.Options{Limits: config.Limits{UnfinishedBytes: 1 << 20}, Largest: 1 << 20})
	loan := in.Lend(viaTCP, 1)
	want := bytes.Repeat([]byte("0123456789"), 10_000)
	b, err := intake.Read(iotest.OneByteReader(bytes.NewReader(want)), nil, 512, len(want), &loan)
	require.NoError(t, err)
	assert.Equal(t, want, b)
	_, n := in.Held()
	assert.Equal(t, len(want)-intake.Free, n, "as much as it is, beyond what is free")
	loan.Close()
	b, err = intake.Read(bytes.NewReader(want[:5000]), nil, 512, len(want), &loan)
	assert.Equal(t, io.EOF, err)
	assert.Len(t, b, 5000)
	_, n = in.Held()
	assert.Less(t, n, 4*5000)
}
