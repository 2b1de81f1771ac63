// Command attack runs a gateway at its default limits. Strangers, and clients that know its
// key, take as many of its resources as they can, all at once. The command measures how
// this affects a registered device, and how much memory the gateway takes. make attack
// builds both and runs it, in two minutes at most, on this machine only.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"watchtower/bench/target"
)

// The limits that must hold under attack.
const (
	mostResident = 400 << 20 // bytes
	mostSlower   = 1.5       // times the p99 before the attack
	// A p99 below this is only the machine's own noise.
	noise = 5 * time.Millisecond
)

const limit = 2 * time.Minute

func main() {
	program := flag.String("gateway", "bin/watchtower", "the program to attack")
	calm := flag.Duration("calm", 10*time.Second, "how long the device is measured before, and under attack")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := run(ctx, *program, *calm); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

// attack is one way to use up a gateway's resources. It returns a text that says what it
// holds, and holds that until ctx ends.
type attack struct {
	name string
	run  func(ctx context.Context, g *target.Gateway) (outcome string, err error)
}

var attacks = []attack{
	{"1,000 registrations of 448 kB over HTTP, unfinished", unfinishedRegistrations},
	{"5,000 frames of 65 kB over TCP, unfinished", unfinishedFrames},
	{"500 WebSockets of a sender, each with an unfinished message", unfinishedSocketMessages},
	{"1,000 MQTT connections that claim packets of megabytes", claimingPackets},
	{"10,000 idle TCP connections from one address", idleConnections},
	{"one MQTT session with 10,000 filters of 199 levels", deepFilters},
	{"200 MQTT sessions away, 4 MB for each", fullSessions},
	{"retained messages on deep topics until they are refused", deepRetained},
	{"150,000 basic ids over UDP", basicIDs},
	{"wrong keys over HTTP, MQTT, TCP and UDP", wrongKeys},
}

func run(ctx context.Context, program string, calm time.Duration) error {
	g, err := target.Start(ctx, program)
	if err != nil {
		return err
	}
	defer g.Stop()
	before, err := measure(ctx, g, calm)
	if err != nil {
		return fmt.Errorf("before the attack: %w", err)
	}
	fmt.Printf("before: p99 %s over UDP, %s over MQTT; %d MiB\n\n", before.udp, before.mqtt, g.Resident()>>20)

	holding, release := context.WithCancel(ctx)
	outcomes := make([]string, len(attacks))
	var all sync.WaitGroup
	for i, a := range attacks {
		all.Go(func() {
			outcome, err := a.run(holding, g)
			if err != nil {
				outcome = "could not be made: " + err.Error()
			}
			outcomes[i] = outcome
		})
	}
	during, err := measure(ctx, g, calm) // while the attacks begin
	if err != nil {
		release()
		return fmt.Errorf("under attack: %w", err)
	}
	all.Wait()
	under, err := measure(ctx, g, calm)
	release()
	if err != nil {
		return fmt.Errorf("under attack: %w", err)
	}
	for i, a := range attacks {
		fmt.Printf("%-62s %s\n", a.name, outcomes[i])
	}
	peak := g.Peak()
	fmt.Printf("\nwhile it begins: p99 %s over UDP, %s over MQTT\n", during.udp, during.mqtt)
	fmt.Printf("while all is held: p99 %s over UDP, %s over MQTT\n", under.udp, under.mqtt)
	fmt.Printf("resident: %d MiB now, %d MiB at most\n", g.Resident()>>20, peak>>20)
	return verdict(before, under, peak)
}

func verdict(before, under latencies, peak uint64) error {
	if peak > mostResident {
		return fmt.Errorf("the gateway took %d MiB, more than %d", peak>>20, mostResident>>20)
	}
	for _, p := range []struct {
		name        string
		before, now time.Duration
	}{{"UDP", before.udp, under.udp}, {"MQTT", before.mqtt, under.mqtt}} {
		if p.now > noise && float64(p.now) > mostSlower*float64(p.before) {
			return fmt.Errorf("a device over %s waits %.2f times as long", p.name, float64(p.now)/float64(p.before))
		}
	}
	return nil
}

// percentile99 returns the 99th percentile. It sorts all.
func percentile99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100].Round(10 * time.Microsecond)
}
