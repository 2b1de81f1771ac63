// Command cluster measures what it costs that gateways share their channels: the same load
// within one of two gateways, from one to the other, and at a third that is alone. It starts
// them and a NATS server on loopback, and writes its section of docs/performance.md. make
// bench-cluster builds and runs it, in twenty minutes at most.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"watchtower/bench"
	"watchtower/bench/target"
)

const (
	limit   = 20 * time.Minute
	meeting = 30 * time.Second // until the gateways hear each other
	settle  = 5 * time.Second  // before the memory of idle gateways is read
)

func main() {
	program := flag.String("gateway", "bin/watchtower", "the program to measure")
	nats := flag.String("nats", "bin/nats-server", "the NATS server's program")
	rounds := flag.Int("rounds", 3, "how often everything is measured")
	seconds := flag.Float64("seconds", 2, "how long each measurement counts")
	file := flag.String("write", "docs/performance.md", "the file with the section; empty: none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := run(ctx, *program, *nats, *file, *rounds, time.Duration(*seconds*float64(time.Second))); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// field are the servers of a run.
type field struct {
	a, b  *target.Gateway // they share their channels
	alone *target.Gateway
}

func run(ctx context.Context, program, nats, file string, rounds int, counted time.Duration) error {
	busy := loadAverage()
	url, end, err := startNATS(ctx, nats)
	if err != nil {
		return err
	}
	defer end()
	var f field
	for _, one := range []struct {
		at   **target.Gateway
		more []string
	}{{&f.a, []string{"--cluster-url", url, "--gateway-name", "a"}}, {&f.b, []string{"--cluster-url", url, "--gateway-name", "b"}}, {&f.alone, nil}} {
		if *one.at, err = target.Start(ctx, program, append(one.more, "--mdns=false")...); err != nil {
			return err
		}
		defer (*one.at).Stop()
	}
	if err := f.meet(ctx); err != nil {
		return err
	}
	if !sleep(ctx, settle) {
		return ctx.Err()
	}
	r := report{busy: busy, rounds: rounds, counted: counted, together: f.a.Resident(), alone: f.alone.Resident(), samples: map[string][]*bench.Result{}}
	for round := range rounds {
		for _, l := range loads {
			if err := f.measure(ctx, &r, l, round); err != nil {
				return err
			}
		}
	}
	fmt.Print(r.text())
	if file == "" {
		return nil
	}
	return r.write(file)
}

// load is what is measured within a gateway, between two, and at one that is alone.
type load struct {
	publishers, receivers int
	rate                  float64 // 0: flat out
}

var loads = []load{{4, 1, 0}, {1, 1, 0}, {4, 50, 0}, {4, 1, 2000}, {4, 50, 2000}, {4, 1, 10_000}, {4, 1, 60_000}, {4, 50, 20_000}}

func (l load) String() string {
	if l.rate > 0 {
		return fmt.Sprintf("%d MQTT → %d TCP, %g/s", l.publishers, l.receivers, l.rate)
	}
	return fmt.Sprintf("%d MQTT → %d TCP, flat out", l.publishers, l.receivers)
}

// The ways of a load.
const (
	within  = "within"
	between = "between"
	single  = "alone"
)

// measure does a load in each way. Every other round goes through them backwards, so that what
// changes slowly on the machine concerns all.
func (f *field) measure(ctx context.Context, r *report, l load, round int) error {
	ways := []string{within, between, single}
	if round%2 == 1 {
		ways = []string{single, between, within}
	}
	for _, way := range ways {
		from, to := f.a, f.a
		switch way {
		case between:
			to = f.b
		case single:
			from, to = f.alone, f.alone
		}
		result, err := bench.Run(ctx, bench.Options{
			Publish: bench.MQTT, Receive: bench.TCP, Publishers: l.publishers, Receivers: l.receivers, Rate: l.rate, Duration: r.counted,
			URL: "http://" + to.HTTP, SecretKey: target.SecretKey, TCPAddr: to.Wire, MQTTAddr: to.MQTT,
			Origin: &bench.Gateway{URL: "http://" + from.HTTP, SecretKey: target.SecretKey, TCPAddr: from.Wire, MQTTAddr: from.MQTT},
		})
		if err != nil {
			return fmt.Errorf("%s, %s: %w", l, way, err)
		}
		if len(result.Faults) > 0 {
			return fmt.Errorf("%s, %s, round %d: no rate: %s", l, way, round+1, strings.Join(result.Faults, ", "))
		}
		r.samples[l.String()+way] = append(r.samples[l.String()+way], result)
		fmt.Fprintf(os.Stderr, "round %d of %d  %-26s %-8s %10.0f/s  p50 %6.0f µs  p99 %6.0f µs  %6.2f µs a publish at its gateway\n",
			round+1, r.rounds, l, way, *result.Deliveries, result.Latency.P50, result.Latency.P99, result.Origin.PerPublish)
	}
	return nil
}

// meet waits until both gateways hear each other.
func (f *field) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, meeting)
	defer cancel()
	for at, other := range map[*target.Gateway]string{f.a: "b", f.b: "a"} {
		for !hears(at, other) {
			if !sleep(ctx, 50*time.Millisecond) {
				return fmt.Errorf("the gateways do not hear each other: %w", ctx.Err())
			}
		}
	}
	hears(f.alone, "") // it is asked, too, so that its memory can be compared
	return nil
}

func hears(g *target.Gateway, other string) bool {
	resp, err := http.Get("http://" + g.HTTP + "/metrics")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(text), fmt.Sprintf("watchtower_peer_up{gateway=%q} 1", other))
}

// sleep reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// startNATS starts a NATS server, and returns its URL and what ends it.
func startNATS(ctx context.Context, program string) (url string, end func(), err error) {
	dir, err := os.MkdirTemp("", "watchtower-nats")
	if err != nil {
		return "", nil, err
	}
	address, err := target.FreePort()
	if err != nil {
		return "", nil, err
	}
	host, port, _ := net.SplitHostPort(address) // a listener's address has both
	cmd := exec.Command(program, "-js", "-a", host, "-p", port, "-sd", dir, "-l", filepath.Join(dir, "log"))
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("%w: make setup installs it", err)
	}
	end = func() {
		_ = cmd.Process.Kill() // it has ended, or does now
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for begun := time.Now(); time.Since(begun) < meeting && sleep(ctx, 10*time.Millisecond); {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return "nats://" + address, end, c.Close()
		}
	}
	end()
	return "", nil, errors.New("the NATS server does not listen")
}
