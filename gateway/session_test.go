package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
	"watchtower/internal/harness"
	"watchtower/wire/frame"
	wiresession "watchtower/wire/session"
)

// sessionDevice is a device of session frames, joined to channel 5.
func (r *running) sessionDevice(network string, opts session.Options) (*device, *session.Client) {
	r.t.Helper()
	psk := deviceKey(key)
	opts.Key = &psk
	ctx, cancel := context.WithTimeout(context.Background(), lenient)
	defer cancel()
	addr := map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network]
	c, err := session.Dial(ctx, network, addr, opts)
	require.NoError(r.t, err)
	require.NoError(r.t, c.Join(ctx, 5))
	d := &device{name: "session over " + network, id: c.ID(), inbox: make(chan received, 10000)}
	end := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case m := <-c.Messages():
				d.inbox <- received{m.Sender, m.Channel, m.Targeted, string(m.Data)}
			case <-end:
				return
			}
		}
	})
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
		close(end)
		reading.Wait()
	})
	d.broadcast = func(channel uint32, data []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), lenient)
		defer cancel()
		require.NoError(r.t, c.Broadcast(ctx, session.Opaque, data, channel))
	}
	d.send = func(channel, to uint32, data []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), lenient)
		defer cancel()
		require.NoError(r.t, c.Send(ctx, session.Opaque, data, []uint32{to}, channel))
	}
	return d, c
}

func (r *running) session(network string) *device {
	d, _ := r.sessionDevice(network, session.Options{Acknowledge: true, RetryGap: 50 * time.Millisecond})
	return d
}

// A device on a radio that loses 30 % each way gets its commands through. What is
// acknowledged was executed exactly once, and what is said to the device arrives
// once, in order.
func TestCommandsAtThirtyPercentLoss(t *testing.T) {
	t.Parallel()
	overABadRadio(t, 200)
}

func overABadRadio(t *testing.T, commands int) {
	r := start(t, func(c *config.Config) { c.Wire.RetryGap = 10 * time.Millisecond })
	bad := harness.NewRadio(t, r.at.UDP, 0.3)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dial := func(address string, opts session.Options) *session.Client {
		opts.Secret, opts.Acknowledge, opts.RetryGap, opts.Queue = key, true, 10*time.Millisecond, 10_000
		c, err := session.Dial(ctx, "udp", address, opts)
		require.NoError(t, err)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = c.Close(ctx)
		})
		require.NoError(t, c.Join(ctx, 5))
		return c
	}
	field := dial(bad.Addr(), session.Options{NoEcho: true})
	house := dial(r.at.UDP, session.Options{NoEcho: true})
	var sent sync.WaitGroup
	sent.Go(func() { // the house speaks as fast as the device hears
		for i := range commands {
			if !assert.NoError(t, house.Broadcast(ctx, session.Text, fmt.Appendf(nil, "to %d", i), 5)) {
				return
			}
			if i%20 == 19 && !assert.NoError(t, field.Ping(ctx)) { // it is answered when all before it is there
				return
			}
		}
	})
	for i := range commands {
		require.NoError(t, field.Broadcast(ctx, session.Text, fmt.Appendf(nil, "from %d", i), 5))
	}
	sent.Wait()
	require.NoError(t, field.Ping(ctx))
	require.NoError(t, house.Ping(ctx))
	eventually(t, "what was taken is handed out", func() bool { return len(house.Messages()) >= commands })
	require.Len(t, house.Messages(), commands, "each command once")
	for i := range commands {
		require.Equal(t, fmt.Sprintf("from %d", i), string((<-house.Messages()).Data))
	}
	assert.Zero(t, r.dropped(viaUDP, bridge.QueueFull))
	harness.Within(patient, func() bool { return len(field.Messages())+r.dropped(viaUDP, bridge.Failed) >= commands })
	givenUp := r.dropped(viaUDP, bridge.Failed) // after eleven times: one in 1,600
	heard := len(field.Messages())
	assert.GreaterOrEqual(t, heard, commands-givenUp, "one that is given up may have arrived, and all its k be lost")
	assert.Less(t, givenUp, 10)
	last := -1
	for range heard {
		n, err := strconv.Atoi(strings.TrimPrefix(string((<-field.Messages()).Data), "to "))
		require.NoError(t, err)
		require.Greater(t, n, last, "in order, each once")
		last = n
	}
	assert.NotZero(t, r.dropped(viaUDP, wiresession.Duplicate))
}

