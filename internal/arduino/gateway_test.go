package arduino_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/device"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

// speed is how much faster than the gateway's seconds the devices' pass in these tests.
const speed = 20

// startGateway runs a whole gateway, and returns the addresses of its UDP and TCP ports.
func startGateway(t testing.TB, change func(*config.Config)) (udp, tcp string) {
	t.Helper()
	udp, tcp, _ = startStoppable(t, change)
	return udp, tcp
}

// startStoppable runs a gateway until stop is called.
func startStoppable(t testing.TB, change func(*config.Config)) (udp, tcp string, stop func()) {
	t.Helper()
	cfg := config.Default()
	cfg.HTTP.Listen, cfg.UDP.Listen, cfg.TCP.Listen, cfg.MQTT.Listen = "", "127.0.0.1:0", "127.0.0.1:0", ""
	cfg.DataDir = t.TempDir()
	cfg.SecretKey = secret
	cfg.Wire.RetryGap = 100 * time.Millisecond // it gives a message up after seven seconds, also on a busy machine
	if change != nil {
		change(&cfg)
	}
	g, err := gateway.New(cfg, harness.Silent())
	require.NoError(t, err)
	require.NoError(t, g.Listen())
	stop = harness.Serve(t, g.Serve)
	at := g.Listening()
	return at.At("udp"), at.At("tcp"), stop
}

// listener returns a client on a channel to which nothing gets lost.
func listener(t testing.TB, tcp string) *device.Client {
	t.Helper()
	c, _ := listenerUntil(t, tcp)
	return c
}

// listenerUntil returns a listener that ends with the test, or earlier by end.
func listenerUntil(t testing.TB, tcp string) (c *device.Client, end func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	c, err := device.Dial(ctx, "tcp", tcp, device.Options{Key: &puppetKey, NoEcho: true, Acknowledge: true, Window: 8})
	require.NoError(t, err)
	end = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
		defer cancel()
		assert.NoError(t, c.Close(ctx))
	})
	t.Cleanup(end)
	require.NoError(t, c.Join(ctx, channel))
	return c, end
}

// radio carries datagrams between a device and a gateway, badly. It is a socket of its own.
type radio struct {
	testing.TB
	Down  chan []byte      // what comes from the gateway
	Watch func(raw []byte) // is shown what goes to the gateway; nil: nobody is
	far   []byte           // the gateway's address in the device's datagrams; nil: they have none

	mu     sync.Mutex
	dice   *rand.Rand
	loss   int // per cent, each way; a quarter as many come twice, and as many late
	socket net.Conn
	late   sync.WaitGroup
	reader sync.WaitGroup
	closed chan struct{}
	to     string
	begun  time.Time
	lost   int
	speed  int // how much faster the device's seconds pass
}

func newRadio(t testing.TB, gateway string, loss int) *radio {
	r := &radio{TB: t, Down: make(chan []byte, 1024), dice: rand.New(rand.NewPCG(7, 7)), loss: loss, to: gateway, closed: make(chan struct{}), begun: time.Now(), speed: speed}
	r.Move()
	t.Cleanup(func() {
		close(r.closed)
		_ = r.socket.Close()
		r.reader.Wait()
		r.late.Wait()
	})
	return r
}

// Move continues from another port.
func (r *radio) Move() {
	socket, err := net.Dial("udp", r.to)
	require.NoError(r, err)
	r.mu.Lock()
	old := r.socket
	r.socket = socket
	r.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	r.reader.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := socket.Read(b)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue // nobody listens there, for now
			}
			raw := slices.Concat(r.far, b[:n])
			r.fly(func() {
				select {
				case r.Down <- raw:
				case <-r.closed:
				}
			})
		}
	})
}

// Up sends a datagram to the gateway.
func (r *radio) Up(raw []byte) {
	if r.Watch != nil {
		r.Watch(raw)
	}
	if r.far != nil {
		if !bytes.HasPrefix(raw, r.far) && !bytes.HasPrefix(raw, []byte{255, 255, 255, 255}) {
			r.Errorf("a datagram to %v", raw[:4])
		}
		raw = raw[4:]
	}
	raw = slices.Clone(raw)
	r.fly(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, _ = r.socket.Write(raw) // as lost on the way
	})
}

// losses is how many datagrams were lost.
func (r *radio) losses() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// fly does arrive not at all, once or twice, now or later.
func (r *radio) fly(arrive func()) {
	r.mu.Lock()
	copies := 1
	if r.dice.IntN(400) < r.loss {
		copies = 2
	}
	var delays []time.Duration
	for range copies {
		switch {
		case r.dice.IntN(100) < r.loss:
			r.lost++
		case r.dice.IntN(400) < r.loss:
			delays = append(delays, time.Duration(r.dice.IntN(300))*time.Millisecond/time.Duration(r.speed))
		default:
			delays = append(delays, 0)
		}
	}
	r.mu.Unlock()
	for _, d := range delays {
		if d == 0 {
			arrive()
			continue
		}
		r.late.Go(func() {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
				arrive()
			case <-r.closed:
			}
		})
	}
}

