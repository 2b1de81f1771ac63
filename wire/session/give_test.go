package session_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// pair returns a device that listens, registered as change says, and one that speaks.
func pair(b *bench, change func(*frame.Registration)) (listener, speaker *device) {
	listener, speaker = b.register(alice, change), b.register(bob, func(r *frame.Registration) { r.Options = frame.NoEcho; r.KeepAlive = 3600 })
	listener.must(frame.Join, ids(7))
	speaker.must(frame.Join, ids(7))
	return listener, speaker
}

func (d *device) say(data string) []sent { return d.tell(frame.Broadcast, 0, broadcast(data, 7)) }

func TestAcknowledgedDeliveries(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(1))
	got := s.say("1")
	require.Equal(t, "m", ops(got))
	assert.True(t, got[0].AckWanted())
	assert.Empty(t, s.say("2"), "one is outstanding")
	assert.Empty(t, s.say("3"))
	assert.Empty(t, l.delivered(2), "not sent yet")
	assert.Equal(t, 1, b.dropped(session.Duplicate))
	assert.Equal(t, []string{"2"}, heard(l.delivered(1)))
	assert.Empty(t, l.delivered(1), "twice")
	assert.Equal(t, []string{"3"}, heard(l.delivered(2)))
	assert.Empty(t, l.tell(frame.Ping, 0, nil))
	assert.Equal(t, "a", ops(l.delivered(3)))
	l.must(frame.Ping, nil)
}

func TestRetriesAndGivingUp(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(1))
	l.reg.KeepAlive = 3600
	l.again()
	l.must(frame.Join, ids(7))
	first := s.say("1")
	s.say("2")
	begin := b.now
	var at []float64
	for range 400 {
		for _, m := range b.pass(250 * time.Millisecond) {
			if m.Seq == 1 {
				assert.Equal(t, first[0].raw, m.raw, "the same bytes")
				at = append(at, b.now.Sub(begin).Seconds())
				continue
			}
			assert.Equal(t, []string{"2"}, heard([]sent{m}))
			assert.InDelta(t, 71, b.now.Sub(begin).Seconds(), 0.3, "eight seconds after the tenth retry")
			assert.Equal(t, []float64{1, 3, 7, 15, 23, 31, 39, 47, 55, 63}, at)
			assert.Equal(t, 1, b.dropped(bridge.Failed))
			return
		}
	}
	require.Fail(t, "the second was never sent")
}

func TestAWindowOfDeliveries(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(3))
	var all []sent
	for i := range 5 {
		all = append(all, s.say(fmt.Sprint(i))...)
	}
	assert.Equal(t, []string{"0", "1", "2"}, heard(all))
	assert.Equal(t, []string{"3"}, heard(l.delivered(2)))
	again := b.pass(time.Second)
	assert.Equal(t, []string{"0", "2", "3"}, heard(again))
	for i, m := range append(all, again...) {
		assert.Equal(t, i == 0 || i == 3, m.NoneBefore(), "0 is outstanding")
	}
	assert.Equal(t, []string{"4"}, heard(l.delivered(1)))
	assert.Equal(t, 15, frame.Options(0xff).Window())
	assert.Equal(t, 1, frame.Options(1).Window())
}

func TestAFullQueueDropsTheOldest(t *testing.T) {
	b := newBench(t, func(o *session.Options) { o.SessionQueue = 4 }, bridge.Options{})
	l, s := pair(b, acknowledge(1))
	for i := range 10 {
		s.say(fmt.Sprint(i))
	}
	assert.Equal(t, 6, b.dropped(bridge.QueueFull))
	var got []string
	for seq := range uint32(4) {
		got = append(got, heard(l.delivered(seq+1))...)
	}
	assert.Equal(t, []string{"7", "8", "9"}, got, "what is outstanding stays")
}

func TestWhatExpiresIsNotDelivered(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(1))
	tell := func(data string, ttl time.Duration) {
		_, err := b.hub.Publish(b.senderOf(s), bridge.Publication{Channels: []bridge.Channel{7}, Content: bridge.Content{Data: []byte(data)}, TTL: ttl})
		require.NoError(t, err)
		b.deliver()
	}
	l.must(frame.Bye, seconds(3600))
	tell("open the valve", time.Minute)
	tell("still true", time.Hour)
	b.pass(2 * time.Minute)
	assert.Equal(t, []string{"still true"}, heard(l.tell(frame.Ping, 0, nil)))
	assert.Equal(t, 1, b.dropped(bridge.Expired))
	tell("later", 10*time.Second) // while one is outstanding, and later repeated
	b.take()
	b.pass(11 * time.Second)
	assert.Empty(t, heard(l.delivered(1)))
	assert.Equal(t, 2, b.dropped(bridge.Expired))
}

