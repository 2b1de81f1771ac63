package device

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/wire/frame"
)

// olderGateway answers registrations as gateways do that know nothing of hidden bodies,
// and keeps what else it hears.
func olderGateway(t *testing.T, key frame.Key) (address string, heard <-chan frame.Op) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	ops := make(chan frame.Op, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2000)
		for {
			n, from, err := conn.ReadFromUDP(b)
			if err != nil {
				return
			}
			f, err := frame.Parse(b[:n])
			r, _ := frame.ParseRegistration(f.Body)
			switch {
			case err != nil:
			case f.Op != frame.Register:
				ops <- f.Op
			case !key.Verify(b[:n]): // it is not answered
			case r.Cookie == [8]byte{}:
				_, _ = conn.WriteToUDP(frame.AppendCookie(nil, r.CNonce, [8]byte{7}, key), from)
			default:
				session := key.SessionKey(0, r.CNonce, r.Cookie, 9)
				_, _ = conn.WriteToUDP(frame.AppendRegistered(nil, 9, frame.Registered{CNonce: r.CNonce, KeepAlive: 60, MaxDatagram: 1200}, session), from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String(), ops
}

// A gateway that cannot hide bodies is told from one that can, and hears nothing.
func TestAnOlderGatewayHidesNothing(t *testing.T) {
	key := frame.Key{1}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	at, heard := olderGateway(t, key)
	_, err := Dial(ctx, "udp", at, Options{Key: &key, Hidden: true, RetryGap: 10 * time.Millisecond})
	require.ErrorIs(t, err, ErrPlain)
	assert.Empty(t, heard)

	t.Log("nor does it know keys of their own")
	short, end := context.WithTimeout(ctx, 200*time.Millisecond)
	defer end()
	own := frame.Master{}.Key(0, []byte("lamp"))
	_, err = Dial(short, "udp", at, Options{Key: &own, Own: true, Name: "lamp", RetryGap: 10 * time.Millisecond})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, heard)

	t.Log("and an answer that somebody else tagged is neither")
	other, _ := olderGateway(t, frame.Key{2})
	short, end = context.WithTimeout(ctx, 200*time.Millisecond)
	defer end()
	_, err = Dial(short, "udp", other, Options{Key: &key, Hidden: true, RetryGap: 10 * time.Millisecond})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
