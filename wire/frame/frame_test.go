package frame_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/wire"
	"watchtower/wire/frame"
)

func TestKeys(t *testing.T) {
	var key frame.Key
	input := make([]byte, 15)
	for i := range key {
		key[i] = byte(i)
	}
	copy(input, key[:])
	assert.Equal(t, uint64(0xa129ca6149be45e5), key.Sum(input), "SipHash's own test vector")
	assert.Zero(t, frame.DeviceKey(""), "an open gateway")
	assert.NotEqual(t, frame.DeviceKey("a"), frame.DeviceKey("b"))
	assert.NotEqual(t, key.SessionKey(0, [8]byte{1}, [8]byte{}, 1), key.SessionKey(0, [8]byte{}, [8]byte{1}, 1))
}

// captured are the frames of testdata, which an independent script made.
func captured(t testing.TB) (all [][]byte) {
	text, err := os.ReadFile("../../testdata/session/vectors.txt")
	require.NoError(t, err)
	hidden, err := os.ReadFile("../../testdata/session/hidden.txt")
	require.NoError(t, err)
	text = append(text, hidden...)
	for line := range strings.Lines(string(text)) {
		what, rest, _ := strings.Cut(line, " ")
		if what != "" && strings.Trim(what, "<>") == "" {
			value, _, _ := strings.Cut(rest, " ")
			raw, err := hex.DecodeString(value)
			require.NoError(t, err)
			all = append(all, raw)
		}
	}
	require.Greater(t, len(all), 40)
	return all
}

func TestCapturedFramesAreMadeAgain(t *testing.T) {
	for _, raw := range captured(t) {
		f, err := frame.Parse(raw)
		require.NoError(t, err)
		made := frame.Append(nil, f, frame.Key{})
		assert.Equal(t, raw[:len(raw)-8], made[:len(made)-8])
		assert.False(t, frame.Key{}.Verify(raw))
		assert.True(t, frame.Key{}.Verify(made))
		for n := range raw {
			_, err := frame.Parse(raw[:n])
			assert.ErrorIs(t, err, frame.ErrShort)
			assert.False(t, frame.Key{}.Verify(made[:n]))
		}
		_, err = frame.Parse(append(raw, 0))
		assert.ErrorIs(t, err, frame.ErrTrailing)
	}
}

func TestStampLeavesTheSharedFrameAlone(t *testing.T) {
	d := wire.Delivery{Sender: 1, Channel: 2, Type: 0x0201, Data: []byte(strings.Repeat("x", 1000))}
	shared := frame.AppendDelivery(nil, d)
	before := append([]byte(nil), shared...)
	key := frame.Key{1}
	for _, room := range []int{64, 1029, 1030, 1200} {
		raw := frame.Stamp([]byte("before"), shared, frame.Receiver{Flags: frame.AckWanted, ID: 7, Seq: 9, Room: room}, key)
		require.Equal(t, "before", string(raw[:6]))
		raw = raw[6:]
		f, err := frame.Parse(raw)
		require.NoError(t, err)
		assert.True(t, key.Verify(raw))
		assert.Equal(t, room < 1030, f.Truncated())
		assert.True(t, f.AckWanted())
		assert.Len(t, raw, min(room, 1030))
		got, err := frame.ParseDelivery(f.Body)
		require.NoError(t, err)
		assert.Equal(t, string(d.Data[:len(got.Data)]), string(got.Data))
		assert.EqualValues(t, 7, f.ID)
		assert.EqualValues(t, 9, f.Seq)
	}
	assert.Equal(t, before, shared)
	huge := frame.AppendDelivery(nil, wire.Delivery{Data: make([]byte, 70_000)})
	f, err := frame.Parse(frame.Stamp(nil, huge, frame.Receiver{ID: 1, Seq: 1, Room: 1 << 20}, key))
	require.NoError(t, err)
	assert.True(t, f.Truncated())
	assert.Len(t, f.Body, frame.MaxBody)
}

func TestBodiesOfTheWrongLength(t *testing.T) {
	b := make([]byte, 40)
	for n := range b {
		_, _, cookie := frame.ParseCookie(b[:n])
		assert.Equal(t, n == 16, cookie == nil)
		_, registered := frame.ParseRegistered(append([]byte("r"), b[:n]...))
		assert.Equal(t, n == 12, registered == nil)
		_, start := frame.ParseStart(b[:n])
		assert.Equal(t, n == 4, start == nil)
		_, _, members := frame.ParseMembers(b[:n])
		assert.Equal(t, n == 8, members == nil)
		_, _, ping := frame.ParsePing(b[:n])
		assert.Equal(t, n == 0 || n == 8, ping == nil)
		_, challenge := frame.ParseChallenge(b[:n])
		assert.Equal(t, n == 8, challenge == nil)
		_, bye := frame.ParseBye(b[:n])
		assert.Equal(t, n == 2, bye == nil)
		_, _, list := frame.ParseList(b[:n])
		assert.Equal(t, n%4 == 1, list == nil)
		_, delivery := frame.ParseDelivery(b[:n])
		assert.Equal(t, n >= 10, delivery == nil)
		_, register := frame.ParseRegistration(b[:n])
		assert.Equal(t, n == 24, register == nil)
	}
}

