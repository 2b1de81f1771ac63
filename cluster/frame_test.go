package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

func messages() []*bridge.Message {
	now := time.Unix(1_700_000_000, 123).Local()
	return []*bridge.Message{
		{Time: now, Channel: 5, Sender: 72, Data: []byte{}},
		{Time: now, Type: bridge.Send, Channel: 1<<32 - 1, Sender: 1<<32 - 1, Receiver: 300, Name: "kitchen", Hint: bridge.JSON, Data: []byte(`{"a":1}`), Hops: 3, Groups: []bridge.GroupPick{{At: 9, Filter: "$share/g/x"}}, ConfirmedBy: []bridge.SenderID{1, 70000}, Expires: now.Add(time.Minute)},
	}
}

func TestAMessageIsTheSameElsewhere(t *testing.T) {
	for i, m := range messages() {
		m.ID[3] = byte(i)
		left := lifeLeft(m, m.Time)
		k, body, rest, ok := readEntry(appendMessage(nil, m, left))
		require.True(t, ok)
		assert.Empty(t, rest)
		assert.Equal(t, kindMessage, k)
		assert.Len(t, body, messageBytes(m, left))
		got, reported := readMessage(body, spelled{}, m.Time)
		assert.False(t, reported)
		m.Wait = true
		assert.Equal(t, m, got)
		for n := range body[:len(body)-len(m.Data)] {
			got, _ := readMessage(body[:n], spelled{}, m.Time)
			assert.Nil(t, got, "cut at %d", n)
		}
	}
}

var viaReported = bridge.NewProtocol("reported")

func TestAReportIsTheSameElsewhere(t *testing.T) {
	for _, counts := range [][]count{nil, {{viaReported, 300, 0}, {viaReported, 1, 1}}} {
		want := told{to: 9, of: copied{id: [16]byte{1, 2}, channel: 1<<32 - 1, receiver: 300}, counts: counts}
		k, body, _, ok := readEntry(appendReport(nil, want))
		require.True(t, ok)
		assert.Equal(t, kindReport, k)
		assert.Len(t, body, want.bytes())
		got, ok := readReport(body)
		require.True(t, ok)
		assert.Equal(t, want, got)
		_, ok = readReport(body[:10])
		assert.False(t, ok)
	}
}

func TestAMembershipAndAStateAreTheSameElsewhere(t *testing.T) {
	want := bridge.PeerMember{Channel: 5, Sender: 72, Name: "lamp", Broadcasts: true}
	_, body, _, ok := readEntry(appendMember(nil, want))
	require.True(t, ok)
	assert.Len(t, body, memberBytes(want)-len(want.Via.String())+len("none"))
	got, ok := readMember(body)
	require.True(t, ok)
	assert.Equal(t, want, got)

	claim := bridge.Claim{Key: bridge.NewClaimKey("a"), At: 1 << 60, Standing: bridge.Adopted}
	_, body, _, ok = readEntry(appendClaim(nil, claim))
	require.True(t, ok)
	assert.Len(t, body, claimBytes(claim))
	open, ok := readClaim(body)
	require.True(t, ok)
	assert.Equal(t, claim, open)
	for n := range body {
		_, ok := readClaim(body[:n])
		assert.False(t, ok, "cut at %d", n)
	}

	said := state{"attic", 1234567890123, []having{{1, 1 << 60, 7}, {255, 2, 1 << 40}}}
	_, body, _, ok = readEntry(appendState(nil, said))
	require.True(t, ok)
	heard, ok := readState(body)
	require.True(t, ok)
	assert.Equal(t, said, heard)
}

// A newer gateway may say what this one does not know.
func TestUnknownKindsAreSkipped(t *testing.T) {
	b := appendHead(nil, 2, 7, 100)
	b = append(b, 99, 3, 'x', 'y', 'z', 200, 1, 'q')
	b = appendMember(b, bridge.PeerMember{Channel: 5, Sender: 72, Sends: true})
	f, err := readFrame(b)
	require.NoError(t, err)
	assert.EqualValues(t, 102, f.after())
	var numbers []uint64
	f.each(func(number uint64, k kind, _ []byte) {
		if k == kindMember {
			numbers = append(numbers, number)
		}
	})
	assert.Equal(t, []uint64{101}, numbers)
}

func FuzzFrame(f *testing.F) {
	b := appendHead(nil, 1, 2, 3)
	for _, m := range messages() {
		b = appendMessage(b, m, 1000)
	}
	b = appendMember(b, bridge.PeerMember{Channel: 5, Sender: 72, Name: "lamp", Broadcasts: true})
	for _, m := range topics() {
		b = appendTopic(b, m, 1000)
	}
	b = appendClaim(b, bridge.Claim{Key: bridge.NewClaimKey("a"), At: 7, Standing: bridge.Live})
	b = appendGroup(b, bridge.PeerGroup{Filter: "$share/g/x", Connected: 2, Away: 300})
	b = appendLeave(b, bridge.PeerMember{Channel: 5, Sender: 300})
	f.Add(appendState(b, state{"attic", 5, []having{{1, 2, 3}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := readFrame(b)
		if err != nil {
			return
		}
		n := uint64(0)
		frame.each(func(number uint64, k kind, body []byte) {
			if k.numbered() {
				n++
			}
			if number < frame.first && frame.first < 1<<63 {
				t.Fatal("a number before the first")
			}
			switch k {
			case kindMessage:
				if m, _ := readMessage(body, spelled{}, time.Now()); m != nil && len(m.Data) > len(body) {
					t.Fatal("more than there is")
				}
			case kindTopic:
				if m := readTopic(body, spelled{}, time.Now()); m != nil && len(m.Topic)+len(m.Payload) > len(body) {
					t.Fatal("more than there is")
				}
			case kindGroup:
				if g, ok := readGroup(body); ok && (g.Connected < 0 || g.Away < 0) {
					t.Fatal("less than nobody")
				}
			case kindReport:
				readReport(body)
			case kindMember:
				readMember(body)
			case kindLeave:
				readLeave(body)
			case kindOpen:
				if c, ok := readClaim(body); ok && c.Standing > bridge.Live {
					t.Fatal("a standing that is none")
				}
			case kindState:
				readState(body)
			}
		})
		if n != frame.n {
			t.Fatalf("%d entries, not %d", n, frame.n)
		}
	})
}
