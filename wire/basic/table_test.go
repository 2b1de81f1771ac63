package basic_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/wire"
	"watchtower/wire/basic"
)

func newTable(b *bench) *basic.Table {
	t := basic.NewTable(b.hub, b.opts, func(a netip.AddrPort) any { return a })
	b.Cleanup(t.Close)
	return t
}

func at(t testing.TB, table *basic.Table, from netip.AddrPort) do {
	return func(r wire.Request) string {
		t.Helper()
		return string(table.Handle(from, request(t, r), nil))
	}
}

func senders(b *bench) int {
	_, n := b.hub.Directory().Counts()
	return n
}

func TestVerbsOverUDP(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	verbs(b, viaUDP, at(t, table, alice), at(t, table, bob))
}

func TestMembersAreReachedAtTheirAddress(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	one := at(t, table, alice)
	id := one.register(t)
	one(join(id, 5))
	one(say(id, 5, "x"))
	heard := b.delivered(viaUDP)
	require.Len(t, heard, 1)
	assert.Equal(t, alice, heard[0].member)
}

func TestAnIDIsPinnedToItsAddress(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	one := at(t, table, alice)
	id := one.register(t)
	one(join(id, 5))
	for _, from := range []netip.AddrPort{bob, netip.AddrPortFrom(alice.Addr(), 1001)} {
		other := at(t, table, from)
		for _, r := range []wire.Request{keepAlive(id), join(id, 6), quit(id, 5), list(id), say(id, 5, "x"), send(id, 5, "x", id)} {
			assert.Equal(t, errorReply, other(r), "%c", r.Op)
		}
	}
	assert.Empty(t, b.delivered(viaUDP))
	assert.Equal(t, listing(5), one(list(id)), "nothing has changed")

	b.now = b.now.Add(119 * time.Second)
	at(t, table, bob)(keepAlive(id))
	b.now = b.now.Add(time.Second)
	assert.Equal(t, errorReply, one(keepAlive(id)), "another's frame is no sign of life")
}

func TestKeys(t *testing.T) {
	for name, c := range map[string]struct {
		secret     string
		basic      string
		open       bool
		good, evil []string
	}{
		"open gateway": {"", "", true, []string{"", "any"}, nil},
		"secret key":   {"s3", "", false, []string{"s3"}, []string{"", "s", "s33"}},
		"basic key":    {"s3", "b4", false, []string{"b4"}, []string{"", "s3"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, bridge.Options{SecretKey: c.secret})
			b.opts.BasicKey = c.basic
			table := newTable(b)
			one := at(t, table, alice)
			assert.Equal(t, c.open, one(register) != errorReply)
			for _, k := range c.good {
				assert.Len(t, one(key(k)), 5, k)
			}
			id, err := wire.ParseAnswer([]byte(one(key(c.good[0]))))
			require.NoError(t, err)
			for _, k := range c.evil {
				assert.Equal(t, errorReply, one(key(k)), k)
			}
			assert.Equal(t, answer(id), one(keepAlive(id)), "a wrong key takes no id away")
		})
	}
}

func TestUnconfirmedIDsLiveTenSeconds(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	one := at(t, table, alice)
	id := one.register(t)
	b.now = b.now.Add(9999 * time.Millisecond)
	assert.Equal(t, id, one.register(t))
	one(key("any"))
	b.now = b.now.Add(time.Millisecond)
	assert.Equal(t, errorReply, one(keepAlive(id)), "to register again neither confirms nor extends")
	assert.Zero(t, senders(b))

	id = one.register(t)
	b.now = b.now.Add(9 * time.Second)
	assert.Equal(t, answer(id), one(keepAlive(id)), "any frame confirms")
	b.now = b.now.Add(119 * time.Second)
	assert.Equal(t, answer(id), one(keepAlive(id)))
}