// serve runs a puppet on a radio, until a condition is true.
func (r *radio) serve(p *puppet, until func() bool) {
	r.Helper()
	late := time.After(4 * harness.Patience) // on a busy machine each datagram is late
	tick := time.NewTicker(unit / speed / 2)
	defer tick.Stop()
	for !until() {
		at := time.Since(r.begun) * speed
		select {
		case raw := <-r.Down:
			p.give(at, raw)
		case <-tick.C:
			p.loop(at)
		case <-late:
			require.Fail(r, "it does not happen", "%v", p.dones)
		}
		for _, raw := range p.taken() {
			r.Up(raw)
		}
	}
}

// ask makes a request of a puppet, once it is not busy: it sends keep-alives of its own.
func (r *radio) ask(p *puppet, op byte, channel, to uint32, flags byte, data string) {
	r.Helper()
	result := busy
	r.serve(p, func() bool {
		result = p.ask(op, channel, to, flags, data)
		return result != busy
	})
	require.Zero(r, result)
}

// The core speaks with a whole gateway over a bad network: a hundred messages each way arrive
// once each and in order.
func TestWholeGateway(t *testing.T) {
	t.Parallel()
	udp, tcp := startGateway(t, nil)
	r := newRadio(t, udp, 20)
	// After a move the gateway sends a challenge once a second at most. The device's seconds are
	// shorter, so it gets a longer keep-alive: else it would end its session after three of them.
	p := newPuppet(t, puppetProgram(t, "c", "shared", "-DWT_ECHO=0", "-DWT_OWN_KEY=0", "-DWT_KEEPALIVE=400"))
	p.tell('B')
	r.serve(p, func() bool { return slices.Contains(p.dones, done{'r', 0}) })
	// A registration that was repeated, and comes late, begins another session: the join is lost
	// with the one before, which the device is told.
	for joined := false; !joined; joined = slices.Contains(p.over(), done{'j', 0}) {
		r.ask(p, 'j', channel, 0, 1, "")
		r.serve(p, func() bool { return slices.ContainsFunc(p.dones, func(d done) bool { return d.op == 'j' }) })
	}
	e := listener(t, tcp)
	ctx := context.Background()
	for n := range 100 {
		require.NoError(t, e.Broadcast(ctx, device.Text, fmt.Appendf(nil, "heard %d", n), channel))
		if n == 50 {
			r.Move()
		}
		p.over()
		r.ask(p, 'b', channel, 0, 5, fmt.Sprintf("said %d", n))
		r.serve(p, func() bool { return slices.Contains(p.dones, done{'b', 0}) && len(p.messages) > n-40 })
	}
	r.serve(p, func() bool { return len(p.messages) >= 100 })
	for n, m := range p.heard() {
		assert.Equal(t, message{sender: e.ID(), channel: channel, hint: 1, data: fmt.Sprintf("heard %d", n)}, m)
	}
	for n := range 100 {
		assert.Equal(t, fmt.Sprintf("said %d", n), string((<-e.Messages()).Data))
	}
	assert.Empty(t, e.Messages())
	assert.Greater(t, r.losses(), 50)
}

// lamp returns the example for a PC.
func lamp(t testing.TB) string {
	return once(t, "lamp", func(out string) {
		run(t, "gcc", append(slices.Concat([]string{"-std=gnu99"}, sanitized), filepath.Join("..", "..", "arduino", "extras", "pc", "lamp.c"), filepath.Join(src, "wt_sip.c"), "-o", out)...)
	})
}

// withKey starts a gateway, and returns a name's own key with its ports.
func withKey(t testing.TB, name string, more func(*config.Config)) (udp, tcp, key string) {
	t.Helper()
	udp, tcp, keys := withKeys(t, more, name)
	return udp, tcp, keys[0]
}

// withKeys is the same for several.
func withKeys(t testing.TB, more func(*config.Config), names ...string) (udp, tcp string, keys []string) {
	t.Helper()
	dir := t.TempDir()
	change := func(c *config.Config) {
		c.DataDir = dir
		if more != nil {
			more(c)
		}
	}
	_, _, stop := startStoppable(t, change)
	stop() // now it has a master
	for _, name := range names {
		own, _, err := gateway.DeviceKey(dir, name, harness.Silent())
		require.NoError(t, err)
		keys = append(keys, own.Hex())
	}
	udp, tcp = startGateway(t, change)
	return udp, tcp, keys
}

// The example for a PC speaks with a gateway over its own sockets.
func TestOnAPC(t *testing.T) {
	t.Parallel()
	program := lamp(t)
	udp, tcp, key := withKey(t, "lamp", nil)
	e := listener(t, tcp)
	host, port, err := net.SplitHostPort(udp)
	require.NoError(t, err)
	cmd := exec.Command(program, host, port, key)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	next := func() string {
		require.True(t, lines.Scan())
		return lines.Text()
	}
	assert.Equal(t, "r 0", next())
	assert.Equal(t, "j 0", next())
	_, err = io.WriteString(in, "hello\n")
	require.NoError(t, err)
	assert.Equal(t, "hello", string((<-e.Messages()).Data))
	said := []string{next(), next()}
	assert.Contains(t, said, "b 0")
	require.NoError(t, e.Broadcast(context.Background(), device.Text, []byte("on"), channel))
	assert.Equal(t, fmt.Sprintf("%d: on", e.ID()), next())
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
}
