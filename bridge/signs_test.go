package bridge_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// clocked is a hub whose clock stands still until the test moves it.
func clocked(t testing.TB) (h *bridge.Hub, pass func(time.Duration)) {
	now := time.Unix(1_800_000_000, 0)
	h, _ = harness.Hub(t, viaMQTT, bridge.Options{Tree: bridge.NewTree("w", "g"), Now: func() time.Time { return now }})
	return h, func(d time.Duration) { now = now.Add(d) }
}

func TestASilentClientIsLate(t *testing.T) {
	h, pass := clocked(t)
	lamp, err := h.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true}, func() {})
	require.NoError(t, err)
	info := func() bridge.SenderInfo {
		info, err := h.Registry().Sender(lamp.Sender().ID())
		require.NoError(t, err)
		return info
	}
	at := netip.MustParseAddrPort("192.0.2.1:4210")
	lamp.Present(viaMQTT)
	assert.Zero(t, info().Heard, "nobody says when")
	lamp.At(at)
	lamp.Promises(time.Minute)
	begun := h.Now()
	lamp.Heard(begun)
	pass(time.Minute)
	assert.False(t, info().Late)
	pass(time.Second)
	assert.True(t, info().Late && info().Missing && info().Here)
	assert.True(t, begun.Equal(info().Heard))
	assert.Equal(t, at, info().From)
	lamp.Heard(h.Now())
	assert.False(t, info().Late || info().Missing)
	lamp.Promises(0)
	pass(time.Hour)
	assert.False(t, info().Late, "it promised nothing")

	// A second client of the name speaks for both.
	other, err := h.Holds().Register(bridge.Naming{Name: "lamp"}, func() {})
	require.NoError(t, err)
	other.Present(viaUDP)
	other.Heard(h.Now().Add(-time.Hour))
	other.Promises(time.Minute)
	lamp.Promises(time.Minute)
	assert.True(t, info().Late)
	other.Heard(h.Now())
	assert.False(t, info().Late)
	h.Holds().Release(other)

	pass(time.Hour)
	heard := h.Now().Add(-10 * time.Second)
	lamp.Heard(heard)
	lamp.Left(bridge.LeftBySilence)
	h.Holds().Release(lamp)
	gone := info()
	assert.True(t, heard.Equal(gone.Seen), "not when it was given up: %s", gone.Seen)
	assert.Equal(t, at, gone.From, "where it was")
	assert.Equal(t, viaMQTT, gone.Last)
	assert.True(t, gone.Missing)
}

func TestWhoIsMissing(t *testing.T) {
	h, _ := clocked(t)
	for name, why := range map[string]bridge.Departure{
		"polite": bridge.LeftByGoodbye, "silent": bridge.LeftBySilence, "torn": bridge.LeftByLoss, "unnoticed": bridge.LeftUnnoticed, "mine": bridge.LeftBySilence,
	} {
		hold, err := h.Holds().Register(bridge.Naming{Name: name, Lasting: true}, func() {})
		require.NoError(t, err)
		hold.Present(viaUDP)
		hold.Left(why)
		h.Holds().Release(hold)
	}
	for name, why := range map[string]bridge.Departure{"page": bridge.LeftByGoodbye, "script": bridge.LeftByLoss, "": bridge.LeftByLoss} {
		reg, err := h.Register(bridge.Registration{Name: name})
		require.NoError(t, err)
		s, _ := h.SenderByID(reg.ID)
		h.Holds().Parted(s, viaHTTP, why)
	}
	_, err := h.Register(bridge.Registration{Name: "never here"})
	require.Error(t, err)
	_, err = h.Register(bridge.Registration{Name: "never-here"})
	require.NoError(t, err)
	list, _ := h.Registry().List(bridge.SenderFilter{Missing: true, Except: func(name string) bool { return name == "mine" }}, 0, 100)
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	assert.ElementsMatch(t, []string{"silent", "torn", "unnoticed", "script"}, names)
}

// A stream that was open for days was there until it ended; a mailbox until it was polled last.
func TestAStreamWasThereToItsEnd(t *testing.T) {
	for why, want := range map[bridge.Departure]time.Duration{bridge.LeftBySilence: 0, bridge.LeftByLoss: 72 * time.Hour} {
		h, pass := clocked(t)
		reg, err := h.Register(bridge.Registration{Name: "script"})
		require.NoError(t, err)
		s, _ := h.SenderByID(reg.ID)
		registered := h.Now()
		stream := &bridge.Attachment{Via: viaHTTP, Returns: true, Broadcasts: true, Polls: why == bridge.LeftBySilence}
		require.NoError(t, h.Attach(s, 5, stream))
		pass(72 * time.Hour)
		here, err := h.Registry().Sender(reg.ID)
		require.NoError(t, err)
		if want == 0 {
			assert.True(t, registered.Equal(here.Heard), "who polls was heard when it did")
		} else {
			assert.Zero(t, here.Heard, "a stream only hears")
		}
		h.Detach(stream)
		h.Holds().Parted(s, viaHTTP, why)
		info, err := h.Registry().Sender(reg.ID)
		require.NoError(t, err)
		assert.Equal(t, want, info.Seen.Sub(registered), why)
	}
}