// A device may wait with messages that it has acknowledged for one that is missing. Once that has
// expired, the last of them is sent again, and says that none is before it.
func TestWhatExpiresHoldsUpNothing(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(4))
	_, err := b.hub.Publish(b.senderOf(s), bridge.Publication{Channels: []bridge.Channel{7}, Content: bridge.Content{Data: []byte("open")}, TTL: time.Second})
	require.NoError(t, err)
	b.deliver()
	require.Contains(t, heard(b.take()), "open") // it gets lost
	s.say("close")
	s.say("closed")
	require.Empty(t, l.delivered(2))
	require.Empty(t, l.delivered(3))
	for i, sent := range []int{1, 1, 1, 0} { // what it has takes none of the window
		assert.Len(t, s.say(fmt.Sprint(i)), sent)
	}
	for seq := range uint32(4) {
		l.delivered(seq + 4)
	}
	require.Equal(t, "", ops(l.tell(frame.Ping, 0, nil)), "open is outstanding")
	again := b.pass(time.Second)
	require.Equal(t, []string{"3"}, heard(again), "the last that it has")
	assert.Equal(t, uint32(7), again[0].Seq)
	assert.True(t, again[0].NoneBefore())
	assert.Equal(t, 1, b.dropped(bridge.Expired))
	again = b.pass(time.Second)
	require.Equal(t, "ma", ops(again), "until it is acknowledged; what it has asked is answered after two")
	require.Empty(t, l.delivered(7))
	assert.Empty(t, b.pass(90*time.Second))
	assert.Zero(t, b.dropped(bridge.Failed))
}

// So it is if the device's acknowledgement comes after the missing one has expired.
func TestALateAcknowledgementHoldsUpNothing(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(4))
	_, err := b.hub.Publish(b.senderOf(s), bridge.Publication{Channels: []bridge.Channel{7}, Content: bridge.Content{Data: []byte("open")}, TTL: 500 * time.Millisecond})
	require.NoError(t, err)
	b.deliver()
	require.Contains(t, heard(b.take()), "open") // it gets lost
	early := s.say("closed")
	require.False(t, early[0].NoneBefore())
	require.Empty(t, heard(b.pass(600*time.Millisecond)))
	again := l.delivered(2)
	require.Equal(t, []string{"closed"}, heard(again))
	assert.True(t, again[0].NoneBefore())
	require.Empty(t, l.delivered(2))
	assert.Empty(t, heard(b.pass(90*time.Second)))
	assert.Equal(t, 1, b.dropped(bridge.Expired))
	assert.Equal(t, []string{"more"}, heard(s.say("more")))
	assert.Empty(t, l.delivered(3), "it is not sent twice")
}

func TestNoEcho(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	_, s := pair(b, nil)
	assert.Equal(t, alice, s.say("x")[0].to)
	assert.Len(t, s.say("x"), 1)
	assert.Equal(t, bob, s.tell(frame.Send, 0, send("x", 7, s.id))[0].to)
}

func TestPace(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, nil)
	l.reg.Pace = 200
	l.again()
	b.pass(time.Second)
	l.must(frame.Join, ids(7))
	b.pass(time.Second)
	var times []time.Duration
	begin := b.now
	note := func(all []sent) {
		for _, m := range all {
			if m.to == alice {
				times = append(times, b.now.Sub(begin))
			}
		}
	}
	for i := range 5 {
		note(s.say(fmt.Sprint(i)))
	}
	note(l.tell(frame.Join, 0, ids(9)))
	for range 150 {
		note(b.pass(10 * time.Millisecond))
	}
	require.Len(t, times, 6)
	for i := 1; i < len(times); i++ {
		assert.GreaterOrEqual(t, times[i]-times[i-1], 200*time.Millisecond)
		assert.Less(t, times[i]-times[i-1], 220*time.Millisecond)
	}
	for range 20 { // answers wait too, a few of them
		l.tell(frame.Join, 0, ids(9))
	}
	assert.Equal(t, 11, b.dropped(bridge.QueueFull))
	l.tell(frame.Bye, 0, seconds(0))
	assert.Empty(t, b.pass(time.Minute))
}

func TestSleepAndWake(t *testing.T) {
	for name, wake := range map[string]func(*device) []sent{
		"p": func(d *device) []sent { return d.tell(frame.Ping, 0, nil) },
		"j": func(d *device) []sent { return d.tell(frame.Join, 0, ids(9)) },
		"z": func(d *device) []sent { return d.tell('z', 0, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, bridge.Options{})
			l, s := pair(b, nil)
			l.must(frame.Bye, seconds(3600))
			for i := range 70 {
				assert.Empty(t, s.say(fmt.Sprint(i)))
			}
			assert.Equal(t, 6, b.dropped(bridge.QueueFull), "the oldest")
			b.pass(3000 * time.Second)
			l.must(frame.Bye, seconds(3600))
			assert.Empty(t, b.pass(3000*time.Second))
			got := wake(l)
			assert.Len(t, heard(got), 64)
			assert.Equal(t, "6", heard(got)[0])
			assert.Equal(t, strings.Repeat("m", 64), ops(got)[:64], "before the answer")
			assert.Len(t, got, 65)
			assert.Equal(t, []string{"awake"}, heard(s.say("awake")))
		})
	}
}

