package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

const intro = `# Performance

Written by ` + "`make bench-peers`" + `, which anybody can run. Every server runs in a process of
its own on loopback, one at a time; servers that are compared run one after the other, all
%d times. The generator ` + "(`watchtower bench`)" + ` runs on the same processors. Messages have
64 bytes, and 4 publishers have 64 messages outstanding each, unless a row says otherwise.
Figures are medians, with the least and the most in brackets. Absolute figures are for this
machine; ratios hold on others too. Ratios under 1.3 may be noise.

The bare servers (bench/bare) have sockets only: no rules, no bus, no broker. A run has no
figures if a delivery is lost without a counted reason, comes twice, out of order or changed.

`

// report returns the text of docs/performance.md.
func (b *bench) report(root string, rows []row, all []measurement, rounds int) string {
	var s strings.Builder
	fmt.Fprintf(&s, intro, rounds)
	s.WriteString("## Targets\n\n| Path | Gateway | Against | Ratio | Target | |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		s.WriteString(b.line(r))
	}
	s.WriteString("\n## Every measurement\n\n" +
		"| Server | `watchtower bench` | Deliveries/s | CPU µs per delivery | p50 ms | p99 ms | Resident MiB |\n|---|---|---|---|---|---|---|\n")
	for _, m := range all {
		s.WriteString(b.detail(m))
	}
	s.WriteString(b.failures(all))
	s.WriteString(machine(root, rounds, b.seconds))
	return s.String()
}

// values returns a quantity of all samples of a measurement that did not fail.
func (b *bench) values(m measurement, q quantity) (v []float64) {
	for _, s := range b.samples[m.key()] {
		if s.err == nil {
			v = append(v, q.of(s))
		}
	}
	slices.Sort(v)
	return v
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	return (sorted[n/2] + sorted[(n-1)/2]) / 2
}

func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case math.Abs(x) >= 10_000:
		return fmt.Sprintf("%.0fk", x/1000)
	case math.Abs(x) >= 100:
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func spread(sorted []float64) string {
	if len(sorted) == 0 {
		return "failed"
	}
	text := number(median(sorted))
	if len(sorted) > 1 {
		text += fmt.Sprintf(" (%s–%s)", number(sorted[0]), number(sorted[len(sorted)-1]))
	}
	return text
}

func (b *bench) line(r row) string {
	of := b.values(r.of, r.q)
	against, ratio, sign := "", math.NaN(), "≥"
	value := median(of)
	if r.against.server != "" {
		them := b.values(r.against, r.q)
		who := r.against.server
		if who == gatewayServer {
			who = "without"
			if r.q.name == cost.name {
				who = "the least"
			}
		}
		against = fmt.Sprintf("%s %s", who, spread(them))
		ratio = value / median(them)
		value = ratio
	}
	if r.q.less {
		sign = "≤"
	}
	target, met := "", ""
	if r.target > 0 {
		target = fmt.Sprintf("%s %g", sign, r.target)
		if r.against.server == "" {
			target += " " + r.q.unit
		}
		met = verdict(value, r)
	}
	return fmt.Sprintf("| %s | %s %s | %s | %s | %s | %s |\n", r.path+", "+r.q.name, spread(of), r.q.unit, against, number(ratio), target, met)
}

func verdict(value float64, r row) string {
	switch {
	case math.IsNaN(value):
		return "not measured"
	case r.q.less == (value <= r.target) || value == r.target:
		return "met"
	}
	return "**missed**"
}

func (b *bench) detail(m measurement) string {
	if len(b.values(m, rate)) == 0 || slices.Contains(byItself, m.args) || strings.Contains(m.args, "--idle") {
		return ""
	}
	column := func(q quantity) string { return spread(b.values(m, q)) }
	p50 := quantity{of: func(s sample) float64 { return s.Latency.P50 / 1000 }}
	return fmt.Sprintf("| %s | `%s` | %s | %s | %s | %s | %s |\n", m.server, m.args, column(rate), column(cost), column(p50), column(p99), column(held))
}

func (b *bench) failures(all []measurement) string {
	var s strings.Builder
	for _, m := range all {
		for i, one := range b.samples[m.key()] {
			if one.err != nil {
				fmt.Fprintf(&s, "* `%s`, round %d: %s\n", m.key(), i+1, strings.ReplaceAll(one.err.Error(), "\n", " "))
			}
		}
	}
	if s.Len() == 0 {
		return ""
	}
	return "\n## What failed\n\n" + s.String()
}

// machine returns a text about the machine and the versions of the programs.
func machine(root string, rounds int, seconds float64) string {
	versions := []string{"gateway: " + output(root, "git", "describe", "--always", "--dirty")}
	if text := output(root, mosquittoPath(), "-h"); text != "" {
		first, _, _ := strings.Cut(text, "\n")
		versions = append(versions, first)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if strings.Contains(d.Path, "nats-server") || strings.Contains(d.Path, "mochi") {
				versions = append(versions, d.Path+" "+d.Version)
			}
		}
	}
	return fmt.Sprintf("\n## Machine\n\n* %s, %d processors, %s of memory\n* %s\n* %s\n* %s\n* %d rounds of %g s each, %s\n",
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), field("/proc/meminfo", "MemTotal"),
		output(root, "uname", "-sr"), runtime.Version(), strings.Join(versions, "; "), rounds, seconds, time.Now().Format("2 January 2006"))
}

func output(dir, name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, _ := cmd.Output() // mosquitto -h exits with 3
	return strings.TrimSpace(string(out))
}

// field returns the value of a name in a file of names and values.
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
