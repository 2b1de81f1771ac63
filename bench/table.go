package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Table returns the result as a table for people.
func (r *Result) Table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("run", "%s", r.what())
	if r.Publishes != nil {
		row("publishes", "%s/s", thousands(uint64(*r.Publishes)))
		row("deliveries", "%s/s", thousands(uint64(*r.Deliveries)))
	}
	row("latency", "p50 %s  p90 %s  p99 %s  max %s", readable(r.Latency.P50), readable(r.Latency.P90), readable(r.Latency.P99), readable(r.Latency.Max))
	row("delivered", "%s of %s", thousands(r.Delivered), thousands(r.Expected))
	row("lost", "%s%s", thousands(r.Lost), r.reasons())
	row("order", "%d reordered, %d twice, %d corrupt", r.Reordered, r.Duplicates, r.Corrupt)
	if c := r.Origin; c != nil {
		row("publish gateway", "%.2f µs CPU per publish, %.2f CPUs, %.1f MiB resident", c.PerPublish, c.Processors, mebibytes(c.Resident))
	}
	if c := r.Server; c != nil {
		name := "server"
		if r.Origin != nil {
			name = "receive gateway"
		}
		row(name, "%.2f µs CPU per delivery, %.2f CPUs, %.1f MiB resident", c.PerDelivery, c.Processors, mebibytes(c.Resident))
		if c.Settled > 0 {
			row("settled", "%.1f MiB resident %.1f s after the load", mebibytes(c.Settled), r.Settle)
		}
	}
	if len(r.Faults) == 0 {
		row("verdict", "%s", r.verdict())
	}
	for _, f := range r.Faults {
		row("FAULT", "%s", f)
	}
	if len(r.Faults) > 0 {
		row("", "no rate: it would be of something else")
	}
	_ = w.Flush() // a Builder takes everything
	return b.String()
}

func mebibytes(n uint64) float64 { return float64(n) / (1 << 20) }

// verdict says what became of the messages, of a result without faults.
func (r *Result) verdict() string {
	if r.Lost == 0 {
		return "lost, doubled, out of order: none"
	}
	return fmt.Sprintf("lost: %s, all counted with their reason; doubled, out of order: none", thousands(r.Lost))
}

func (r *Result) what() string {
	how := fmt.Sprintf("flat out, window %d", r.Window)
	if r.Rate > 0 {
		how = fmt.Sprintf("%g publishes/s", r.Rate)
	}
	text := fmt.Sprintf("%d × %s → %d × %s, %d B, %s", r.Publishers, r.Publish, r.Receivers, r.Receive, r.Size, how)
	if r.Channels > 1 {
		text += fmt.Sprintf(", %d channels", r.Channels)
	}
	if r.Publish == MQTT || r.Receive == MQTT {
		text += fmt.Sprintf(", QoS %d", r.QoS)
	}
	if r.Stalled > 0 {
		text += fmt.Sprintf(", %d do not read", r.Stalled)
	}
	return text + fmt.Sprintf(", %.1f s", r.Seconds)
}

func (r *Result) reasons() string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(r.Reasons)) {
		all = append(all, fmt.Sprintf("%s %s", what, thousands(r.Reasons[what])))
	}
	if len(all) == 0 {
		return ""
	}
	return " (dropped: " + strings.Join(all, ", ") + ")"
}

// readable returns microseconds as a text in a suitable unit.
func readable(us float64) string {
	d := time.Duration(us * 1000)
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// thousands writes a number in groups of three digits.
func thousands(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