// FuzzFrames checks that whatever is parsed can be made again, and that nothing reads out
// of bounds.
func FuzzFrames(f *testing.F) {
	for _, raw := range captured(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		fr, err := frame.Parse(raw)
		if err != nil {
			return
		}
		require.Equal(t, len(raw), frame.Length(raw))
		made := frame.Append(nil, fr, frame.Key{})
		require.Equal(t, raw[:len(raw)-frame.TagSize], made[:len(made)-frame.TagSize])
		_, _ = frame.ParseRegistration(fr.Body)
		_, _, _ = frame.ParseCookie(fr.Body)
		_, _ = frame.ParseRegistered(fr.Body)
		_, _ = frame.ParseIDs(fr.Body)
		_, _, _ = frame.ParseBroadcast(fr.Body)
		_, _, _, _ = frame.ParseSend(fr.Body)
		_, _, _ = frame.ParseList(fr.Body)
		if d, err := frame.ParseDelivery(fr.Body); err == nil {
			require.Len(t, frame.AppendDelivery(nil, d), len(raw))
		}
		if fr.Op == frame.Register {
			if r, err := frame.ParseRegistration(fr.Body); err == nil {
				again := frame.AppendRegister(nil, r, frame.Key{})
				require.Equal(t, fr.Body, again[frame.HeaderSize:len(again)-frame.TagSize])
			}
		}
	})
}

// A mask is undone by the same mask, touches the body alone, and is another one for every
// tag, every eight bytes and every number's lowest byte.
func TestMask(t *testing.T) {
	key := frame.Key{1, 2, 3}
	for n := range 40 {
		body := []byte(strings.Repeat("\x00", n))
		plain := frame.Append(nil, frame.Frame{Op: frame.Broadcast, ID: 7, Seq: 9, Body: body}, key)
		hidden := append([]byte(nil), plain...)
		key.Mask(hidden)
		assert.Equal(t, plain[:frame.HeaderSize], hidden[:frame.HeaderSize])
		assert.Equal(t, plain[frame.HeaderSize+n:], hidden[frame.HeaderSize+n:], "the tag")
		assert.Equal(t, n == 0, key.Verify(hidden))
		key.Mask(hidden)
		assert.Equal(t, plain, hidden)
	}
	seen := map[string]bool{}
	masks := 0
	for _, f := range []frame.Frame{{Seq: 1}, {Seq: 2}, {Seq: 1, ID: 1}, {Seq: 257}} {
		f.Op, f.Body = frame.Delivery, make([]byte, 1<<16-1)
		raw := frame.Append(nil, f, key)
		key.Mask(raw)
		for at := frame.HeaderSize; at+8 <= len(raw)-frame.TagSize; at += 8 {
			mask := string(raw[at : at+8])
			seen[mask] = true
			masks++
		}
	}
	assert.Len(t, seen, masks, "each once")
	assert.Equal(t, 4*((1<<16-1)/8), masks)
	for n := range frame.Overhead {
		key.Mask(make([]byte, n)) // cut short: nothing happens
	}
}

// Keys of names differ by master, generation and name, and are those of the document's
// construction.
func TestKeysOfNames(t *testing.T) {
	m := frame.Master{}
	for i := range m {
		m[i] = byte(i)
	}
	assert.Equal(t, "9d0936736f03ce48f7f31fbc0eb8822e", m.Key(1, []byte("lamp")).Hex(), "as the vectors have it")
	all := map[frame.Key]bool{}
	for _, master := range []frame.Master{m, {}} {
		for generation := range 256 {
			for _, name := range []string{"lamp", "lam", "p", "Lamp"} {
				all[master.Key(byte(generation), []byte(name))] = true
			}
		}
	}
	assert.Len(t, all, 2*256*4)
}

func BenchmarkMask(b *testing.B) {
	raw := frame.Append(nil, frame.Frame{Op: frame.Broadcast, Seq: 1, Body: make([]byte, 64)}, frame.Key{1})
	b.ReportAllocs()
	for b.Loop() {
		frame.Key{1}.Mask(raw)
	}
}

func BenchmarkStamp(b *testing.B) {
	shared := frame.AppendDelivery(nil, wire.Delivery{Data: make([]byte, 64)})
	buf := make([]byte, 0, 200)
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		buf = frame.Stamp(buf[:0], shared, frame.Receiver{ID: 7, Seq: i, Room: 1200}, frame.Key{1})
	}
}