func TestUnconfirmedIDsAreBounded(t *testing.T) {
	b := newBench(t, bridge.Options{})
	b.opts.UnconfirmedLimit = 100
	table := newTable(b)
	address := func(i int) netip.AddrPort { return netip.AddrPortFrom(alice.Addr(), uint16(2000+i)) }
	first := at(t, table, address(0))
	kept := first.register(t)
	first(keepAlive(kept))
	ids := make([]uint32, 103)
	for i := range ids {
		ids[i] = at(t, table, address(1+i)).register(t)
	}
	all, unconfirmed := table.Len()
	assert.Equal(t, 101, all)
	assert.Equal(t, 100, unconfirmed)
	assert.Equal(t, 101, senders(b), "the hub forgets them too")
	assert.Equal(t, 3, b.dropped(viaUDP, basic.Forgotten))
	assert.Equal(t, answer(kept), first(keepAlive(kept)), "confirmed ids are safe")
	for i, id := range ids {
		want := answer(id)
		if i < 3 {
			want = errorReply
		}
		assert.Equal(t, want, at(t, table, address(1+i))(keepAlive(id)), "%d", i)
	}
}

func TestSilentClientsLeave(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	one, two := at(t, table, alice), at(t, table, bob)
	a, o := one.register(t), two.register(t)
	one(join(a, 5))
	two(join(o, 5))
	for range 60 * 24 * 3 { // three days of keep-alives
		b.now = b.now.Add(time.Minute)
		require.Equal(t, answer(a), one(keepAlive(a)))
		table.Sweep(b.now)
	}
	assert.Equal(t, listing(5), one(list(a)))
	assert.Equal(t, errorReply, two(list(o)))
	assert.Equal(t, 1, senders(b))
	one(say(a, 5, "x"))
	assert.Len(t, b.delivered(viaUDP), 1)

	b.now = b.now.Add(time.Minute)
	assert.Equal(t, a, one.register(t), "registering again is a sign of life of an id that is in use")
	b.now = b.now.Add(119 * time.Second)
	table.Sweep(b.now)
	assert.Equal(t, 1, senders(b))
	b.now = b.now.Add(time.Second)
	table.Sweep(b.now)
	assert.Zero(t, senders(b))
	ids, _ := table.Len()
	assert.Zero(t, ids)
	assert.NotEqual(t, a, one.register(t))
}

func TestSweepOrderSurvivesAnyTraffic(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	const n = 50
	ids, last := [n]uint32{}, [n]time.Time{}
	for round := range 2000 {
		b.now = b.now.Add(time.Second)
		i := (round*round + round/7) % n
		one := at(t, table, netip.AddrPortFrom(alice.Addr(), uint16(1+i)))
		alive := ids[i] != 0 && b.now.Sub(last[i]) < 2*time.Minute
		require.Equal(t, alive, one(keepAlive(ids[i])) == answer(ids[i]), "round %d", round)
		if !alive {
			ids[i] = one.register(t)
			one(keepAlive(ids[i]))
		}
		last[i] = b.now
	}
}

func TestADeletedSenderIsUnknown(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	one := at(t, table, alice)
	id := one.register(t)
	one(join(id, 5))
	one(say(id, 5, "x"))
	b.delivered(viaUDP)
	var sender *bridge.Sender
	one(say(id, 5, "x"))
	b.link[viaUDP].Flush(func(jobs []bridge.Job) { sender = jobs[0].To[0].Sender() })
	b.hub.Forget(sender)
	assert.Equal(t, errorReply, one(keepAlive(id)))
	ids, _ := table.Len()
	assert.Zero(t, ids)
	assert.Equal(t, listing(), one(list(one.register(t))))
}

func TestAChannelTheHubEndedCanBeJoinedAgain(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	one := at(t, table, alice)
	id := one.register(t)
	one(join(id, 5))
	one(say(id, 5, "x"))
	b.link[viaUDP].Flush(func(jobs []bridge.Job) {
		b.hub.Leave(jobs[0].To[0].Sender(), []bridge.Channel{5})
	})
	assert.Equal(t, listing(), one(list(id)))
	one(join(id, 5))
	assert.Equal(t, listing(5), one(list(id)))
}

