package jsonline

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

func TestMessageLine(t *testing.T) {
	m := &bridge.Message{
		ID:   ulid.MustParse("01J00000000000000000000000"),
		Time: time.Date(2026, 11, 22, 21, 0, 0, 123_999_999, time.FixedZone("CET", 3600)),
		Type: bridge.Send, Channel: 5, Sender: 72, Name: "lamp", Hint: bridge.JSON, Data: []byte("{ \"a\":\n1 }"),
	}
	assert.Equal(t, `{"id":"01J00000000000000000000000","time":"2026-11-22T20:00:00.123Z","type":"send","channel":5,"sender":72,"name":"lamp","message":{"a":1}}`+"\n", string(Encode(m)))
	m.Time = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	m.Type, m.Name, m.Hint, m.Data = bridge.Broadcast, "", bridge.Opaque, []byte{0xff}
	assert.Equal(t, `{"id":"01J00000000000000000000000","time":"2026-11-22T20:00:00.000Z","type":"broadcast","channel":5,"sender":72,"message":"/w==","encoding":"base64"}`+"\n", string(Encode(m)))
}

func TestWhatIsShownAsJSON(t *testing.T) {
	for _, c := range []struct {
		hint       bridge.Hint
		data, want string
	}{
		{bridge.Opaque, `{"t": 21.5}`, `{"t":21.5}`},
		{bridge.Opaque, "\n\t [1, 2] ", "[1,2]"},
		{bridge.Opaque, "[1, 2", `"[1, 2"`},
		{bridge.Opaque, "{on}", `"{on}"`},
		{bridge.Opaque, "21.5", `"21.5"`},
		{bridge.Opaque, "true", `"true"`},
		{bridge.Opaque, `"on"`, `"\"on\""`},
		{bridge.Text, `{"t":21.5}`, `"{\"t\":21.5}"`},
		{bridge.JSON, "21.5", "21.5"},
		{bridge.JSON, "on", `"on"`},
	} {
		m := &bridge.Message{Time: time.Unix(0, 0), Channel: 5, Sender: 72, Hint: c.hint, Data: []byte(c.data)}
		assert.Contains(t, string(Encode(m)), `"message":`+c.want+"}", "%d %s", c.hint, c.data)
	}
}

func FuzzMessageLine(f *testing.F) {
	for _, data := range []string{"", "all your base", "{\"a\": [1, 2]}", "\xff\x00", "a\r\n\u2028<&>\"\\\x1f", "[", "nul", "\"\xff\"", " 1 "} {
		for hint := range uint8(4) {
			f.Add(hint, []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, hint uint8, data []byte) {
		m := &bridge.Message{Time: time.Unix(0, 0), Channel: 5, Sender: 72, Hint: bridge.Hint(hint), Data: data}
		text := Encode(m)
		require.Equal(t, 1, bytes.Count(text, []byte("\n")), "one line")
		require.False(t, bytes.ContainsRune(text, '\r'))
		require.True(t, utf8.Valid(text))
		var shown struct {
			Message  json.RawMessage
			Encoding string
		}
		require.NoError(t, json.Unmarshal(text, &shown))
		container := bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("["))
		means := m.Hint == bridge.JSON || m.Hint == bridge.Opaque && container
		if shown.Encoding == "" && means && json.Valid(data) {
			var want bytes.Buffer
			require.NoError(t, json.Compact(&want, data))
			require.Equal(t, want.String(), string(shown.Message))
			return
		}
		var got string
		require.NoError(t, json.Unmarshal(shown.Message, &got))
		if shown.Encoding == "base64" {
			require.False(t, utf8.Valid(data))
			decoded, err := base64.StdEncoding.DecodeString(got)
			require.NoError(t, err)
			got = string(decoded)
		}
		require.Equal(t, string(data), got)
	})
}

func BenchmarkMessageLine(b *testing.B) {
	for name, m := range map[string]*bridge.Message{
		"text":   {Hint: bridge.Text, Data: []byte(strings.Repeat("all your base ", 8))},
		"json":   {Hint: bridge.JSON, Data: []byte(`{"temperature": 21.5, "unit": "C"}`)},
		"binary": {Data: bytes.Repeat([]byte{0xff, 0}, 64)},
	} {
		m.Channel, m.Sender, m.Name, m.Time = 5, 72, "lamp", time.Now()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Encode(m)
			}
		})
	}
}
