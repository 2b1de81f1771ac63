// Command peers measures the gateway beside bare sockets and other brokers, on
// one machine and in one run, and writes what came out to docs/performance.md.
//
// Every measurement has a server of its own, in a process of its own, on loopback. One runs
// at a time. Servers that are compared run one after the other, and all measurements are
// repeated, so that other work of the machine affects all of them. The command ends every
// process that it starts, by its id. If it is killed, the system ends them.
//
// It is a module of its own, so that the gateway's module does not depend on the other
// brokers.
//
//	rows.go     what is compared, and the targets   servers.go  starting and ending them
//	measure.go  one measurement                     serve.go    those that are Go, as processes
//	startup.go  start to the first message          state.go    start with much on the disk
//	connect.go  the cost of a connect               client.go   a client of MQTT
//	report.go   docs/performance.md
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// longest is the most time for all measurements. Those that are left then are skipped.
const longest = 60 * time.Minute

// othersSection begins the part of docs/performance.md that make bench-cluster writes.
const othersSection = "\n<!-- bench-cluster -->\n"

func main() {
	if len(os.Args) == 4 && os.Args[1] == serveCommand {
		exit(serve(os.Args[2], os.Args[3]))
	}
	// The system ends child processes when the thread that started them ends. So this
	// goroutine keeps its thread.
	runtime.LockOSThread()
	root := flag.String("root", "../..", "the project's directory")
	rounds := flag.Int("rounds", 3, "how often everything is measured")
	seconds := flag.Float64("seconds", 2, "how long each measurement counts")
	only := flag.String("only", "", "measure only rows whose name contains this, and write to standard output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	exit(compare(ctx, *root, *rounds, *seconds, *only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func compare(ctx context.Context, root string, rounds int, seconds float64, only string) error {
	dir, err := os.MkdirTemp("", "watchtower-peers")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{dir: dir, program: filepath.Join(dir, "watchtower"), seconds: seconds, samples: map[string][]sample{}, prepared: map[string]string{}}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.program, "./cmd/watchtower")
	build.Dir, build.Stderr = root, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the gateway: %w", err)
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	rows := rowsFor(only)
	all := measurements(rows)
	begin := time.Now()
	for round := range rounds {
		for i, m := range all {
			if ctx.Err() != nil {
				break
			}
			s := b.measure(ctx, m)
			b.samples[m.key()] = append(b.samples[m.key()], s)
			fmt.Fprintf(os.Stderr, "%4.0f s  round %d of %d, %2d of %d  %-60s %s\n", time.Since(begin).Seconds(), round+1, rounds, i+1, len(all), m.key(), s)
		}
	}
	if ctx.Err() == context.Canceled {
		return ctx.Err()
	}
	text := b.report(root, rows, all, rounds)
	fmt.Print(text)
	if only != "" {
		return nil
	}
	file := filepath.Join(root, "docs/performance.md")
	was, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, others, there := strings.Cut(string(was), othersSection); there {
		text += othersSection + others
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// rowsFor returns the rows whose name contains a text.
func rowsFor(text string) (all []row) {
	for _, r := range everyRow() {
		if strings.Contains(r.path, text) {
			all = append(all, r)
		}
	}
	return all
}
