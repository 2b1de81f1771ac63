package bridge_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

func codeOf(err error) bridge.Code {
	var e *bridge.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func rename(h *bridge.Hub, id bridge.SenderID, name string) error {
	return h.Registry().Change(id, bridge.SenderChange{Name: &name})
}

func protect(h *bridge.Hub, id bridge.SenderID, protected bool) error {
	return h.Registry().Change(id, bridge.SenderChange{Protected: &protected})
}

func TestSendersAreListedInPages(t *testing.T) {
	h := newHub(t, nil)
	for i := range 1000 {
		h.Register(bridge.Registration{Name: fmt.Sprintf("Lamp%d", i)})
	}
	seen := map[string]bool{}
	last := bridge.SenderID(0)
	for from, pages := bridge.SenderID(1), 0; from != 0; pages++ {
		require.Less(t, pages, 150)
		list, next := h.Registry().List(bridge.SenderFilter{}, from, 7)
		for _, s := range list {
			assert.Greater(t, s.ID, last)
			last = s.ID
			seen[s.Name] = true
		}
		from = next
	}
	assert.Len(t, seen, 1000)
	list, next := h.Registry().List(bridge.SenderFilter{Find: "lamp99"}, 0, 100)
	assert.Len(t, list, 11, "99 and 990 to 999")
	assert.Zero(t, next)
	list, _ = h.Registry().List(bridge.SenderFilter{Find: fmt.Sprint(last)}, 0, 100)
	require.NotEmpty(t, list)
	assert.Equal(t, last, list[len(list)-1].ID)
}

func TestWhoIsHere(t *testing.T) {
	h := newHub(t, nil)
	web, err := h.Register(bridge.Registration{Name: "page"})
	require.NoError(t, err)
	page, _ := h.SenderByID(web.ID)
	device := bridge.NewDevice(h, viaUDP, false, nil)
	device.Register(bridge.Unproved, func() {})
	away, err := h.Holds().Register(bridge.Naming{Name: "tablet", Lasting: true}, func() {})
	require.NoError(t, err)
	away.Away(viaMQTT)
	names := func(f bridge.SenderFilter) (ids []bridge.SenderID) {
		list, _ := h.Registry().List(f, 0, 10)
		for _, s := range list {
			ids = append(ids, s.ID)
		}
		return ids
	}
	yes, no, udp, mqtt := true, false, viaUDP, viaMQTT
	assert.Equal(t, []bridge.SenderID{device.Sender().ID()}, names(bridge.SenderFilter{Here: &yes}))
	assert.ElementsMatch(t, []bridge.SenderID{web.ID, away.Sender().ID()}, names(bridge.SenderFilter{Here: &no}))
	assert.Equal(t, []bridge.SenderID{device.Sender().ID()}, names(bridge.SenderFilter{Via: &udp}))
	assert.Equal(t, []bridge.SenderID{away.Sender().ID()}, names(bridge.SenderFilter{Via: &mqtt}))
	assert.Equal(t, []bridge.SenderID{away.Sender().ID()}, names(bridge.SenderFilter{Here: &no, Held: &yes}))
	assert.Equal(t, []bridge.SenderID{web.ID}, names(bridge.SenderFilter{Here: &no, Held: &no}))
	stream := &bridge.Attachment{Via: viaHTTP, Returns: true, Broadcasts: true}
	require.NoError(t, h.Attach(page, 5, stream))
	info, err := h.Registry().Sender(web.ID)
	require.NoError(t, err)
	assert.True(t, info.Here)
	assert.Equal(t, 1, info.Channels)
	h.Detach(stream)
	away.Present(viaMQTT)
	assert.ElementsMatch(t, []bridge.SenderID{device.Sender().ID(), away.Sender().ID()}, names(bridge.SenderFilter{Here: &yes}))
}

func TestManagingSenders(t *testing.T) {
	h := newHub(t, nil)
	lamp, err := h.Register(bridge.Registration{Name: "lamp"})
	require.NoError(t, err)
	door, err := h.Holds().Register(bridge.Naming{Name: "door", Lasting: true}, func() {})
	require.NoError(t, err)
	assert.Equal(t, bridge.NameTaken, codeOf(rename(h, lamp.ID, "door")))
	assert.Equal(t, bridge.InvalidName, codeOf(rename(h, lamp.ID, "a b")))
	assert.Equal(t, bridge.UnknownSender, codeOf(rename(h, 1, "x")))
	require.NoError(t, rename(h, lamp.ID, "lamp"), "to its own")
	require.NoError(t, rename(h, lamp.ID, "light"))
	again, err := h.Register(bridge.Registration{Name: "light"})
	require.NoError(t, err)
	assert.Equal(t, lamp.ID, again.ID)
	other, err := h.Register(bridge.Registration{Name: "lamp"})
	require.NoError(t, err)
	assert.NotEqual(t, lamp.ID, other.ID, "the old name is free")

	assert.Equal(t, bridge.NoToken, codeOf(protect(h, door.Sender().ID(), true)))
	name, yes := "dark", true
	assert.Equal(t, bridge.NoToken, codeOf(h.Registry().Change(door.Sender().ID(), bridge.SenderChange{Name: &name, Protected: &yes})))
	assert.Equal(t, "door", door.Sender().Name(), "all or nothing")
	require.NoError(t, protect(h, lamp.ID, true))
	_, err = h.Register(bridge.Registration{Name: "light"})
	assert.Equal(t, bridge.NameProtected, codeOf(err))
	token, err := h.Registry().FreshToken(lamp.ID)
	require.NoError(t, err)
	_, known := h.Tokens().Sender(again.Token)
	assert.False(t, known, "the earlier one stops")
	s, known := h.Tokens().Sender(token)
	require.True(t, known)
	assert.Equal(t, "light", s.Name())
	require.NoError(t, protect(h, lamp.ID, false))
	_, err = h.Register(bridge.Registration{Name: "light"})
	require.NoError(t, err)
}

func TestWhatIsManagedIsOnDisk(t *testing.T) {
	d := &disk{}
	h := newHub(t, d)
	lamp, err := h.Register(bridge.Registration{Name: "lamp"})
	require.NoError(t, err)
	d.full = true
	assert.Equal(t, bridge.StoreFailed, codeOf(rename(h, lamp.ID, "light")))
	assert.Equal(t, bridge.StoreFailed, codeOf(protect(h, lamp.ID, true)))
	_, err = h.Registry().FreshToken(lamp.ID)
	assert.Equal(t, bridge.StoreFailed, codeOf(err))
	s, _ := h.SenderByID(lamp.ID)
	assert.Equal(t, bridge.StoreFailed, codeOf(h.Forget(s)))
}

// Listing a hundred thousand senders delays nobody for long: a registration meanwhile
// waits no longer than for a few hundred of them.
func TestAListHoldsUpNobody(t *testing.T) {
	h := newHub(t, nil)
	for i := range 100_000 {
		_, err := h.Holds().Register(bridge.Naming{Name: fmt.Sprintf("s%d", i), Lasting: true}, func() {})
		require.NoError(t, err)
	}
	stop := make(chan struct{})
	var listing sync.WaitGroup
	listing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				h.Registry().List(bridge.SenderFilter{Find: "s9"}, 0, 500)
			}
		}
	})
	var waits []time.Duration
	for range 2000 {
		began := time.Now()
		h.Holds().Release(h.Holds().New(func() {}))
		waits = append(waits, time.Since(began))
	}
	close(stop)
	listing.Wait()
	over := 0
	for _, w := range waits {
		if w > time.Millisecond {
			over++
		}
	}
	assert.Less(t, over, len(waits)/20, "the machine may be busy, but not each time")
}