func TestDevicesWithoutANameThatLeft(t *testing.T) {
	h, pass := clocked(t)
	begun := h.Now()
	leaves := func(why bridge.Departure, channels ...bridge.Channel) {
		d := bridge.NewDevice(h, viaUDP, false, nil)
		d.Register(bridge.Unproved, func() {})
		d.Hold().At(netip.MustParseAddrPort("192.0.2.1:4210"))
		d.Hold().Heard(h.Now())
		require.NoError(t, d.Join(channels...))
		pass(time.Second)
		d.Left(why)
		d.Close()
		d.Close()
	}
	leaves(bridge.LeftByGoodbye, 5)
	leaves(bridge.LeftUnnoticed, 5)
	leaves(bridge.LeftBySilence) // it was on no channel: nobody misses it
	assert.Empty(t, h.Registry().Gone(begun))
	var many []bridge.Channel
	for c := range bridge.Channel(20) {
		many = append(many, c+1)
	}
	leaves(bridge.LeftBySilence, many...)
	got := h.Registry().Gone(begun)
	require.Len(t, got, 1)
	assert.Equal(t, many[:8], got[0].On)
	assert.Equal(t, "udp silence 192.0.2.1:4210", fmt.Sprint(got[0].Via, " ", got[0].Why, " ", got[0].From))
	assert.Equal(t, h.Now().Add(-time.Second).Unix(), got[0].When.Unix(), "when it was heard")
	for range 100 {
		leaves(bridge.LeftBySilence, 7)
	}
	got = h.Registry().Gone(begun)
	require.Len(t, got, 64)
	assert.True(t, got[0].When.After(got[63].When), "the last first")
	assert.Len(t, h.Registry().Gone(got[9].When), 10)
}

func TestWhoLostWhat(t *testing.T) {
	h, _ := clocked(t)
	var ids []bridge.SenderID
	for i := range 300 {
		reg, err := h.Register(bridge.Registration{Name: fmt.Sprint("lamp", i)})
		require.NoError(t, err)
		s, _ := h.SenderByID(reg.ID)
		if h.Counters().Lose(s, viaUDP, bridge.QueueFull, i); i == 299 {
			h.Counters().Lose(s, viaUDP, bridge.QueueFull, 1)
			h.Counters().Lose(s, viaUDP, bridge.Expired, 5)
		}
		ids = append(ids, reg.ID)
	}
	h.Counters().Lose(nil, viaUDP, bridge.Expired, 2) // nobody known
	assert.EqualValues(t, 299*300/2+1, h.Counters().Dropped(viaUDP, bridge.QueueFull))
	assert.EqualValues(t, 7, h.Counters().Dropped(viaUDP, bridge.Expired))
	all := h.Registry().Losses(500)
	assert.Len(t, all, 300, "who lost nothing is not there")
	some := h.Registry().Losses(2)
	require.Len(t, some, 2)
	assert.Equal(t, ids[299], some[0].ID)
	assert.EqualValues(t, 300, some[0].N)
	assert.EqualValues(t, 298, some[1].N)
	d, err := h.Registry().Details(ids[299], 10)
	require.NoError(t, err)
	assert.Len(t, d.Lost, 2)
	s, _ := h.SenderByID(ids[299])
	require.NoError(t, h.Forget(s))
	all = h.Registry().Losses(500)
	require.Len(t, all, 300, "it is known for a while what a forgotten one lost")
	assert.True(t, all[0].Gone)
	h.Counters().Lose(s, viaUDP, bridge.Disconnected, 6) // what waited for it when it was forgotten
	all = h.Registry().Losses(500)
	require.Len(t, all, 301)
	assert.Contains(t, all, bridge.SenderLoss{ID: s.ID(), Name: s.Name(), Gone: true, Loss: bridge.Loss{Via: viaUDP, Why: bridge.Disconnected, N: 6, Last: all[0].Last}})
	for _, id := range ids {
		if s, ok := h.SenderByID(id); ok {
			require.NoError(t, h.Forget(s))
		}
	}
	all = h.Registry().Losses(500)
	assert.NotEmpty(t, all)
	assert.LessOrEqual(t, len(all), 65, "of the last 64")
	reg, err := h.Register(bridge.Registration{})
	require.NoError(t, err)
	last, _ := h.SenderByID(reg.ID)
	require.NoError(t, h.Forget(last))
	h.Counters().Lose(last, viaUDP, bridge.Disconnected, 1)
	all = h.Registry().Losses(500)
	assert.True(t, slices.ContainsFunc(all, func(l bridge.SenderLoss) bool { return l.ID == reg.ID && l.Gone && l.N == 1 }), "it had lost nothing before")
}
