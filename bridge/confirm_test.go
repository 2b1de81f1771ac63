package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// launch is a hub on whose channel 9 two have to say the same within 30 seconds. Channel 10
// takes everybody.
type launch struct {
	*bridge.Hub
	told
	kept [][]bridge.Channel
}

// told is a bus that remembers the gateway's own messages.
type told struct {
	mu      sync.Mutex
	notices []string
}

type toldBus struct {
	loop
	*told
}

func (l toldBus) PublishOwn(topic string, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notices = append(l.notices, topic+" "+string(payload))
	return nil
}

var launchRules = map[bridge.Channel]bridge.Rule{
	9:  {Confirm: 2, Within: 30 * time.Second},
	10: {Confirm: 2, Within: 30 * time.Second, Unprotected: true},
}

func newLaunch(t *testing.T) *launch {
	l := &launch{}
	h, _ := harness.Hub(t, viaMQTT, bridge.Options{
		Store: &book{map[bridge.SenderID]bridge.Record{}}, OwnKeys: true, Users: []string{"ann", "bob"}, Tree: bridge.NewTree("w", "g"),
		KeepHalfConfirmed: func(on []bridge.Channel) { l.kept = append(l.kept, on) },
	})
	l.Hub = h
	h.SetBus(toldBus{loop{h}, &l.told})
	h.Directory().SetRules(launchRules)
	return l
}

// as returns a sender of a configured user, by its own password.
func (l *launch) as(t *testing.T, user, name string) *bridge.Sender {
	hold, err := l.Holds().Register(bridge.Naming{Name: name, User: user}, func() {})
	require.NoError(t, err)
	return hold.Sender()
}

// protected returns a sender whose name an operator has protected.
func (l *launch) protected(t *testing.T, name string) *bridge.Sender {
	s := l.byItself(t, name)
	require.NoError(t, protect(l.Hub, s.ID(), true))
	return s
}

// byItself returns a sender that has protected its name as it registered.
func (l *launch) byItself(t *testing.T, name string) *bridge.Sender {
	given, err := l.Register(bridge.Registration{Name: name, Protected: true})
	require.NoError(t, err)
	return senderOf(l.Hub, given.ID)
}

// on says something on a channel, and returns what became of it: "1 of 2", "delivered by 72
// 73", or the code of a refusal.
func (l *launch) on(c bridge.Channel, s *bridge.Sender, v bridge.Voice, text string) string {
	m, err := l.Admit(s, bridge.Address{Channel: c}, bridge.Content{Data: []byte(text)}, v)
	var waiting *bridge.Unconfirmed
	var refusal *bridge.Error
	switch {
	case errors.As(err, &waiting):
		return fmt.Sprintf("%d of %d", waiting.Confirmed, waiting.Of)
	case errors.As(err, &refusal):
		return string(refusal.Code)
	case len(m.ConfirmedBy) == 0:
		return "delivered"
	}
	return "delivered by " + bridge.JoinIDs(m.ConfirmedBy)
}

var proved = bridge.Voice{Proved: true}

func TestAChannelThatWantsTwo(t *testing.T) {
	l := newLaunch(t)
	ann, bob := l.as(t, "ann", "ann.desk"), l.as(t, "bob", "bob.desk")
	both := func(a, b *bridge.Sender) string {
		return "delivered by " + bridge.JoinIDs([]bridge.SenderID{a.ID(), b.ID()})
	}

	assert.Equal(t, "1 of 2", l.on(9, ann, proved, "go"))
	assert.Equal(t, "1 of 2", l.on(9, ann, proved, "go"), "the same sender again changes nothing")
	assert.Equal(t, "1 of 2", l.on(9, bob, proved, "no"), "other bytes are another message")
	assert.Equal(t, both(ann, bob), l.on(9, bob, proved, "go"))
	assert.Equal(t, "1 of 2", l.on(9, bob, proved, "go"), "after the delivery a new round begins")
	assert.Equal(t, both(bob, ann), l.on(9, ann, proved, "go"))
	assert.Equal(t, "delivered", l.on(5, ann, proved, "go"), "other channels have no rule")
	assert.Equal(t, map[bridge.Channel]int{9: 1}, l.Directory().HalfConfirmed(), "bob's no")

	_, err := l.Admit(ann, bridge.Address{Type: bridge.Send, Channel: 9, Receiver: bob.ID()}, bridge.Content{Data: []byte("go")}, proved)
	assert.Error(t, err, "sends are refused")
	for c := range bridge.Channel(2) {
		require.NoError(t, l.Attach(ann, 9+c, &bridge.Attachment{Via: viaHTTP, Broadcasts: true, Sends: true}))
	}
	var refusal *bridge.Error
	_, err = l.Publish(ann, bridge.Publication{Channels: []bridge.Channel{10, 9}, Voice: proved})
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, bridge.InvalidChannel, refusal.Code, "no other channel beside")
	_, err = l.Publish(ann, bridge.Publication{Type: bridge.Send, Channels: []bridge.Channel{9}, Receivers: []bridge.SenderID{ann.ID()}, Voice: proved})
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, bridge.InvalidChannel, refusal.Code, "sends are refused")
	_, err = l.Publish(ann, bridge.Publication{Channels: []bridge.Channel{9, 9}, Content: bridge.Content{Data: []byte("no")}, Voice: proved})
	assert.NoError(t, err, "the same channel twice is one")
}

