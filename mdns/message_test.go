package mdns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	n := nameOf("My house. 2", "_http", "_tcp", "local")
	assert.Equal(t, "My house. 2", n.first())
	assert.Equal(t, "My house. 2._http._tcp.local", n.String())
	assert.True(t, n.is(nameOf("mY HOUSE. 2", "_http", "_tcp", "LOCAL")))
	assert.False(t, n.is(nameOf("My house", " 2", "_http", "_tcp", "local")))
	assert.Equal(t, rootName, rootName.rest())
	assert.Empty(t, rootName.first())
}

func TestMessagesKeepWhatTheySay(t *testing.T) {
	l := newLAN(t)
	l.joins("house.attic", "wt-1", "192.0.2.1/24", "2001:db8::1/64")
	l.pass(5 * time.Second)
	require.NotEmpty(t, l.heard)
	for _, f := range l.heard {
		m, err := parse(f.b)
		require.NoError(t, err)
		assert.Equal(t, f.b, m.pack())
		assert.Less(t, len(f.b), 600, "names are compressed")
	}
}

func TestMalformedMessages(t *testing.T) {
	header := "\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00"
	for what, b := range map[string]string{
		"nothing":                    "",
		"a header without its name":  header,
		"a name that points ahead":   header + "\xc0\x20\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00",
		"a name that points at it":   header + "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00",
		"half a pointer":             header + "\xc0",
		"an unknown kind of label":   header + "\x80\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00",
		"a name that is too long":    header + strings.Repeat("\x01x", 128) + "\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00",
		"data that ends too early":   header + "\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04xxx",
		"a PTR with more than that":  header + "\x00\x00\x0c\x00\x01\x00\x00\x00\x00\x00\x02\x00\x00",
		"an SRV without its target":  header + "\x00\x00\x21\x00\x01\x00\x00\x00\x00\x00\x06xxxxxx",
		"more than the largest size": header + strings.Repeat("x", largest),
	} {
		_, err := parse([]byte(b))
		assert.Error(t, err, what)
	}
}

// Whatever comes, nothing panics, and what can be read can be written.
func TestRandomMessages(t *testing.T) {
	l := newLAN(t)
	h := l.joins("house", "wt-1", "192.0.2.1/24")
	l.pass(5 * time.Second)
	dice := rand.New(rand.NewPCG(1, 1))
	from := netip.MustParseAddrPort("192.0.2.9:5353")
	valid := slices.Clone(l.heard)
	for range 4000 {
		b := slices.Clone(valid[dice.IntN(len(valid))].b)
		for range 1 + dice.IntN(4) {
			b[dice.IntN(len(b))] = byte(dice.Uint32())
		}
		b = b[:len(b)-dice.IntN(2)*dice.IntN(len(b))]
		if m, err := parse(b); err == nil {
			again, err := parse(m.pack())
			require.NoError(t, err)
			assert.Equal(t, len(m.answers), len(again.answers))
		}
		h.take(l.now, linkID{1, false}, from, b)
		l.now = l.now.Add(10 * time.Millisecond)
		h.advance(l.now)
		l.air, l.heard = nil, nil
	}
	l.pass(time.Minute)
	assert.NotEmpty(t, l.asks("192.0.2.9:5353", browses), "it goes on")
}
