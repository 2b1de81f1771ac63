package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// bench does measurements, and keeps their results.
type bench struct {
	dir     string // for data
	program string // the gateway
	self    string // this program
	seconds float64
	samples map[string][]sample // by measurement

	prepared map[string]string // data directories with remembered senders and more, by measurement
}

// sample holds the fields of watchtower bench's result that are used here.
type sample struct {
	Deliveries float64                              `json:"deliveries_per_second"`
	Latency    struct{ P50, P90, P99, Max float64 } `json:"latency_us"`
	Server     *struct {
		Cost     float64 `json:"cpu_us_per_delivery"`
		Resident uint64  `json:"resident_bytes"`
		Settled  uint64  `json:"settled_bytes"` // with --settle
	} `json:"server"`
	Each float64 `json:"bytes_each"` // of --idle

	startMillis   float64
	connectMicros float64
	err           error
}

func (s sample) cost() float64 {
	if s.Server == nil {
		return 0
	}
	return s.Server.Cost
}

func (s sample) resident() float64 {
	if s.Server == nil {
		return math.NaN()
	}
	return float64(s.Server.Resident) / (1 << 20)
}

func (s sample) settled() float64 {
	if s.Server == nil || s.Server.Settled == 0 {
		return math.NaN()
	}
	return float64(s.Server.Settled) / (1 << 20)
}

func (s sample) String() string {
	switch {
	case s.err != nil:
		return "FAILED: " + s.err.Error()
	case s.startMillis > 0:
		return fmt.Sprintf("%.0f ms", s.startMillis)
	case s.connectMicros > 0:
		return fmt.Sprintf("%.1f µs", s.connectMicros)
	case s.Deliveries == 0:
		return fmt.Sprintf("%.2f KiB each", s.Each/1024)
	}
	return fmt.Sprintf("%.0f/s, p99 %.2f ms, %.2f µs", s.Deliveries, s.Latency.P99/1000, s.cost())
}

// measure does one measurement. A failure is in the sample.
func (b *bench) measure(ctx context.Context, m measurement) sample {
	dir, err := os.MkdirTemp(b.dir, "data")
	if err != nil {
		return sample{err: err}
	}
	defer func() { _ = os.RemoveAll(dir) }()
	switch m.args {
	case startUp, startFull:
		return b.startTime(ctx, m)
	}
	p, err := b.start(ctx, m.server, dir)
	if err != nil {
		return sample{err: err}
	}
	defer p.end()
	if m.args == connects {
		return p.connectCost(ctx)
	}
	if m.server == gatewayServer && !m.flatOut() {
		select { // at a home's pace it has run for years, and has given back what its start needed
		case <-time.After(settled):
		case <-ctx.Done():
			return sample{err: ctx.Err()}
		}
	}
	return b.generate(ctx, p, m)
}

// settled is how long after its start the gateway is at rest.
const settled = 4 * time.Second

// flatOut reports whether the load is as much as the server takes.
func (m measurement) flatOut() bool {
	return !strings.Contains(m.args, "--rate") && !strings.Contains(m.args, "--idle")
}

// generate runs the generator against a server.
func (b *bench) generate(ctx context.Context, p *process, m measurement) sample {
	// The minute is for opening ten thousand connections, and ends a generator that hangs.
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(b.seconds*float64(time.Second)))
	defer cancel()
	args := []string{"bench", "--json", "--pid", fmt.Sprint(p.cmd.Process.Pid),
		"--warm-up", "500ms", "--duration", fmt.Sprintf("%gs", b.seconds)}
	if p.http != "" {
		args = append(args, "--url", "http://"+p.http)
	} else {
		args = append(args, "--url", "none")
	}
	if m.server == gatewayServer {
		args = append(args, "--secret-key", secretKey)
	}
	args = append(args, "--udp", p.udp, "--tcp", p.tcp, "--mqtt", p.mqtt)
	cmd := exec.CommandContext(ctx, b.program, append(args, strings.Fields(m.args)...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return sample{err: errors.New(strings.TrimSpace(problems.String()))}
	}
	var s sample
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return sample{err: err}
	}
	return s
}
