package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/wire"
)

// frames reads a file of captured frames, one on each line in hexadecimal. In a session,
// > is before what a client sent, and < before what the gateway sent.
func frames(t testing.TB, name string) (frames [][]byte) {
	text, err := os.ReadFile(filepath.Join("../testdata/wire", name+".hex"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		b, err := hex.DecodeString(strings.NewReplacer(" ", "", ">", "", "<", "", "\n", "").Replace(line))
		require.NoError(t, err, name)
		frames = append(frames, b)
	}
	return frames
}

const id = 0x0badcafe

var requests = map[string]wire.Request{
	"register":  {Op: 'R'},
	"key":       {Op: 'K', Key: []byte("hunter2")},
	"join":      {Op: 'J', ID: id, Channel: 7},
	"quit":      {Op: 'Q', ID: id, Channel: 7},
	"list":      {Op: 'L', ID: id},
	"broadcast": {Op: 'M', ID: id, Channel: 7, Data: []byte("hello")},
	"send":      {Op: 'S', ID: id, Channel: 7, Receivers: wire.AppendIDs[uint32](nil, 0x11223344, 5), Data: []byte("hi")},
	"keepalive": {Op: 'P', ID: id},
	"where":     {Op: 'W'},
}

func TestCapturedRequests(t *testing.T) {
	for name, want := range requests {
		t.Run(name, func(t *testing.T) {
			frame := frames(t, "request-"+name)[0]
			got, err := wire.Parse(frame)
			require.NoError(t, err)
			assert.Equal(t, want, got)
			b, err := wire.AppendRequest(nil, want)
			require.NoError(t, err)
			assert.Equal(t, frame, b)
		})
	}
	files, err := filepath.Glob("../testdata/wire/request-*.hex")
	require.NoError(t, err)
	assert.Len(t, files, len(requests), "every captured request is tested")
}

func TestCapturedReplies(t *testing.T) {
	one := func(name string) []byte { return frames(t, "reply-"+name)[0] }

	assert.Equal(t, one("answer"), wire.AppendAnswer(nil, id))
	v, err := wire.ParseAnswer(one("answer"))
	assert.NoError(t, err)
	assert.EqualValues(t, id, v)

	assert.Equal(t, one("list"), wire.AppendList(nil, []uint32{7, 300}))
	list, err := wire.ParseList(one("list"))
	require.NoError(t, err)
	require.Equal(t, 2, list.Len())
	assert.EqualValues(t, 300, list.At(1))

	where := wire.Where{Version: 1, TCPPort: 3033, Gateway: 0xa1b2c3d4}
	assert.Equal(t, one("where"), wire.AppendWhere(nil, where))
	w, err := wire.ParseWhere(one("where"))
	assert.NoError(t, err)
	assert.Equal(t, where, w)

	for name, want := range map[string]wire.Delivery{
		"delivery-broadcast": {Sender: id, Channel: 7, Data: []byte("hello")},
		"delivery-send":      {Sender: 5, Channel: 7, Type: 0x0201, Data: []byte("{}")},
	} {
		assert.Equal(t, one(name), wire.AppendDelivery(nil, want))
		d, err := wire.ParseDelivery(one(name))
		assert.NoError(t, err)
		assert.Equal(t, want, d)
	}
	assert.Equal(t, one("error"), wire.AppendError(nil))
}

func TestMalformedRequests(t *testing.T) {
	for name, c := range map[string]struct {
		frame string
		want  error
	}{
		"empty":             {"", wire.ErrShort},
		"R and more":        {"R\n", wire.ErrTrailing},
		"K without length":  {"K", wire.ErrShort},
		"K cut":             {"K\x05abcd", wire.ErrShort},
		"J cut":             {"J12345678"[:8], wire.ErrShort},
		"J and more":        {"J123456789", wire.ErrTrailing},
		"M cut":             {"M12345678\x02\x00\x00\x00a", wire.ErrShort},
		"M absurd":          {"M12345678\xff\xff\xff\xffa", wire.ErrShort},
		"S absurd":          {"S12345678\xff", wire.ErrShort},
		"S and more":        {"S12345678\x00\x00\x00\x00\x00a", wire.ErrTrailing},
		"W cut":             {"W\x00\x00", wire.ErrShort},
		"W of a gateway":    {"W\x01\xd9\x0b\x01\x02\x03\x04", wire.ErrFromGateway},
		"W and more":        {"W\x00\x00\x00\x00\x00\x00\x00\x00", wire.ErrTrailing},
		"A":                 {"A1234", wire.ErrFromGateway},
		"E":                 {"E", wire.ErrFromGateway},
		"a session frame":   {"r", wire.ErrUnknown},
		"no frame's letter": {"Z", wire.ErrUnknown},
	} {
		_, err := wire.Parse([]byte(c.frame))
		assert.ErrorIs(t, err, c.want, name)
	}
}

func TestLengthIsKnownBeforeTheFrameIsThere(t *testing.T) {
	for name, c := range map[string]struct {
		begin string
		want  int
		err   error
	}{
		"nothing":            {"", 0, nil},
		"J":                  {"J", 9, nil},
		"K":                  {"K", 0, nil},
		"K with its length":  {"K\x07", 9, nil},
		"M without length":   {"M12345678\x01\x00\x00", 0, nil},
		"M at the limit":     {"M12345678\x64\x00\x00\x00", 113, nil},
		"M over the limit":   {"M12345678\x65\x00\x00\x00", 0, wire.ErrTooLarge},
		"M of 4 GiB":         {"M12345678\xff\xff\xff\xff", 0, wire.ErrTooLarge},
		"S without count":    {"S12345678", 0, nil},
		"S without length":   {"S12345678\x01abcd\x01\x00\x00", 0, nil},
		"S over the limit":   {"S12345678\x01abcd\x00\x01\x00\x00", 0, wire.ErrTooLarge},
		"S with its length":  {"S12345678\x01abcd\x01\x00\x00\x00", 19, nil},
		"A":                  {"A", 0, wire.ErrFromGateway},
		"E":                  {"E", 0, wire.ErrFromGateway},
		"a session frame":    {"m", 0, wire.ErrUnknown},
		"a byte of no frame": {"\xff", 0, wire.ErrUnknown},
	} {
		n, err := wire.Length([]byte(c.begin), 100)
		assert.Equal(t, c.want, n, name)
		assert.ErrorIs(t, err, c.err, name)
	}
}

func TestWhatDoesNotFitIsNotEncoded(t *testing.T) {
	for _, r := range []wire.Request{
		{Op: 'K', Key: make([]byte, 256)},
		{Op: 'S', Receivers: make(wire.IDs, 4*256)},
	} {
		b, err := wire.AppendRequest([]byte("before"), r)
		assert.ErrorIs(t, err, wire.ErrTooMany)
		assert.Equal(t, "before", string(b))
	}
	b, err := wire.AppendRequest([]byte("before"), wire.Request{Op: 'A'})
	assert.ErrorIs(t, err, wire.ErrUnknown)
	assert.Equal(t, "before", string(b))
}

func TestReplyLengthFindsFramesInAStream(t *testing.T) {
	stream := wire.AppendError(wire.AppendDelivery(wire.AppendAnswer(nil, 9), wire.Delivery{Sender: 1, Data: []byte("x")}))
	var sizes []int
	for len(stream) > 0 {
		n := 0
		for k := 0; n == 0; k++ {
			var err error
			n, err = wire.ReplyLength(stream[:k], false)
			require.NoError(t, err)
		}
		sizes = append(sizes, n)
		stream = stream[n:]
	}
	assert.Equal(t, []int{5, 16, 1}, sizes)
	n, err := wire.ReplyLength(wire.AppendList(nil, []uint32{1, 2})[:5], true)
	assert.NoError(t, err)
	assert.Equal(t, 13, n)
	_, err = wire.ReplyLength([]byte("J"), false)
	assert.ErrorIs(t, err, wire.ErrUnknown)
}

// codec does all that the gateway does with frames, once.
func codec(in [][]byte, out []byte) []byte {
	for _, frame := range in {
		if n, err := wire.Length(frame, 64000); n != len(frame) || err != nil {
			panic("length")
		}
		r, err := wire.Parse(frame)
		if err != nil {
			panic(err)
		}
		out = wire.AppendDelivery(wire.AppendAnswer(out[:0], r.ID), wire.Delivery{Sender: r.ID, Data: r.Data})
		out = wire.AppendWhere(wire.AppendError(out), wire.Where{Version: 1})
		out = wire.AppendList(out, []uint32{r.ID, r.Channel})
	}
	return out
}

func TestNothingIsAllocated(t *testing.T) {
	in := [][]byte{}
	for name := range requests {
		in = append(in, frames(t, "request-"+name)[0])
	}
	out := make([]byte, 0, 4096)
	assert.Zero(t, testing.AllocsPerRun(100, func() { out = codec(in, out) }))
	assert.Zero(t, testing.AllocsPerRun(100, func() { out, _ = wire.AppendRequest(out[:0], requests["send"]) }))
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"join", "broadcast", "send"} {
		b.Run(name, func(b *testing.B) {
			frame := frames(b, "request-"+name)[0]
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Parse(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendDelivery(b *testing.B) {
	d := wire.Delivery{Sender: id, Channel: 7, Data: make([]byte, 64)}
	out := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		out = wire.AppendDelivery(out[:0], d)
	}
}

// FuzzParse checks that what parses is encoded to the same bytes, and that the length
// told from any beginning of a frame agrees with Parse.
func FuzzParse(f *testing.F) {
	for name := range requests {
		f.Add(frames(f, "request-"+name)[0])
	}
	for _, s := range []string{"", "A1234", "E", "W\x01\x02\x03\x04\x05\x06\x07", "M12345678\xff\xff\xff\xff", "S12345678\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.Parse(b)
		if err == nil {
			again, err := wire.AppendRequest(nil, r)
			require.NoError(t, err)
			require.True(t, bytes.Equal(b, again), "%x became %x", b, again)
		}
		known := 0
		for k := range len(b) + 1 {
			n, lengthErr := wire.Length(b[:k], 1<<31-1)
			if lengthErr != nil {
				require.Error(t, err, "a frame that parses has a length")
				return
			}
			if known != 0 {
				require.Equal(t, known, n, "a length does not change once it is known")
			}
			known = n
		}
		switch {
		case err == nil:
			require.Equal(t, len(b), known)
		case errors.Is(err, wire.ErrTrailing):
			require.Less(t, known, len(b))
		case errors.Is(err, wire.ErrShort):
			require.True(t, known == 0 || known > len(b))
		}
	})
}

// FuzzReplies checks that no bytes of a false gateway upset a client.
func FuzzReplies(f *testing.F) {
	f.Add(wire.AppendList(nil, []uint32{1, 2}))
	f.Add(wire.AppendDelivery(nil, wire.Delivery{Data: []byte("x")}))
	f.Add(wire.AppendWhere(nil, wire.Where{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := wire.ParseAnswer(b); err == nil {
			require.Equal(t, b, wire.AppendAnswer(nil, v))
		}
		if w, err := wire.ParseWhere(b); err == nil {
			require.Equal(t, b, wire.AppendWhere(nil, w))
		}
		if d, err := wire.ParseDelivery(b); err == nil {
			require.Equal(t, b, wire.AppendDelivery(nil, d))
		}
		if ids, err := wire.ParseList(b); err == nil {
			require.Len(t, b, 5+4*ids.Len())
		}
	})
}