// Whoever has the secret key can have many names. None of them counts, and nobody counts twice.
func TestWhoCountsOnALaunch(t *testing.T) {
	l := newLaunch(t)
	plain := l.as(t, "", "plain")
	assert.Equal(t, "not-proved", l.on(9, plain, bridge.Voice{}, "go"))
	assert.Equal(t, "not-proved", l.on(9, plain, proved, "go"), "a token of a name that everybody may have proves nothing")
	guarded := l.protected(t, "guarded")
	assert.Equal(t, "not-proved", l.on(9, guarded, bridge.Voice{}, "go"), "a connection without the token")
	assert.Equal(t, "not-proved", l.on(9, l.as(t, "ann", "ann.old"), bridge.Voice{}, "go"), "a user's id without a password")
	assert.Equal(t, "not-proved", l.on(9, plain, bridge.Voice{User: "carl"}, "go"), "no user of the configuration")
	assert.Empty(t, l.Directory().HalfConfirmed())

	assert.Equal(t, "1 of 2", l.on(9, l.as(t, "ann", "ann.desk"), proved, "go"))
	assert.Equal(t, "1 of 2", l.on(9, l.as(t, "ann", "ann.phone"), proved, "go"), "two devices of one user")
	assert.Equal(t, "1 of 2", l.on(9, l.as(t, "ann", ""), proved, "go"), "and one without a name")
	assert.Equal(t, "1 of 2", l.on(9, plain, bridge.Voice{User: "ann"}, "go"), "and the console")
	assert.Contains(t, l.on(9, guarded, proved, "go"), "delivered by")

	own, err := l.Holds().Register(bridge.Naming{Name: "valve", Lasting: true, By: byMaster}, func() {})
	require.NoError(t, err)
	assert.Equal(t, "1 of 2", l.on(9, own.Sender(), own.Voice(), "go"))
	given, err := l.Registry().FreshToken(own.Sender().ID())
	require.NoError(t, err)
	require.NotEmpty(t, given)
	assert.Equal(t, "1 of 2", l.on(9, own.Sender(), proved, "go"), "the same device by its token")
	shared, err := l.Holds().Register(bridge.Naming{Name: "lamp", By: bridge.ByShared}, func() {})
	require.NoError(t, err)
	assert.Equal(t, "not-proved", l.on(9, shared.Sender(), shared.Voice(), "go"), "the key that all share")

	assert.Equal(t, "1 of 2", l.on(10, plain, bridge.Voice{}, "go"))
	assert.Contains(t, l.on(10, shared.Sender(), bridge.Voice{}, "go"), "delivered by", "unprotected: every sender counts")
	assert.Equal(t, "1 of 2", l.on(10, l.as(t, "ann", "ann.desk"), bridge.Voice{}, "go"))
	assert.Equal(t, "1 of 2", l.on(10, l.as(t, "ann", "ann.phone"), proved, "go"), "a user is one there too")
}

// Who has the secret key can protect as many names as he likes, and is still nobody. Only what an
// operator protects counts, until he takes that back.
func TestNobodyConfirmsAlone(t *testing.T) {
	l := newLaunch(t)
	one, other := l.byItself(t, "one"), l.byItself(t, "other")
	assert.Equal(t, "not-proved", l.on(9, one, proved, "go"))
	assert.Equal(t, "not-proved", l.on(9, other, proved, "go"))
	require.NoError(t, protect(l.Hub, one.ID(), true))
	require.NoError(t, protect(l.Hub, other.ID(), true))
	assert.Equal(t, "1 of 2", l.on(9, one, proved, "go"))
	assert.Contains(t, l.on(9, other, proved, "go"), "delivered by")
	require.NoError(t, protect(l.Hub, other.ID(), false))
	assert.Equal(t, "not-proved", l.on(9, other, proved, "go"))
	require.NoError(t, l.Forget(one))
	assert.Equal(t, "not-proved", l.on(9, l.byItself(t, "one"), proved, "go"), "another one of that name")
}