// Without acknowledgement nothing is repeated, and nothing executed twice.
func TestAtMostOnce(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Wire.RetryGap = 10 * time.Millisecond })
	bad := harness.NewRadio(t, r.at.UDP, 0.3)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	listener := r.stream()
	c, err := session.Dial(ctx, "udp", bad.Addr(), session.Options{Secret: key, RetryGap: 10 * time.Millisecond})
	require.NoError(t, err)
	defer c.Close(ctx)
	require.NoError(t, c.Join(ctx, 5))
	for i := range 1000 {
		require.NoError(t, c.Tell(ctx, session.Text, fmt.Append(nil, i), 5))
		if i%10 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	require.NoError(t, c.Ping(ctx))
	listener.broadcast(5, []byte("the end"))
	heard := map[string]int{}
	for m := listener.next(t); m.data != "the end"; m = listener.next(t) {
		heard[m.data]++
		require.Equal(t, 1, heard[m.data], m.data)
	}
	assert.InDelta(t, 700, len(heard), 100)
}

// What a device does when the gateway forgets it, and when its own address
// changes.
func TestADeviceComesBack(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.UDP.Listen = harness.FreeAddress(t)
	r := startWith(t, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	again := make(chan uint32, 10)
	d, c := r.sessionDevice("udp", session.Options{
		Name: "lamp", Acknowledge: true, RetryGap: 20 * time.Millisecond, RegisterEvery: 50 * time.Millisecond,
		OnSession: func(id uint32) { again <- id },
	})
	other := r.stream()
	require.NoError(t, c.Rebind(ctx))
	require.NoError(t, c.Broadcast(ctx, session.Text, []byte("moved"), 5))
	assert.Equal(t, "moved", other.next(t).data)
	assert.Equal(t, "moved", d.next(t).data)
	assert.NotZero(t, r.dropped(viaUDP, wiresession.Elsewhere))

	r.stop()
	startWith(t, cfg)
	err := c.Broadcast(ctx, session.Text, []byte("lost"), 5)
	require.ErrorIs(t, err, session.ErrLost)
	select {
	case id := <-again:
		assert.Equal(t, d.id, id, "the name's")
	case <-ctx.Done():
		require.Fail(t, "it did not register again")
	}
	require.NoError(t, c.Broadcast(ctx, session.Text, []byte("back"), 5))
	assert.Equal(t, "back", d.next(t).data)
}

// Among connections of the wire and of MQTT with the secret key, the newest with a name wins.
func TestTheNewestOfAName(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	mqttOne := r.paho("lamp")
	udp, _ := r.sessionDevice("udp", session.Options{Name: "lamp"})
	assert.Equal(t, mqttOne.id, udp.id)
	eventually(t, "MQTT is disconnected", func() bool {
		n, _ := r.g.Hub().Directory().Counts()
		return n[viaMQTT] == 0 && n[viaUDP] == 1
	})
	tcp, _ := r.sessionDevice("tcp", session.Options{Name: "lamp", NoEcho: true})
	assert.Equal(t, udp.id, tcp.id)
	eventually(t, "UDP has left", func() bool {
		n, _ := r.g.Hub().Directory().Counts()
		return n[viaUDP] == 0 && n[viaTCP] == 1
	})
	r.register("lamp")
	stream := r.stream()
	stream.broadcast(5, []byte("x"))
	assert.Equal(t, "x", tcp.next(t).data, "registering over HTTP ends nothing")
}

// A device with the shared key whose name gets a key of its own is told so at its next
// registration, and not left in silence.
func TestADeviceIsToldThatItsNameHasAKey(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.UDP.Listen = harness.FreeAddress(t)
	r := startWith(t, cfg)
	why := make(chan error, 100)
	_, c := r.sessionDevice("udp", session.Options{
		Name: "valve", RetryGap: 20 * time.Millisecond, RegisterEvery: 50 * time.Millisecond,
		OnFailure: func(err error) {
			select {
			case why <- err:
			default:
			}
		},
	})
	own, err := session.Dial(soon(t), "udp", r.at.UDP, session.Options{Name: "valve", Key: r.keyOf("valve"), Own: true})
	require.NoError(t, err)
	require.NoError(t, own.Close(soon(t)))
	r.stop()
	startWith(t, cfg)
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	require.Error(t, c.Broadcast(short, session.Text, []byte("lost"), 5), "the gateway says that there is no such session")
	deadline := time.After(harness.Patience)
	for {
		select {
		case err := <-why:
			var refused session.Refused
			if !errors.As(err, &refused) {
				continue // the gateway is still starting
			}
			assert.EqualValues(t, frame.NameHasKey, refused.Code)
			return
		case <-deadline:
			require.Fail(t, "it is not told")
		}
	}
}
