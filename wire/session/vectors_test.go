package session_test

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// oneLamp remembers one sender with a name.
type oneLamp struct {
	slowStore
	id bridge.SenderID
}

func (s oneLamp) Load() ([]bridge.Record, error) {
	return []bridge.Record{{ID: s.id, Name: "lamp", Seen: 1e9}}, nil
}

// The conversation of testdata, which an independent script made. The table plays the
// gateway's part.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("../../testdata/session/vectors.txt")
	require.NoError(t, err)
	values := map[string]string{}
	var b *bench
	var got [][]byte
	var to []netip.AddrPort
	note := func(all []sent) {
		require.Empty(t, got, "the vectors know nothing of this frame")
		for _, s := range all {
			got, to = append(got, s.raw), append(to, s.to)
		}
	}
	addr := func(what string) netip.AddrPort { return netip.MustParseAddrPort(values[what]) }
	seen := map[byte]bool{}
	for line := range strings.Lines(string(text)) {
		line, meaning, _ := strings.Cut(strings.TrimSpace(line), "#")
		what, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		raw, _ := hex.DecodeString(value)
		switch what {
		case "":
			continue
		case ">", ">>", "<", "<<":
			seen[raw[0]] = true
		}
		if b == nil && len(values) == 8 {
			b = newVectorBench(t, values)
		}
		switch what {
		case ">":
			note(b.handle(addr("home"), raw))
		case ">>":
			note(b.handle(addr("away"), raw))
		case "!":
			d, err := time.ParseDuration(value)
			require.NoError(t, err)
			note(b.pass(d))
			b.table.FixCookies(keyOf(t, values["gateway-secret"])) // the secret changed with the minute
		case "<", "<<":
			require.NotEmpty(t, got, "not answered: %s", meaning)
			assert.Equal(t, value, hex.EncodeToString(got[0]), meaning)
			assert.Equal(t, map[string]netip.AddrPort{"<": addr("home"), "<<": addr("away")}[what], to[0])
			got, to = got[1:], to[1:]
		default:
			values[what] = value
		}
	}
	assert.Empty(t, got)
	for _, op := range "rcajxlubspdemkq" {
		assert.True(t, seen[byte(op)], "there is no %c", op)
	}
}

func newVectorBench(t *testing.T, values map[string]string) *bench {
	key := func(name string) frame.Key { return keyOf(t, values[name]) }
	assert.Equal(t, key("psk"), frame.DeviceKey(values["secret"]))
	b := newBench(t, nil, bridge.Options{Store: oneLamp{id: 0x0badcafe}, Limits: joins(3), SecretKey: values["secret"]})
	opts := options()
	opts.Now = func() time.Time { return b.now }
	b.table = session.NewTable(b.hub, func() frame.Key { return key("psk") }, opts)
	b.table.FixCookies(key("gateway-secret"))
	return b
}

func keyOf(t *testing.T, text string) frame.Key {
	raw, err := hex.DecodeString(text)
	require.NoError(t, err)
	return frame.Key(raw)
}
