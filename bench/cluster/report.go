package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"watchtower/bench"
)

// report holds what was measured, by load and way.
type report struct {
	rounds          int
	counted         time.Duration
	busy            string // the machine's load average before
	together, alone uint64 // resident bytes of an idle gateway
	samples         map[string][]*bench.Result
}

// section is what this command writes: all that follows in the file. bench/peers keeps it.
const section = "\n<!-- bench-cluster -->\n"

const head = `
## Several gateways

Written by ` + "`make bench-cluster`" + `: two gateways that share their channels over one NATS server, and
one that is alone, each a process on loopback, and the generator on the same processors. The
same load runs in turns within the first gateway, from it to the second, and at the one that is
alone, %d times for %g s. Ratios are of the runs of one round: their median, with the least and the
most in brackets. Between gateways there are two more processes, and so the rate of %d processors
says more about the machine than about the way. What a publish costs its gateway can be compared at
one rate alone: flat out, the faster one merges more into one write. That is the cost of a publish
whose receivers are at its own gateway: there it has one more write than at a gateway alone, and
from some 500 messages a second on one write for many of them, since nobody elsewhere waits for them.
One publisher has 64 messages on their way at most, so flat out its rate is that of the delay.

| Load | Deliveries/s: within, between, alone | Between to within | p50 | p99 | Between to alone | Origin's CPU a publish, shared to alone |
|---|---|---|---|---|---|---|
`

// text returns the section.
func (r *report) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, head, r.rounds, r.counted.Seconds(), runtime.NumCPU())
	for _, l := range loads {
		in, out, off := r.samples[l.String()+within], r.samples[l.String()+between], r.samples[l.String()+single]
		rate := func(x *bench.Result) float64 { return *x.Deliveries }
		p50 := func(x *bench.Result) float64 { return x.Latency.P50 }
		p99 := func(x *bench.Result) float64 { return x.Latency.P99 }
		cost := func(x *bench.Result) float64 { return x.Origin.PerPublish }
		fmt.Fprintf(&s, "| %s | %.0f, %.0f, %.0f | %s | %s | %s | %s | %s |\n", l, middle(in, rate), middle(out, rate), middle(off, rate),
			ratio(out, in, rate), ratio(out, in, p50), ratio(out, in, p99), ratio(out, off, rate), ratio(in, off, cost))
	}
	fmt.Fprintf(&s, "\nIdle, a gateway that shares its channels has %.1f MiB resident, one that is alone %.1f MiB.\n",
		float64(r.together)/(1<<20), float64(r.alone)/(1<<20))
	fmt.Fprintf(&s, "\n* %d processors, %s, %s\n", runtime.NumCPU(), runtime.Version(), time.Now().Format("2 January 2006"))
	fmt.Fprintf(&s, "* The load of the machine before was %s, the build of the programs included: above 1, other work took part of the processors\n", r.busy)
	return s.String()
}

// loadAverage is how many processes ran or waited in the last minute (proc(5)).
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	minute, _, _ := strings.Cut(string(b), " ")
	return minute
}

// ratio compares round by round.
func ratio(of, to []*bench.Result, figure func(*bench.Result) float64) string {
	var all []float64
	for i := range min(len(of), len(to)) {
		if below := figure(to[i]); below > 0 {
			all = append(all, figure(of[i])/below)
		}
	}
	if len(all) == 0 {
		return "–"
	}
	slices.Sort(all)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(all), all[0], all[len(all)-1])
}

func middle(of []*bench.Result, figure func(*bench.Result) float64) float64 {
	var all []float64
	for _, x := range of {
		all = append(all, figure(x))
	}
	slices.Sort(all)
	return median(all)
}

// median returns the middle of sorted values, or the mean of the two in the middle.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// write replaces the section in a file, or appends it.
func (r *report) write(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, _, _ := strings.Cut(string(b), section)
	return os.WriteFile(file, []byte(before+section+r.text()), 0o644)
}
