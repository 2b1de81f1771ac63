package bridge_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
)

// loop is a bus that hands every message back at once.
type loop struct{ h *bridge.Hub }

func (l loop) Protocol() bridge.Protocol       { return viaMQTT }
func (l loop) Publish(m *bridge.Message) error { return l.h.Deliver(m, nil) }
func (loop) PublishOwn(string, []byte) error   { return nil }

func (loop) PublishRetained(string, []byte) error { return nil }

func newHub(t testing.TB, store bridge.Store) *bridge.Hub {
	h, _ := harness.Hub(t, viaMQTT, bridge.Options{
		Store: store, Tree: bridge.NewTree("w", "g"), Limits: config.Limits{MessageBytes: 100, SenderChannels: 2},
	})
	return h
}

// disk fails as long as it is full.
type disk struct{ full bool }

func (d *disk) Load() ([]bridge.Record, error) { return nil, nil }
func (d *disk) Save(bridge.Record) func() error {
	return func() error {
		if d.full {
			return errors.New("disk full")
		}
		return nil
	}
}
func (d *disk) Delete(bridge.SenderID) func() error { return d.Save(bridge.Record{}) }

func TestNothingIsAnsweredThatIsNotOnDisk(t *testing.T) {
	d := &disk{full: true}
	h := newHub(t, d)
	join := func() error {
		reg, err := h.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true}, func() {})
		if err != nil {
			return err
		}
		defer h.Holds().Release(reg)
		wait, err := h.Kept().Join(reg.Sender(), []bridge.Channel{5}, "http://x", false, false, func(bridge.Channel) *bridge.Attachment {
			return &bridge.Attachment{Via: viaHTTP, Returns: true, Broadcasts: true, Sends: true, Address: "http://x"}
		})
		require.NoError(t, err)
		return wait()
	}
	for range 3 {
		assert.Error(t, join(), "not the first time, nor when it is asked again")
	}
	d.full = false
	require.NoError(t, join())
	d.full = true
	assert.ErrorContains(t, func() error { _, err := h.Register(bridge.Registration{Name: "lamp"}); return err }(), "disk")
	assert.Error(t, join(), "what came last is not there")
	d.full = false
	require.NoError(t, join())
	require.NoError(t, join())
}

// late is a bus that hands messages back only when the test says so.
type late struct {
	loop
	on []*bridge.Message
}

func (l *late) Publish(m *bridge.Message) error {
	l.on = append(l.on, m)
	return nil
}

// A callback that is joined again takes the messages on their way that the earlier one
// would have had. With since it also takes those that were published before it was there.
func TestACallbackJoinedAgainMissesNothing(t *testing.T) {
	h := newHub(t, nil)
	bus := &late{}
	h.SetBus(bus)
	reg, err := h.Register(bridge.Registration{})
	require.NoError(t, err)
	s, _ := h.SenderByID(reg.ID)
	var last *bridge.Attachment
	join := func(url string, replays bool) {
		_, err := h.Kept().Join(s, []bridge.Channel{5}, url, false, replays, func(bridge.Channel) *bridge.Attachment {
			last = &bridge.Attachment{Via: viaHTTP, Returns: true, Broadcasts: true, Sends: true, Address: url, Replays: replays, Ended: func() {}}
			return last
		})
		require.NoError(t, err)
	}
	say := func() *bridge.Message {
		_, err := h.Publish(s, bridge.Publication{Channels: []bridge.Channel{5}, Via: viaHTTP})
		require.NoError(t, err)
		return bus.on[len(bus.on)-1]
	}
	require.NoError(t, h.Attach(s, 5, &bridge.Attachment{Via: viaHTTP, Returns: true, Broadcasts: true}))
	before := say()
	join("http://x", false)
	assert.False(t, last.Wants(before), "it came later")
	after := say()
	join("http://y", false)
	assert.True(t, last.Wants(after), "it was said while the other URL was there")
	assert.False(t, last.Wants(before))
	join("http://y", true)
	assert.True(t, last.Wants(before) && last.Wants(after), "since asks for what was")
}