// Two holds claim a name again and again while it changes. The race detector watches.
func TestNamesAreClaimedWhileTheyChange(t *testing.T) {
	h := newHub(t, nil)
	var all sync.WaitGroup
	var sender *bridge.Sender
	for range 2 {
		hold, err := h.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true}, func() {})
		require.NoError(t, err)
		sender = hold.Sender()
		all.Go(func() {
			for range 100_000 {
				h.Holds().Renew(hold)
				h.Holds().Claim(hold, func() {})
			}
		})
	}
	all.Go(func() {
		for i := range 1000 {
			name := fmt.Sprintf("lamp%d", i)
			assert.NoError(t, h.Registry().Change(sender.ID(), bridge.SenderChange{Name: &name}))
		}
	})
	all.Wait()
	require.NoError(t, h.Forget(sender))
}

// A sender is present on a channel while it can hear or speak there.
func TestWhoIsPresentOnAChannel(t *testing.T) {
	h := newHub(t, nil)
	present := func(id bridge.SenderID) bool { return h.Directory().Present(id, 5) }
	device := bridge.NewDevice(h, viaUDP, false, nil)
	device.Register(bridge.Unproved, func() {})
	id := device.Sender().ID()
	assert.False(t, present(id), "it has not joined")
	require.NoError(t, device.Join(5))
	assert.True(t, present(id))
	device.Leave(5)
	assert.False(t, present(id))

	client, err := h.Holds().Register(bridge.Naming{Name: "tablet", Lasting: true}, func() {})
	require.NoError(t, err)
	id = client.Sender().ID()
	require.NoError(t, h.Attach(client.Sender(), 5, &bridge.Attachment{Via: viaMQTT, Broadcasts: true}))
	assert.False(t, present(id), "nothing is known of its connection")
	client.Present(viaMQTT)
	assert.True(t, present(id))
	assert.True(t, h.Directory().Present(id, 6), "a client of the bus speaks everywhere")
	client.Away(viaMQTT)
	assert.False(t, present(id), "only its session is there")

	stream := &bridge.Attachment{Via: viaHTTP, Returns: true, Broadcasts: true}
	require.NoError(t, h.Attach(client.Sender(), 5, stream))
	assert.True(t, present(id))
	h.Detach(stream)
	assert.False(t, present(id))
	assert.False(t, present(id+1), "nobody")
}