func TestWhatIsOutstandingWaitsForTheDeviceToWake(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(1))
	first := s.say("1")
	s.say("2")
	l.must(frame.Bye, seconds(600))
	assert.Empty(t, b.pass(500*time.Second))
	assert.Zero(t, b.dropped(bridge.Failed))
	got := l.tell(frame.Ping, 0, nil)
	assert.Equal(t, first[0].raw, got[0].raw)
	assert.Equal(t, "m", ops(got), "its answer comes after what waited")
	assert.Empty(t, b.handle(alice, frame.Append(nil, frame.Frame{Op: frame.Ping, ID: l.id, Seq: l.seq}, l.key)), "a repeated p is not answered before")
	assert.Equal(t, []string{"2"}, heard(l.delivered(1)))
	assert.Equal(t, "a", ops(l.delivered(2)))
	assert.Equal(t, "a", ops(b.handle(alice, frame.Append(nil, frame.Frame{Op: frame.Ping, ID: l.id, Seq: l.seq}, l.key))))
}

func TestAPingIsNotHeldUpForever(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(1))
	s.say("lost")
	assert.Empty(t, l.tell(frame.Ping, 0, nil))
	assert.Equal(t, "ma", ops(b.pass(time.Second)), "what came before it was sent again")
	for range 20 {
		s.say("more")
	}
	for range 12 {
		l.tell(frame.Ping, 0, nil)
	}
	assert.Equal(t, 4, b.dropped(bridge.QueueFull), "only so many wait")
	for range 100 { // the answers show that it is alive all the same
		b.pass(30 * time.Second)
		l.tell(frame.Ping, 0, nil)
	}
	assert.Equal(t, 2, b.table.Len())
}

func TestASessionEndsWithoutLife(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, func(r *frame.Registration) { r.KeepAlive = 10 })
	d.must(frame.Join, ids(7))
	join := frame.Append(nil, frame.Frame{Op: frame.Join, ID: d.id, Seq: 1, Body: ids(7)}, d.key)
	for range 6 {
		b.pass(5 * time.Second)
		assert.Equal(t, "a", ops(b.handle(alice, join)), "a repetition is no life")
	}
	b.pass(4900 * time.Millisecond)
	d.must(frame.Ping, nil)
	b.pass(34900 * time.Millisecond)
	assert.Equal(t, 1, b.table.Len())
	b.now = b.now.Add(100 * time.Millisecond)
	assert.Equal(t, frame.UnknownID, d.tell(frame.Ping, 0, nil)[0].Code(), "to the moment, whatever the timer does")
	assert.Zero(t, b.table.Len())
	assert.Empty(t, b.hub.Directory().Channels())

	d.again()
	d.must(frame.Bye, seconds(2)) // shorter than its life
	b.pass(34900 * time.Millisecond)
	assert.Equal(t, 1, b.table.Len())
	b.pass(400 * time.Millisecond)
	assert.Zero(t, b.table.Len(), "by the timer")

	d.again()
	d.must(frame.Bye, seconds(600))
	code, _ := d.ask(frame.Bye, []byte{1})
	assert.Equal(t, frame.BadRequest, code)
	b.pass(599 * time.Second)
	assert.Equal(t, 1, b.table.Len())
	b.pass(1300 * time.Millisecond)
	assert.Zero(t, b.table.Len())
}

// A day of three devices: one is heard every minute, one sleeps for most of each hour,
// and one falls silent.
func TestADay(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	steady, speaker := pair(b, nil)
	sleepy := b.register(at(1), acknowledge(1))
	sleepy.must(frame.Join, ids(7))
	silent := b.register(at(2), nil)
	silent.must(frame.Join, ids(7))
	said, steadyHeard, sleepyHeard := 0, 0, 0
	sleepy.must(frame.Bye, seconds(3600))
	collect := func(all []sent) {
		for len(all) > 0 {
			m := all[0]
			all = all[1:]
			if m.Op != frame.Delivery {
				continue
			}
			switch m.to {
			case steady.at:
				steadyHeard++
			case sleepy.at:
				sleepyHeard++
				all = append(all, sleepy.delivered(m.Seq)...)
			}
		}
	}
	for minute := range 24 * 60 {
		collect(b.pass(time.Minute))
		steady.must(frame.Ping, nil)
		if minute%10 == 0 {
			said++
			collect(speaker.say(fmt.Sprint(said)))
		}
		if minute%50 == 49 {
			collect(sleepy.tell(frame.Ping, 0, nil))
			sleepy.must(frame.Bye, seconds(3600))
		}
		want := 4
		if minute >= 3 {
			want = 3 // 3.5 minutes of silence end a session
		}
		require.Equal(t, want, b.table.Len(), "minute %d", minute)
	}
	collect(sleepy.tell(frame.Ping, 0, nil))
	assert.Equal(t, 144, said)
	assert.Equal(t, said, steadyHeard)
	assert.Equal(t, said, sleepyHeard)
	assert.Zero(t, b.dropped(bridge.QueueFull)+b.dropped(bridge.Failed))
}