func TestWhatIsNeverAnsweredOverUDP(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	at(t, table, alice).register(t)
	bad := []string{
		"", "A", "A1234", "E", "W\x01\xd9\x0b\x01\x02\x03\x04", "W", "R\n", "RR", "K", "K\x05abc", "P123",
		"J1234", "M12345678\xff\xff\xff\xff", "S12345678\xff", "\x00", "\xff", "r", "hello",
		string(request(t, say(1, 1, string(make([]byte, 1188))))),
	}
	for i, s := range bad {
		assert.Empty(t, table.Handle(alice, []byte(s), nil), "%q", s)
		assert.Equal(t, i+1, b.dropped(viaUDP, bridge.Malformed), "%q", s)
	}
	largest := request(t, say(1, 1, string(make([]byte, 1187))))
	assert.Len(t, largest, wire.MaxDatagram)
	assert.Equal(t, errorReply, string(table.Handle(alice, largest, nil)), "well-formed, of an unknown id")
}

func TestBasicFramesCanBeTurnedOff(t *testing.T) {
	b := newBench(t, bridge.Options{})
	b.opts.Basic = false
	table := newTable(b)
	for i, r := range []wire.Request{register, key("x"), whereIs, keepAlive(1), say(1, 1, "x")} {
		assert.Empty(t, at(t, table, alice)(r))
		assert.Equal(t, i+1, b.dropped(viaUDP, bridge.Malformed))
	}
}

func TestAListFitsADatagram(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	one := at(t, table, alice)
	id := one.register(t)
	for c := uint32(400); c > 0; c-- {
		one(join(id, c))
	}
	reply := one(list(id))
	assert.LessOrEqual(t, len(reply), wire.MaxDatagram)
	ids, err := wire.ParseList([]byte(reply))
	require.NoError(t, err)
	require.Equal(t, wire.MaxListed, ids.Len())
	for i := range ids.Len() {
		require.EqualValues(t, i+1, ids.At(i))
	}
}

func TestDataIsCopiedOutOfTheReadBuffer(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	one := at(t, table, alice)
	id := one.register(t)
	one(join(id, 5))
	frame := request(t, say(id, 5, "hello"))
	table.Handle(alice, frame, nil)
	clear(frame)
	assert.Equal(t, "hello", string(b.delivered(viaUDP)[0].message.Data))
}

func TestCloseEndsAll(t *testing.T) {
	b := newBench(t, bridge.Options{})
	table := newTable(b)
	for i := range 20 {
		one := at(t, table, netip.AddrPortFrom(alice.Addr(), uint16(1+i)))
		one(join(one.register(t), 5))
	}
	table.Close()
	table.Close()
	assert.Zero(t, senders(b))
}

func BenchmarkKeepAliveAmong(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			hub, err := bridge.New(bridge.Options{Limits: config.Default().Limits})
			require.NoError(b, err)
			settings := config.Default()
			settings.Limits.UDPBasic, settings.Limits.ConnectionsPerAddress = n, n
			table := basic.NewTable(hub, basic.Options{Via: viaUDP, Wire: &settings.Wire, Limits: &settings.Limits}, func(netip.AddrPort) any { return nil })
			defer table.Close()
			froms, frames := make([]netip.AddrPort, n), make([][]byte, n)
			for i := range n {
				froms[i] = netip.AddrPortFrom(alice.Addr(), uint16(1+i))
				id := at(b, table, froms[i]).register(b)
				frames[i] = request(b, keepAlive(id))
				table.Handle(froms[i], frames[i], nil)
			}
			reply := make([]byte, 0, 8)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if reply = table.Handle(froms[i%n], frames[i%n], reply[:0]); reply[0] != 'A' {
					b.Fatal("refused")
				}
			}
		})
	}
}
