package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bench"
	"watchtower/bench/bare"
	"watchtower/config"
)

// faultless checks that a run delivered every message.
func faultless(t *testing.T, r *bench.Result) {
	t.Helper()
	require.Empty(t, r.Faults)
	assert.Positive(t, *r.Publishes)
	assert.Positive(t, *r.Deliveries)
	assert.Positive(t, r.Delivered)
	assert.Equal(t, r.Expected, r.Delivered)
	assert.Zero(t, r.Lost)
	assert.Positive(t, r.Latency.P50)
	assert.LessOrEqual(t, r.Latency.P50, r.Latency.P99)
	assert.LessOrEqual(t, r.Latency.P99, r.Latency.Max)
}

func TestEveryPairOfProtocols(t *testing.T) {
	at := startGateway(t, nil)
	for _, publish := range bench.Protocols {
		for _, receive := range bench.Protocols {
			t.Run(string(publish)+" to "+string(receive), func(t *testing.T) {
				o := at(brief(publish, receive))
				if publish != receive {
					o.Rate = 500 // each goes flat out once, which takes both processors
				}
				r := measure(t, o)
				faultless(t, r)
				want := 5
				if publish != receive && (publish == bench.UDP || publish == bench.UDPSession || publish == bench.TCP) {
					want = 7 // the publishers hear too
				}
				assert.Equal(t, want, r.Receivers)
			})
		}
	}
}

func TestOtherRuns(t *testing.T) {
	at := startGateway(t, nil)
	for name, change := range map[string]func(*bench.Options){
		"QoS 1":    func(o *bench.Options) { o.Publish, o.Receive, o.QoS, o.Rate = bench.MQTT, bench.MQTT, 1, 0 },
		"flat out": func(o *bench.Options) { o.Rate = 0 },
		"large":    func(o *bench.Options) { o.Size, o.Duration, o.Rate = 20_000, time.Second, 0 },
		"large, TCP": func(o *bench.Options) {
			o.Publish, o.Receive, o.Size, o.Duration, o.Rate = bench.TCP, bench.SSE, 60_000, time.Second, 0
		},
		"more channels":               func(o *bench.Options) { o.Channels, o.Receive = 3, bench.UDP },
		"more channels, with hearers": func(o *bench.Options) { o.Channels, o.Publish, o.Receive = 3, bench.TCP, bench.TCP },
		"more channels than anybody": func(o *bench.Options) {
			o.Channels, o.Publish, o.Receive, o.Duration = 23, bench.MQTT, bench.MQTT, time.Second
		},
		"all join all":                func(o *bench.Options) { o.Channels, o.JoinAll, o.Receive = 7, true, bench.UDPSession },
		"more publishers than others": func(o *bench.Options) { o.Publish, o.Receive, o.Receivers = bench.UDP, bench.UDP, 1 },
		"send":                        func(o *bench.Options) { o.Publish, o.Receive, o.Send = bench.UDP, bench.UDP, true },
		"send, sessions":              func(o *bench.Options) { o.Publish, o.Receive, o.Send = bench.UDPSession, bench.SSE, true },
		"send, HTTP":                  func(o *bench.Options) { o.Publish, o.Receive, o.Send = bench.HTTP, bench.TCP, true },
	} {
		t.Run(name, func(t *testing.T) {
			o := brief(bench.HTTP, bench.HTTP)
			o.Rate = 500 // each goes flat out in another test
			change(&o)
			faultless(t, measure(t, at(o)))
		})
	}
}

func TestBareServers(t *testing.T) {
	for _, p := range []bench.Protocol{bench.UDP, bench.TCP, bench.HTTP} {
		t.Run(string(p), func(t *testing.T) {
			o := startBare(t, p)
			faultless(t, measure(t, o))
			o.Channels = 3
			faultless(t, measure(t, o))
			if p != bench.HTTP {
				o.Channels, o.Send = 1, true
				faultless(t, measure(t, o))
			}
		})
	}
}

// Faults on the way are found, and then there is no rate.
func TestFaults(t *testing.T) {
	var held [][]byte
	for name, c := range map[string]struct {
		distort func(n uint64, frame []byte) [][]byte
		fault   string
	}{
		"lost": {func(n uint64, f []byte) [][]byte {
			if n == 20 {
				return nil
			}
			return [][]byte{f}
		}, "lost without a reason"},
		"twice": {func(n uint64, f []byte) [][]byte {
			if n == 20 {
				return [][]byte{f, f}
			}
			return [][]byte{f}
		}, "came twice"},
		"corrupt": {func(n uint64, f []byte) [][]byte {
			if n == 20 {
				f[len(f)-1] ^= 1
			}
			return [][]byte{f}
		}, "not as they were sent"},
		"corrupt head": {func(n uint64, f []byte) [][]byte {
			if n == 20 {
				f[15+8*4] ^= 1 // of the time
			}
			return [][]byte{f}
		}, "not as they were sent"},
		"reordered": {func(n uint64, f []byte) [][]byte {
			switch n {
			case 20:
				held = [][]byte{f}
				return nil
			case 21:
				return [][]byte{f, held[0]}
			}
			return [][]byte{f}
		}, "came after later ones"},
	} {
		t.Run(name, func(t *testing.T) {
			o := brief(bench.TCP, bench.TCP)
			o.Publishers, o.Receivers, o.Timeout = 1, 1, 50*time.Millisecond
			o.TCPAddr = distorted(t, c.distort)
			r := measure(t, o)
			assert.Contains(t, strings.Join(r.Faults, "\n"), c.fault)
			assert.Nil(t, r.Publishes)
			assert.Nil(t, r.Deliveries)
			assert.Contains(t, r.Table(), "no rate")
			assert.NotContains(t, r.Table(), "deliveries  ")
		})
	}
}

