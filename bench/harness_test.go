package bench_test

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bench"
	"watchtower/bench/bare"
	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "correct horse battery"

// brief is a run that is over soon, against nothing yet.
func brief(publish, receive bench.Protocol) bench.Options {
	return bench.Options{
		Publish: publish, Receive: receive, Publishers: 2, Receivers: 5, Window: 8,
		WarmUp: time.Millisecond, Duration: 150 * time.Millisecond, Timeout: time.Second, PID: -1,
	}
}

// startGateway runs a whole gateway until the test ends, and returns a function
// that has options measure it.
func startGateway(t *testing.T, change func(*config.Config)) func(bench.Options) bench.Options {
	t.Helper()
	cfg := config.Default()
	cfg.HTTP.Listen, cfg.UDP.Listen, cfg.TCP.Listen, cfg.MQTT.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.DataDir, cfg.SecretKey = t.TempDir(), key
	if change != nil {
		change(&cfg)
	}
	log := harness.Silent()
	g, err := gateway.New(cfg, log)
	require.NoError(t, err)
	require.NoError(t, g.Listen())
	at := g.Listening()
	run(t, g.Serve)
	return func(o bench.Options) bench.Options {
		o.URL, o.SecretKey = "http://"+at.At("http"), key
		o.UDPAddr, o.TCPAddr, o.MQTTAddr = at.At("udp"), at.At("tcp"), at.At("mqtt")
		return o
	}
}

// run serves until the test ends.
func run(t *testing.T, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

// startBare runs a bare server of the protocol until the test ends.
func startBare(t *testing.T, p bench.Protocol) bench.Options {
	o := brief(p, p)
	switch p {
	case bench.UDP:
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		o.UDPAddr = c.LocalAddr().String()
		run(t, func(ctx context.Context) error { return new(bare.UDP).Serve(ctx, c) })
	case bench.TCP:
		o.TCPAddr = distorted(t, nil)
	case bench.HTTP:
		l := listen(t)
		o.URL = "http://" + l.Addr().String()
		run(t, func(ctx context.Context) error { return new(bare.HTTP).Serve(ctx, l) })
	}
	return o
}

// distorted runs a bare server over TCP that changes frames as a test wants.
func distorted(t *testing.T, distort func(n uint64, frame []byte) [][]byte) string {
	l := listen(t)
	run(t, func(ctx context.Context) error { return (&bare.TCP{Distort: distort}).Serve(ctx, l) })
	return l.Addr().String()
}

// measure is a run. On a machine that is busy with something else it may be over before
// anything was delivered: then it is made again, and longer.
func measure(t *testing.T, o bench.Options) *bench.Result {
	t.Helper()
	for ; ; o.Duration *= 4 {
		r, err := bench.Run(t.Context(), o)
		require.NoError(t, err)
		short := slices.Equal(r.Faults, []string{"nothing was delivered while it was measured"}) || len(r.Faults) == 0 && r.Delivered == 0
		if !short || o.Duration > 2*time.Second {
			return r
		}
	}
}