// The time of a round is that of a clock that nobody sets: the wall clock may be.
func TestALaunchDoesNotAskTheWallClock(t *testing.T) {
	l := newLaunch(t)
	_, err := l.Admit(l.as(t, "ann", "ann.desk"), bridge.Address{Channel: 9}, bridge.Content{Data: []byte("go")}, proved)
	var waiting *bridge.Unconfirmed
	require.ErrorAs(t, err, &waiting)
	assert.Contains(t, waiting.Until.String(), " m=+", "without its monotonic reading a time is compared by the wall clock")
}

// An operator renames a sender, and its device comes back under its old name: it is still one.
func TestARenamedSenderIsOne(t *testing.T) {
	l := newLaunch(t)
	first, err := l.Holds().Register(bridge.Naming{Name: "valve", Lasting: true, By: byMaster}, func() {})
	require.NoError(t, err)
	require.NoError(t, rename(l.Hub, first.Sender().ID(), "pump"))
	assert.Equal(t, "1 of 2", l.on(9, first.Sender(), first.Voice(), "go"))
	again, err := l.Holds().Register(bridge.Naming{Name: "valve", Lasting: true, By: byMaster}, func() {})
	require.NoError(t, err)
	require.NotEqual(t, first.Sender().ID(), again.Sender().ID())
	assert.Equal(t, "1 of 2", l.on(9, again.Sender(), again.Voice(), "go"))

	guarded := l.protected(t, "guarded")
	assert.Equal(t, "1 of 2", l.on(9, guarded, proved, "stop"))
	require.NoError(t, rename(l.Hub, guarded.ID(), "other"))
	assert.Equal(t, "1 of 2", l.on(9, guarded, proved, "stop"))
	require.NoError(t, l.Forget(guarded))
	assert.Equal(t, "1 of 2", l.on(9, l.protected(t, "other"), proved, "stop"), "deleted and made anew")
	assert.Equal(t, "1 of 2", l.on(9, l.protected(t, "guarded"), proved, "stop"), "under both names")
}

func TestALaunchHasATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLaunch(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.Run(ctx); close(done) }()
		ann, bob := l.as(t, "ann", "ann.desk"), l.as(t, "bob", "bob.desk")
		begun := time.Now().UTC()
		until := begun.Add(30 * time.Second).Format("2006-01-02T15:04:05.000Z")

		assert.Equal(t, "1 of 2", l.on(9, ann, proved, "go"))
		time.Sleep(29 * time.Second)
		assert.Equal(t, "1 of 2", l.on(9, ann, proved, "go"), "which does not begin the time anew")
		time.Sleep(time.Second)
		assert.Equal(t, "1 of 2", l.on(9, bob, proved, "go"), "ann's is 30 s old")
		time.Sleep(30*time.Second - time.Nanosecond)
		assert.Contains(t, l.on(9, ann, proved, "go"), "delivered by")

		m, err := l.Admit(ann, bridge.Address{Channel: 9}, bridge.Content{Data: []byte("stop")}, proved)
		require.Error(t, err)
		require.Nil(t, m)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		l.mu.Lock()
		assert.Equal(t, []string{
			`w/confirm/9 {"type":"confirm","channel":9,"confirmed":1,"of":2,"until":"` + until + `"}`,
			`w/confirm/9 {"type":"confirm","channel":9,"confirmed":0,"of":2,"reason":"expired"}`,
		}, l.notices[:2])
		assert.Equal(t, `w/confirm/9 {"type":"confirm","channel":9,"confirmed":0,"of":2,"reason":"expired"}`, l.notices[len(l.notices)-1], "nobody has to speak for that")
		l.mu.Unlock()
		assert.Equal(t, uint64(2), l.Counters().Dropped(viaMQTT, bridge.NotConfirmed))
		assert.Empty(t, l.Directory().HalfConfirmed())

		assert.Equal(t, "1 of 2", l.on(9, ann, proved, "go"))
		synctest.Wait()
		assert.Equal(t, []bridge.Channel{9}, l.kept[len(l.kept)-1])
		changed := map[bridge.Channel]bridge.Rule{9: {Confirm: 3, Within: time.Minute}}
		l.Directory().SetRules(changed)
		assert.Equal(t, "1 of 3", l.on(9, bob, proved, "go"), "another rule begins anew")
		l.Directory().SetRules(changed)
		assert.Equal(t, "1 of 3", l.on(9, bob, proved, "go"), "the same rule does not")
		assert.Equal(t, []bridge.Channel{9}, l.Directory().ForgetHalfConfirmed())
		assert.Contains(t, l.notices[len(l.notices)-1], `"confirmed":0,"of":3,"reason":"restart"`)
		cancel()
		<-done
		assert.Empty(t, l.kept[len(l.kept)-1])
	})
}

