package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Comparison is what Compare measured: the same load on two servers, in turns.
type Comparison struct {
	A      []*Result        `json:"a"`
	B      []*Result        `json:"b"`
	Ratios map[string]Ratio `json:"ratios"` // of B to A, by figure
}

// Ratio is a figure of B in parts of A's: the median of all rounds, the least and the most.
type Ratio struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// figure is one number of a result; known is false if the result does not have it.
type figure struct {
	name, title, unit string
	of                func(r *Result) (value float64, known bool)
}

// figures are those that are compared.
var figures = []figure{
	{"deliveries_per_second", "deliveries", "/s", func(r *Result) (float64, bool) {
		if r.Deliveries == nil {
			return 0, false
		}
		return *r.Deliveries, true
	}},
	{"latency_p50", "latency p50", " µs", func(r *Result) (float64, bool) { return r.Latency.P50, true }},
	{"latency_p99", "latency p99", " µs", func(r *Result) (float64, bool) { return r.Latency.P99, true }},
	{"cpu_us_per_delivery", "CPU per delivery", " µs", func(r *Result) (float64, bool) {
		if r.Server == nil {
			return 0, false
		}
		return r.Server.PerDelivery, true
	}},
	{"resident_bytes", "resident", " MiB", func(r *Result) (float64, bool) {
		if r.Server == nil {
			return 0, false
		}
		return float64(r.Server.Resident) / (1 << 20), true
	}},
}

// Compare measures two servers so many times, in turns: A, B, B, A, and so on, so that what
// changes slowly on the machine concerns both. Progress is told how far all runs are, from
// 0 to 1. A run with faults is an error, because a ratio would be of something else.
func Compare(ctx context.Context, a, b Options, rounds int, progress func(part float64)) (*Comparison, error) {
	c := &Comparison{}
	done := 0
	part := func(of float64) { progress((float64(done) + of) / float64(2*rounds)) }
	a.Progress, b.Progress = part, part
	for i := range rounds {
		turn := []string{"A", "B"}
		if i%2 == 1 {
			turn = []string{"B", "A"}
		}
		for _, server := range turn {
			o, results := a, &c.A
			if server == "B" {
				o, results = b, &c.B
			}
			r, err := Run(ctx, o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", server, err)
			}
			if len(r.Faults) > 0 {
				return nil, fmt.Errorf("%s, round %d: no rate: %s", server, i+1, strings.Join(r.Faults, ", "))
			}
			*results = append(*results, r)
			done++
		}
	}
	c.Ratios = map[string]Ratio{}
	for _, f := range figures {
		if r, ok := c.ratio(f); ok {
			c.Ratios[f.name] = r
		}
	}
	return c, nil
}

// ratio compares round by round.
func (c *Comparison) ratio(f figure) (r Ratio, ok bool) {
	var all []float64
	for i := range c.A {
		a, known := f.of(c.A[i])
		b, too := f.of(c.B[i])
		if !known || !too || a == 0 {
			return r, false
		}
		all = append(all, b/a)
	}
	return Ratio{median(all), slices.Min(all), slices.Max(all)}, true
}

// median returns the middle of values, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// JSON returns the comparison as one line of JSON.
func (c *Comparison) JSON() ([]byte, error) {
	b, err := json.Marshal(c)
	return append(b, '\n'), err
}

// Table returns the comparison as a table for people.
func (c *Comparison) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d rounds\n\n", c.A[0].what(), len(c.A))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\tA\tB\tB to A\n")
	for _, f := range figures {
		ratio, ok := c.Ratios[f.name]
		if !ok {
			continue
		}
		var of [2][]float64
		for i, results := range [][]*Result{c.A, c.B} {
			for _, r := range results {
				value, _ := f.of(r)
				of[i] = append(of[i], value)
			}
		}
		fmt.Fprintf(w, "%s\t%s%s\t%s%s\t%.2f (%.2f–%.2f)\n", f.title, short(median(of[0])), f.unit, short(median(of[1])), f.unit, ratio.Median, ratio.Least, ratio.Most)
	}
	_ = w.Flush() // a Builder takes everything
	b.WriteString("\nMedians; in brackets the least and the most of one round. Lost, doubled, out of order: none.\n")
	return b.String()
}

// short writes a number with three digits or as a whole one.
func short(v float64) string {
	if v >= 1000 {
		return thousands(uint64(v + 0.5))
	}
	return fmt.Sprintf("%.3g", v)
}
