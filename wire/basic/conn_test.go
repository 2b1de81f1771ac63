package basic_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire"
	"watchtower/wire/basic"
)

func on(t testing.TB, c *basic.Conn) do {
	return func(r wire.Request) string {
		t.Helper()
		frame := request(t, r)
		n, err := c.Length(frame)
		require.NoError(t, err)
		require.Equal(t, len(frame), n)
		reply, err := c.Handle(frame, nil)
		require.NoError(t, err)
		return string(reply)
	}
}

func TestVerbsOverTCP(t *testing.T) {
	b := newBench(t, bridge.Options{})
	one, two := basic.NewConn(b.hub, b.streams(), netip.Addr{}, 1), basic.NewConn(b.hub, b.streams(), netip.Addr{}, 2)
	assert.False(t, one.Registered())
	verbs(b, viaTCP, on(t, one), on(t, two))
	assert.True(t, one.Registered())
	one.Close()
	two.Close()
	two.Close()
	assert.Zero(t, senders(b))
}

func TestAnUnregisteredConnectionHasNoID(t *testing.T) {
	b := newBench(t, bridge.Options{SecretKey: "s3"})
	c := basic.NewConn(b.hub, b.streams(), netip.Addr{}, nil)
	defer c.Close()
	one := on(t, c)
	assert.Len(t, one(whereIs), 8)
	for _, r := range []wire.Request{register, key("x"), keepAlive(0), join(0, 5), list(1)} {
		assert.Equal(t, errorReply, one(r))
	}
	assert.False(t, c.Registered())
	assert.Len(t, one(key("s3")), 5)
}

func TestWhatEndsAConnection(t *testing.T) {
	for name, c := range map[string]struct {
		begin string
		err   error
		last  string
	}{
		"unknown byte":     {"Z", wire.ErrUnknown, "E"},
		"session frame":    {"r", wire.ErrUnknown, "E"},
		"too large":        {"M12345678\x01\xfa\x00\x00", wire.ErrTooLarge, "E"},
		"absurdly large":   {"S12345678\x00\xff\xff\xff\xff", wire.ErrTooLarge, "E"},
		"A":                {"A", wire.ErrFromGateway, ""},
		"E":                {"E", wire.ErrFromGateway, ""},
		"W of a gateway":   {"W\x01\xd9\x0b\x01\x02\x03\x04", wire.ErrFromGateway, ""},
		"basic turned off": {"R", wire.ErrUnknown, "E"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, bridge.Options{})
			b.opts.Basic = name != "basic turned off"
			conn := basic.NewConn(b.hub, b.streams(), netip.Addr{}, nil)
			n, err := conn.Length([]byte(c.begin))
			if err == nil {
				require.Equal(t, len(c.begin), n)
				_, err = conn.Handle([]byte(c.begin), nil)
			}
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, c.last, string(conn.Refuse(err, nil)))
			assert.Equal(t, 1, b.dropped(viaTCP, bridge.Malformed))
		})
	}
}

func TestTheLimitItselfIsAllowed(t *testing.T) {
	b := newBench(t, bridge.Options{})
	c := basic.NewConn(b.hub, b.streams(), netip.Addr{}, nil)
	defer c.Close()
	one := on(t, c)
	id := one.register(t)
	one(join(id, 1))
	assert.Equal(t, "", one(say(id, 1, string(make([]byte, 64_000)))))
	assert.Len(t, b.delivered(viaTCP), 1)
}

func TestADeletedSenderOfAConnectionIsUnknown(t *testing.T) {
	b := newBench(t, bridge.Options{})
	c := basic.NewConn(b.hub, b.streams(), netip.Addr{}, nil)
	defer c.Close()
	one := on(t, c)
	id := one.register(t)
	one(join(id, 5))
	one(say(id, 5, "x"))
	b.link[viaTCP].Flush(func(jobs []bridge.Job) { b.hub.Forget(jobs[0].To[0].Sender()) })
	assert.Equal(t, errorReply, one(keepAlive(id)))
	assert.NotEqual(t, id, one.register(t), "registering again gives a new id")
}

func TestTCPListsEverything(t *testing.T) {
	b := newBench(t, bridge.Options{})
	c := basic.NewConn(b.hub, b.streams(), netip.Addr{}, nil)
	defer c.Close()
	one := on(t, c)
	id := one.register(t)
	for ch := range uint32(1000) {
		one(join(id, ch+1))
	}
	ids, err := wire.ParseList([]byte(one(list(id))))
	require.NoError(t, err)
	assert.Equal(t, 1000, ids.Len())
}
