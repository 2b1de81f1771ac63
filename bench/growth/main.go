// Command growth measures whether the cost of a message grows with the number of channels
// and members, and with what one client has made. make bench-growth builds and runs it, in
// eight minutes at most, on this machine only.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"time"

	"watchtower/bench"
	"watchtower/bench/target"
)

// The limits that must hold.
const (
	mostGrowth = 1.15 // times the processor time of a delivery, with 10,000 in place of 1 or 10
	mostOthers = 1.10 // times what it was, once one client has made a lot
	// A p99 below this is only the machine's own noise.
	noise = 5000.0 // µs
)

const limit = 8 * time.Minute

// settle is the wait after joins, until the members topics are written. The gateway writes
// them once a second, and this cost belongs to the joins.
const settle = 2500 * time.Millisecond

// The measured gateway's limits for one address and one client.
var arguments = []string{
	"--limits-connections-per-address=30000", "--limits-mqtt-subscription-bytes=268435456",
	"--limits-failures=1000000", "--limits-udp-basic=40000",
}

func main() {
	program := flag.String("gateway", "bin/watchtower", "the program to measure")
	rounds := flag.Int("rounds", 5, "how often each pair is measured")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := run(ctx, *program, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

// pair is one load over little, and over much.
type pair struct {
	name          string
	little, great bench.Options
}

// pairs returns the pairs. Both sides of a pair have the same deliveries a second.
func pairs() (all []pair) {
	for _, p := range []bench.Protocol{bench.MQTT, bench.UDP, bench.TCP, bench.HTTP} {
		o := bench.Options{Publish: p, Receive: p, Publishers: 1, Receivers: 10, JoinAll: true, Rate: 1000, Channels: 1}
		much := o
		much.Channels = 10_000
		all = append(all, pair{fmt.Sprintf("%s, 1 channel → 10,000", p), o, much})
	}
	few := bench.Options{Publish: bench.UDP, Receive: bench.UDP, Publishers: 1, Receivers: 10, Rate: 5000}
	many := few
	many.Receivers, many.Rate = 10_000, 5
	return append(all, pair{"udp, 10 members → 10,000", few, many})
}

func run(ctx context.Context, program string, rounds int) error {
	g, err := target.Start(ctx, program, arguments...)
	if err != nil {
		return err
	}
	defer g.Stop()
	var bad []string
	for _, p := range pairs() {
		ratio, err := compare(ctx, g, p, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("%-32s %.2f × the processor time of a delivery\n", p.name, ratio)
		if ratio > mostGrowth {
			bad = append(bad, p.name)
		}
	}
	for _, m := range makers {
		worse, err := disturb(ctx, program, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		bad = append(bad, worse...)
	}
	if len(bad) > 0 {
		return fmt.Errorf("cost grows: %q", bad)
	}
	return nil
}

// compare returns the cost of a delivery over much, divided by that over little: the
// geometric mean of the rounds. The sides take turns.
func compare(ctx context.Context, g *target.Gateway, p pair, rounds int) (float64, error) {
	sum := 0.0
	for range rounds {
		little, err := load(ctx, g, p.little)
		if err != nil {
			return 0, err
		}
		great, err := load(ctx, g, p.great)
		if err != nil {
			return 0, err
		}
		sum += math.Log(great.cost / little.cost)
	}
	return math.Exp(sum / float64(rounds)), nil
}

// figures are the results of a load: the processor time of a delivery, and the 99th
// percentile of the latency, both in microseconds.
type figures struct{ cost, p99 float64 }

func load(ctx context.Context, g *target.Gateway, o bench.Options) (f figures, err error) {
	o.URL, o.UDPAddr, o.TCPAddr, o.MQTTAddr = "http://"+g.HTTP, g.Wire, g.Wire, g.MQTT
	o.SecretKey, o.PID = target.SecretKey, g.PID()
	o.WarmUp, o.Duration = settle, 2*time.Second
	r, err := bench.Run(ctx, o)
	switch {
	case err != nil:
		return f, err
	case len(r.Faults) > 0 || r.Lost > 0:
		return f, fmt.Errorf("%d lost (%v); %v", r.Lost, r.Reasons, r.Faults)
	case r.Server == nil:
		return f, fmt.Errorf("the gateway's costs are not known")
	}
	return figures{r.Server.PerDelivery, r.Latency.P99}, nil
}