// A message's ttl begins when it is delivered, and is that of the last one who said it.
func TestALaunchsTTLBeginsWithTheDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLaunch(t)
		link := l.AddLink(viaHTTP, 10, 0)
		ann, bob := l.as(t, "ann", "ann.desk"), l.as(t, "bob", "bob.desk")
		for _, s := range []*bridge.Sender{ann, bob} {
			require.NoError(t, l.Attach(s, 9, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
		}
		say := func(s *bridge.Sender, ttl time.Duration) error {
			_, err := l.Publish(s, bridge.Publication{Channels: []bridge.Channel{9}, Content: bridge.Content{Data: []byte("go")}, Via: viaHTTP, Voice: proved, TTL: ttl})
			return err
		}
		var waiting *bridge.Unconfirmed
		require.ErrorAs(t, say(ann, time.Second), &waiting)
		time.Sleep(20 * time.Second) // ann's second is over
		require.NoError(t, say(bob, 5*time.Second))
		var delivered []*bridge.Message
		link.Flush(func(jobs []bridge.Job) {
			for _, j := range jobs {
				if j.Message.Type == bridge.Broadcast {
					delivered = append(delivered, j.Message)
				}
				j.Done(l.Counters(), viaHTTP, 1, 0)
			}
		})
		require.Len(t, delivered, 1)
		assert.Equal(t, 5*time.Second, time.Until(delivered[0].Expires))
	})
}

// However many say the same at once, each two of them are one delivery.
func TestALaunchDeliversOnce(t *testing.T) {
	l := newLaunch(t)
	var delivered atomic.Int64
	var all sync.WaitGroup
	for range 40 {
		s := l.as(t, "", "")
		all.Go(func() {
			for range 3 {
				if l.on(10, s, bridge.Voice{}, "go")[0] == 'd' {
					delivered.Add(1)
					return
				}
			}
		})
	}
	all.Wait()
	confirmations, _ := l.Counters().Messages(viaMQTT)
	assert.Equal(t, confirmations/2, uint64(delivered.Load()), "two confirmations each, and no message without")
}

func TestWhatWaitsToBeConfirmedIsBounded(t *testing.T) {
	l := newLaunch(t)
	ann := l.as(t, "ann", "ann.desk")
	for i := range 8 {
		assert.Equal(t, "1 of 2", l.on(9, ann, proved, fmt.Sprint(i)))
	}
	assert.Equal(t, "too-many-requests", l.on(9, l.as(t, "ann", "ann.phone"), proved, "8"))
	bob := l.as(t, "bob", "bob.desk")
	assert.Equal(t, "1 of 2", l.on(9, bob, proved, "8"), "others are not kept from it")
	assert.Contains(t, l.on(9, bob, proved, "7"), "delivered")
	most := 0
	for range 40 {
		s := l.as(t, "", "")
		for i := range 8 {
			if l.on(10, s, bridge.Voice{}, fmt.Sprint(s.ID(), i)) == "1 of 2" {
				most++
			}
		}
	}
	assert.Equal(t, 256, most)
}

// A notice goes to members that take notices, in order with the messages, and to nobody else.
func TestWhoIsToldOfALaunch(t *testing.T) {
	l := newLaunch(t)
	link := l.AddLink(viaHTTP, 10, 0)
	other := l.AddLink(viaUDP, 10, 0)
	ann, bob := l.as(t, "ann", "ann.desk"), l.as(t, "bob", "bob.desk")
	stream := &bridge.Attachment{Via: viaHTTP, Notices: true, Broadcasts: true}
	frames := &bridge.Attachment{Via: viaUDP, Broadcasts: true}
	require.NoError(t, l.Attach(ann, 9, stream))
	require.NoError(t, l.Attach(bob, 9, frames))
	say := func(s *bridge.Sender) error {
		_, err := l.Publish(s, bridge.Publication{Channels: []bridge.Channel{9}, Content: bridge.Content{Data: []byte("go")}, Via: viaHTTP, Voice: proved, TTL: time.Minute})
		return err
	}
	waiting := new(bridge.Unconfirmed)
	require.ErrorAs(t, say(ann), &waiting)
	assert.Equal(t, "1 of 2 have said this on channel 9: it is delivered once 1 more say the same", waiting.Error())
	require.NoError(t, say(bob))
	var heard []bridge.Type
	link.Flush(func(jobs []bridge.Job) {
		for _, j := range jobs {
			heard = append(heard, j.Message.Type)
			assert.True(t, stream.Wants(j.Message))
			assert.Equal(t, j.Message.Type != bridge.Notice, frames.Wants(j.Message))
			j.Done(l.Counters(), viaHTTP, 1, 0)
		}
	})
	assert.Equal(t, []bridge.Type{bridge.Notice, bridge.Broadcast}, heard)
	assert.Equal(t, 1, other.Queued(), "the delivery alone")
}