func TestTheNewestRegistrationSpeaksByTheName(t *testing.T) {
	h := newHub(t, nil)
	ended := map[string]int{}
	hold := func(who string) *bridge.Hold {
		hd, err := h.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true}, func() { ended[who]++ })
		require.NoError(t, err)
		return hd
	}
	one, two := hold("one"), hold("two")
	h.Holds().Claim(two, func() { ended["two"]++ })
	h.Holds().Claim(one, func() { ended["one"]++ })
	assert.Equal(t, map[string]int{"one": 1}, ended, "it is older, however late it says so")
	h.Holds().Renew(one)
	h.Holds().Claim(one, func() { ended["one"]++ })
	assert.Equal(t, map[string]int{"one": 1, "two": 1}, ended)
	h.Holds().Release(one)
	h.Holds().Claim(one, func() { ended["one"]++ })
	h.Holds().Claim(two, func() { ended["two"]++ })
	assert.Equal(t, map[string]int{"one": 1, "two": 1}, ended, "a hold that has ended claims nothing")
	h.Forget(two.Sender())
	assert.Equal(t, map[string]int{"one": 1, "two": 2}, ended)
}

func TestPatienceIsForAllOfACall(t *testing.T) {
	h := newHub(t, nil)
	h.AddLink(viaTCP, 1, 400*time.Millisecond) // nobody runs it, so it is full at once
	var ids []bridge.SenderID
	var first *bridge.Sender
	for range 20 {
		first = h.Holds().New(func() {}).Sender()
		require.NoError(t, h.Attach(first, 5, &bridge.Attachment{Via: viaTCP, Broadcasts: true, Sends: true}))
		ids = append(ids, first.ID())
	}
	begin := time.Now()
	_, err := h.Publish(first, bridge.Publication{Type: bridge.Send, Channels: []bridge.Channel{5}, Receivers: ids, Via: viaTCP, Wait: true})
	require.Error(t, err)
	assert.Less(t, time.Since(begin), 4*time.Second, "and not 20 times as long")
	assert.EqualValues(t, 19, h.Counters().Dropped(viaTCP, bridge.LinkFull))
}

func TestALinkThatHasEndedRefuses(t *testing.T) {
	h := newHub(t, nil)
	l := h.AddLink(viaTCP, 10, time.Hour)
	s := h.Holds().New(func() {}).Sender()
	require.NoError(t, h.Attach(s, 5, &bridge.Attachment{Via: viaTCP, Broadcasts: true, Sends: true}))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	l.Run(ended, func([]bridge.Job) {})
	reports := make(chan bridge.Report, 1)
	_, err := h.Publish(s, bridge.Publication{Channels: []bridge.Channel{5}, Via: viaTCP, Wait: true, Report: func(r bridge.Report) { reports <- r }})
	require.Error(t, err)
	assert.Equal(t, map[string]int{"tcp": 1}, (<-reports).Dropped, "its report completes all the same")
	assert.True(t, l.Idle())
}

func TestNoEchoIsOfBroadcastsOnly(t *testing.T) {
	h := newHub(t, nil)
	s := h.Holds().New(func() {}).Sender()
	a := &bridge.Attachment{Via: viaHTTP, Returns: true, Broadcasts: true, Sends: true, NoEcho: true}
	require.NoError(t, h.Attach(s, 5, a))
	assert.False(t, a.Wants(&bridge.Message{Sender: s.ID()}))
	assert.True(t, a.Wants(&bridge.Message{Type: bridge.Send, Sender: s.ID(), Receiver: s.ID()}))
}

func TestChannelsPerSenderAreBounded(t *testing.T) {
	h := newHub(t, nil)
	s := h.Holds().New(func() {}).Sender()
	a := map[bridge.Channel]*bridge.Attachment{}
	for c := range bridge.Channel(4) {
		a[c+1] = &bridge.Attachment{Via: viaUDP, Broadcasts: true}
		err := h.Attach(s, c+1, a[c+1])
		assert.Equal(t, c >= 2, err != nil, "channel %d", c+1)
	}
	h.Detach(a[1])
	assert.NoError(t, h.Attach(s, 9, &bridge.Attachment{Via: viaUDP, Broadcasts: true}))
}
