package gateway_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
	"watchtower/internal/harness"
	"watchtower/wire/frame"
)

// datagram sends one datagram from a socket of its own.
func (r *running) datagram(b []byte) {
	r.t.Helper()
	conn, err := net.Dial("udp", r.at.UDP)
	require.NoError(r.t, err)
	defer conn.Close()
	_, err = conn.Write(b)
	require.NoError(r.t, err)
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	t.Cleanup(cancel)
	return ctx
}

func forgedFrame(t *testing.T) *running {
	r := start(t, nil)
	d := r.session("udp")
	r.datagram(frameOf(frame.Frame{Op: frame.Bye, ID: d.id, Seq: 9, Body: []byte{0, 0}}))
	return r
}

// frameOf tags a frame with a key that no device has.
func frameOf(f frame.Frame) []byte { return frame.Append(nil, f, frame.Key{1, 2, 3}) }

func doubledFrames(t *testing.T) *running {
	r := start(t, nil)
	twice := harness.NewRadio(t, r.at.UDP, 0)
	twice.Worsen(0, 1, 0)
	c, err := session.Dial(soon(t), "udp", twice.Addr(), session.Options{Secret: key})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(soon(t)) })
	require.NoError(t, c.Join(soon(t), 5))
	require.NoError(t, c.Tell(soon(t), session.Text, []byte("x"), 5))
	return r
}

func movedDevice(t *testing.T) *running {
	r := start(t, nil)
	_, c := r.sessionDevice("udp", session.Options{})
	require.NoError(t, c.Rebind(soon(t)))
	require.NoError(t, c.Ping(soon(t)))
	return r
}

func lateDelivered(t *testing.T) *running {
	r := start(t, nil)
	r.datagram(frameOf(frame.Frame{Op: frame.Delivered, ID: 9, Seq: 9}))
	return r
}

func tooLargeForASession(t *testing.T) *running {
	r := start(t, nil)
	d, _ := r.sessionDevice("udp", session.Options{MaxDatagram: 64})
	r.stream().broadcast(5, make([]byte, 100))
	assert.Len(t, d.next(t).data, 64-30)
	return r
}

func testSessionQueue(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		r := start(t, func(c *config.Config) { c.Wire.SessionQueue = 2 })
		d, c := r.sessionDevice(network, session.Options{})
		require.NoError(t, c.Sleep(soon(t), time.Minute))
		speaker := r.stream()
		for _, s := range []string{"1", "2", "3", "4", "5"} {
			speaker.broadcast(5, []byte(s))
		}
		protocol := map[string]bridge.Protocol{"udp": viaUDP, "tcp": viaTCP}[network]
		eventually(t, "three are dropped", func() bool { return r.dropped(protocol, bridge.QueueFull) == 3 })
		require.NoError(t, c.Ping(soon(t)))
		assert.Equal(t, "4", d.next(t).data)
		assert.Equal(t, "5", d.next(t).data)
	}
}

func testWireRetryGap(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Wire.RetryGap = 2 * time.Millisecond })
	dead := harness.NewRadio(t, r.at.UDP, 0)
	c, err := session.Dial(soon(t), "udp", dead.Addr(), session.Options{Secret: key, Acknowledge: true})
	require.NoError(t, err)
	require.NoError(t, c.Join(soon(t), 5))
	dead.Lose(1)
	began := time.Now()
	r.stream().broadcast(5, []byte("x"))
	eventually(t, "it is given up", func() bool { return r.dropped(viaUDP, bridge.Failed) == 1 })
	assert.Less(t, time.Since(began), 30*time.Second, "and not after 71 seconds")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.Close(ended)
}

func testUDPSessions(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.UDPSessions = 1 })
	r.session("udp")
	_, err := session.Dial(soon(t), "udp", r.at.UDP, session.Options{Secret: key})
	assert.Equal(t, session.Refused{Op: frame.Register, Code: frame.Full}, err)
	assert.Equal(t, 1, r.dropped(viaUDP, bridge.Limit))
	r.session("tcp")
}

// Who has a wrong key is not answered over UDP, but the log says who it is.
func TestAWrongKeyOfSessionFramesIsLogged(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		r := start(t, nil) // another one, since an address has a line a minute
		addr := map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network]
		ctx, cancel := context.WithCancel(context.Background())
		tried := make(chan error, 1)
		go func() {
			_, err := session.Dial(ctx, network, addr, session.Options{Secret: "another secret", Name: "lamp-" + network})
			tried <- err
		}()
		eventually(t, "the log names it", func() bool {
			return strings.Contains(r.log.String(), `msg="a device has a wrong key" address=127.0.0.1 name=lamp-`+network+` protocols=`+network)
		})
		cancel()
		require.Error(t, <-tried)
	}
}
