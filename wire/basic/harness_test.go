package basic_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/wire"
	"watchtower/wire/basic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a hub with links that nobody serves, and a clock.
type bench struct {
	*testing.T
	hub  *bridge.Hub
	link map[bridge.Protocol]*bridge.Link
	now  time.Time
	opts basic.Options
}

func newBench(t *testing.T, opts bridge.Options) *bench {
	b := &bench{T: t, now: time.Unix(1e9, 0)}
	opts.Now = func() time.Time { return b.now }
	b.hub, _ = harness.Hub(t, viaUDP, opts)
	b.link = map[bridge.Protocol]*bridge.Link{
		viaUDP: b.hub.AddLink(viaUDP, 1024, 0),
		viaTCP: b.hub.AddLink(viaTCP, 1024, 0),
	}
	settings := config.Default()
	b.opts = basic.Options{
		Via: viaUDP, Wire: &settings.Wire, Limits: &settings.Limits, Gateway: 0xa1b2c3d4, Now: opts.Now,
		TCPPort: func() uint16 { return 3033 },
	}
	return b
}

// streams are the options of connections.
func (b *bench) streams() basic.Options {
	o := b.opts
	o.Via = viaTCP
	return o
}

func (b *bench) dropped(p bridge.Protocol, r bridge.Reason) int {
	return int(b.hub.Counters().Dropped(p, r))
}

// delivery is a message that a link was given for one member.
type delivery struct {
	member  any
	message *bridge.Message
}

// delivered returns the messages that wait in a protocol's link, for each member.
func (b *bench) delivered(p bridge.Protocol) (ds []delivery) {
	b.link[p].Flush(func(jobs []bridge.Job) {
		for _, j := range jobs {
			for _, a := range j.To {
				if a.Wants(j.Message) {
					ds = append(ds, delivery{a.Member, j.Message})
				}
			}
			j.Done(b.hub.Counters(), p, 0, 0)
		}
	})
	return ds
}

func request(t testing.TB, r wire.Request) []byte {
	frame, err := wire.AppendRequest(nil, r)
	require.NoError(t, err)
	return frame
}

var (
	alice = netip.MustParseAddrPort("192.0.2.1:1000")
	bob   = netip.MustParseAddrPort("[2001:db8::2]:1000")
)

const errorReply = "E"

func answer(v uint32) string            { return string(wire.AppendAnswer(nil, v)) }
func listing(channels ...uint32) string { return string(wire.AppendList(nil, channels)) }
func receivers(ids ...uint32) wire.IDs  { return wire.AppendIDs(nil, ids...) }
func key(k string) wire.Request         { return wire.Request{Op: wire.OpKey, Key: []byte(k)} }
func keepAlive(id uint32) wire.Request  { return wire.Request{Op: wire.OpKeepAlive, ID: id} }
func list(id uint32) wire.Request       { return wire.Request{Op: wire.OpList, ID: id} }
func join(id, channel uint32) wire.Request {
	return wire.Request{Op: wire.OpJoin, ID: id, Channel: channel}
}
func quit(id, channel uint32) wire.Request {
	return wire.Request{Op: wire.OpQuit, ID: id, Channel: channel}
}
func say(id, channel uint32, text string) wire.Request {
	return wire.Request{Op: wire.OpMessage, ID: id, Channel: channel, Data: []byte(text)}
}
func send(id, channel uint32, text string, to ...uint32) wire.Request {
	return wire.Request{Op: wire.OpSend, ID: id, Channel: channel, Receivers: receivers(to...), Data: []byte(text)}
}

var (
	register = wire.Request{Op: wire.OpRegister}
	whereIs  = wire.Request{Op: wire.OpWhere}
)

// do makes one request and returns its reply, "" for none.
type do func(wire.Request) string

func (d do) register(t testing.TB) uint32 {
	t.Helper()
	id, err := wire.ParseAnswer([]byte(d(register)))
	require.NoError(t, err)
	require.NotZero(t, id)
	return id
}

// verbs tests what is the same over both transports. Each do is another client's.
func verbs(b *bench, p bridge.Protocol, one, two do) {
	t := b.T
	a, o := one.register(t), two.register(t)
	assert.NotEqual(t, a, o)
	assert.Equal(t, a, one.register(t), "registering again gives the same id")
	assert.Equal(t, answer(a), one(keepAlive(a)))
	assert.Equal(t, errorReply, one(keepAlive(o)), "another's id")
	assert.Equal(t, errorReply, one(keepAlive(0)))
	assert.Equal(t, string(wire.AppendWhere(nil, wire.Where{Version: 1, TCPPort: 3033, Gateway: 0xa1b2c3d4})), one(whereIs))

	assert.Equal(t, listing(), one(list(a)))
	assert.Equal(t, answer(300), one(join(a, 300)))
	assert.Equal(t, answer(7), one(join(a, 7)))
	assert.Equal(t, answer(7), one(join(a, 7)), "joining twice is one membership")
	assert.Equal(t, listing(7, 300), one(list(a)))
	assert.Equal(t, a, one.register(t))
	assert.Equal(t, listing(7, 300), one(list(a)), "registering again keeps the channels")
	assert.Equal(t, errorReply, one(join(a, 0)))
	assert.Equal(t, errorReply, one(quit(a, 0)))

	assert.Equal(t, "", one(say(a, 7, "hello")))
	heard := b.delivered(p)
	require.Len(t, heard, 1, "the sender hears its own message, once")
	assert.Equal(t, "hello", string(heard[0].message.Data))
	assert.EqualValues(t, 0, basic.Delivery(heard[0].message).Type)
	assert.Equal(t, p, heard[0].message.Via)
	assert.Equal(t, p == viaTCP, heard[0].message.Wait)
	assert.Equal(t, errorReply, two(say(o, 7, "x")), "not joined")
	assert.Equal(t, errorReply, one(say(a, 0, "x")))
	assert.Equal(t, "", one(say(a, 7, "")), "an empty message is one")
	assert.Len(t, b.delivered(p), 1)

	assert.Equal(t, errorReply, one(send(a, 7, "x", o)), "the receiver has not joined")
	assert.Equal(t, answer(7), two(join(o, 7)))
	assert.Equal(t, errorReply, one(send(a, 7, "x")), "no receivers")
	assert.Equal(t, errorReply, one(send(a, 7, "x", o, 0xffffffff)), "all or nothing")
	assert.Empty(t, b.delivered(p))
	assert.Equal(t, "", one(send(a, 7, "psst", o, o)))
	heard = b.delivered(p)
	require.Len(t, heard, 1, "a receiver named twice gets it once")
	assert.EqualValues(t, 1, basic.Delivery(heard[0].message).Type)

	assert.Equal(t, answer(7), one(quit(a, 7)))
	assert.Equal(t, answer(7), one(quit(a, 7)), "also what was not joined")
	assert.Equal(t, listing(300), one(list(a)))
	assert.Equal(t, "", two(say(o, 7, "x")))
	assert.Len(t, b.delivered(p), 1, "who quit hears nothing")
	assert.Equal(t, answer(7), one(join(a, 7)), "and may come again")
	assert.Equal(t, "", two(say(o, 7, "x")))
	assert.Len(t, b.delivered(p), 2)
}