// Messages that the gateway drops and counts are lost for a known reason: there is a rate.
func TestExplainedLoss(t *testing.T) {
	at := startGateway(t, func(c *config.Config) { c.TCP.Queue = 1 })
	o := at(brief(bench.MQTT, bench.TCP))
	o.Window, o.Timeout = 512, 2*time.Second // what comes late on a busy machine is not lost
	o.Duration = 2 * o.Timeout               // a window that is full of lost messages waits for the timeout
	r := measure(t, o)
	require.Empty(t, r.Faults)
	assert.NotNil(t, r.Deliveries)
	assert.Positive(t, r.Lost)
	assert.Equal(t, r.Lost, r.Reasons["tcp queue_full"])
}

func TestAStalledReceiver(t *testing.T) {
	at := startGateway(t, nil)
	for _, p := range []bench.Protocol{bench.TCP, bench.MQTT, bench.HTTP} {
		o := at(brief(p, p))
		o.Stalled = 1
		faultless(t, measure(t, o))
	}
}

// A server that ends in the middle of a run is a fault, told once.
func TestAServerThatEndsMeanwhile(t *testing.T) {
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	run(t, func(context.Context) error { return new(bare.TCP).Serve(ctx, l) })
	o := brief(bench.TCP, bench.TCP)
	o.TCPAddr, o.Duration, o.Timeout = l.Addr().String(), 300*time.Millisecond, 100*time.Millisecond
	o.Progress = func(part float64) {
		if part > 0.3 {
			cancel()
		}
	}
	r := measure(t, o)
	assert.Contains(t, strings.Join(r.Faults, "\n"), "the server closed the connection")
	assert.LessOrEqual(t, len(r.Failures), 6)
	assert.Nil(t, r.Deliveries)
}

func TestAServerThatEnds(t *testing.T) {
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	run(t, func(context.Context) error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		<-ctx.Done()
		return c.Close()
	})
	cancel()
	o := brief(bench.TCP, bench.TCP)
	o.Publishers, o.Receivers, o.TCPAddr = 1, 1, l.Addr().String()
	_, err := bench.Run(t.Context(), o)
	require.Error(t, err)
	l.Close()
	_, err = bench.Run(t.Context(), o)
	require.ErrorContains(t, err, "connection refused")
}

func TestAWrongKey(t *testing.T) {
	at := startGateway(t, nil)
	for _, p := range []bench.Protocol{bench.UDP, bench.TCP, bench.MQTT, bench.HTTP} {
		o := at(brief(p, p))
		o.SecretKey = "wrong"
		_, err := bench.Run(t.Context(), o)
		require.Error(t, err, p)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := startBare(t, bench.TCP)
	o.Duration = time.Hour
	o.Progress = func(float64) { cancel() }
	_, err := bench.Run(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
}

func TestValidate(t *testing.T) {
	o := bench.Options{Publish: "carrier pigeon", Receive: bench.TCP, Size: 3, QoS: 2, Window: 1 << 20, Publishers: -1}.WithDefaults()
	err := o.Validate()
	for _, text := range []string{"--publish: must be one of", "--receive: tcp needs an address", "--size", "--qos", "--window", "--publishers"} {
		assert.ErrorContains(t, err, text)
	}
	_, err = bench.Run(t.Context(), bench.Options{URL: "ftp://x"})
	assert.ErrorContains(t, err, "--url")
}

func TestJSON(t *testing.T) {
	t.Parallel()
	o := startBare(t, bench.TCP)
	b, err := measure(t, o).JSON()
	require.NoError(t, err)
	var got struct {
		Publish, Receive string
		Rate             float64               `json:"deliveries_per_second"`
		Latency          struct{ P99 float64 } `json:"latency_us"`
		Expected         uint64
		Delivered        uint64
	}
	require.NoError(t, json.Unmarshal(b, &got))
	assert.Equal(t, "tcp", got.Publish)
	assert.Positive(t, got.Rate)
	assert.Positive(t, got.Latency.P99)
	assert.Equal(t, got.Expected, got.Delivered)

	o.TCPAddr = distorted(t, func(n uint64, f []byte) [][]byte {
		if n == 9 {
			return nil
		}
		return [][]byte{f}
	})
	o.Timeout = 5 * time.Second // what comes late on a busy machine is not lost
	b, err = measure(t, o).JSON()
	require.NoError(t, err)
	assert.Contains(t, string(b), `"deliveries_per_second":null`)
	assert.Contains(t, string(b), `"unexplained":1`)
}

func TestIdleNeedsAProcess(t *testing.T) {
	o := startBare(t, bench.TCP)
	_, err := bench.MeasureIdle(t.Context(), o)
	require.ErrorContains(t, err, "--pid")
}

// Another broker has topics of its own, and neither URL nor metrics.
func TestTopicTemplates(t *testing.T) {
	at := startGateway(t, nil)
	o := at(brief(bench.MQTT, bench.MQTT))
	o.URL = ""
	o.Topic, o.Filter = "house/{channel}/state", "house/{channel}/#"
	faultless(t, measure(t, o))
	o.Topic, o.Filter = "", ""
	faultless(t, measure(t, o))
	_, port, err := net.SplitHostPort(o.MQTTAddr)
	require.NoError(t, err)
	o.MQTTAddr = fmt.Sprintf("localhost:%s", port)
	faultless(t, measure(t, o))
}
