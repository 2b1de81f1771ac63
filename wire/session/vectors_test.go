package session_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire/frame"
	"watchtower/wire/keys"
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

// The conversations of testdata, which an independent script made. The table plays the
// gateway's part.
func TestVectors(t *testing.T) {
	for _, file := range []string{"vectors.txt", "hidden.txt"} {
		t.Run(file, func(t *testing.T) { testVectors(t, file) })
	}
}

func testVectors(t *testing.T, file string) {
	text, err := os.ReadFile("../../testdata/session/" + file)
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
		if b == nil && raw != nil && strings.Trim(what, "<>") == "" {
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
	hidden := values["master"] != ""
	b := newBench(t, nil, bridge.Options{Store: oneLamp{id: 0x0badcafe}, Limits: joins(3), SecretKey: values["secret"], OwnKeys: hidden})
	opts := options()
	opts.Now = func() time.Time { return b.now }
	var known session.Keys = session.SharedKey(func() frame.Key { return frame.DeviceKey(values["secret"]) })
	if hidden {
		assert.Equal(t, key("shared"), known.Shared())
		master, err := hex.DecodeString(values["master"])
		require.NoError(t, err)
		ring, err := keys.Open(&memory{}, func() []byte { return master }, keys.Options{Mode: keys.Accepted, Shared: known.Shared, Now: opts.Now})
		require.NoError(t, err)
		_, err = ring.Revoke("lamp")
		require.NoError(t, err)
		_, err = ring.Revoke("never seen")
		require.Error(t, err, "it is no name")
		lamp, generation, err := ring.Key("lamp")
		require.NoError(t, err)
		assert.Equal(t, values["generation"], fmt.Sprint(generation))
		assert.Equal(t, key("psk"), lamp)
		known = ring
	} else {
		assert.Equal(t, key("psk"), known.Shared())
	}
	b.table = session.NewTable(b.hub, known, opts)
	b.table.FixCookies(key("gateway-secret"))
	return b
}

func keyOf(t *testing.T, text string) frame.Key {
	raw, err := hex.DecodeString(text)
	require.NoError(t, err)
	return frame.Key(raw)
}
