package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// description makes a valve a device in Home Assistant; %s is its name.
//
//go:embed valve.json
var description string

// line is a valve's way to the gateway. It joins the channel again whenever it has to.
type line interface {
	heard() <-chan string   // what is said on the channel, never closed
	joins() <-chan struct{} // it has joined, for the first time or again
	say(ctx context.Context, text string) error
	close()
}

// lineOptions are what a line needs.
type lineOptions struct {
	at, key, name string
	channel       uint32
}

var lines = map[string]struct {
	port string
	open func(ctx context.Context, o lineOptions) (line, error)
}{
	"udp":   {"3033", func(ctx context.Context, o lineOptions) (line, error) { return newSession(ctx, "udp", o) }},
	"tcp":   {"3033", func(ctx context.Context, o lineOptions) (line, error) { return newSession(ctx, "tcp", o) }},
	"mqtt":  {"1883", newMQTT},
	"basic": {"3033", newBasic},
}

func runValve(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("valve", flag.ContinueOnError)
	over := flags.String("over", "udp", "`protocol`: udp or tcp (session frames), mqtt, basic (basic frames over UDP)")
	at := flags.String("gateway", "", "the gateway's `host:port`; localhost, and the protocol's port")
	key := flags.String("key", "", "the gateway's secret key; that of the gateway on this machine")
	channel := flags.Uint("channel", 5, "the channel")
	soil := flags.Float64("soil", 40, "how wet the soil is, in per cent")
	name, err := parse(flags, args, "name of a valve")
	if err != nil {
		return err
	}
	way, known := lines[*over]
	switch {
	case !known:
		return fmt.Errorf("-over must be udp, tcp, mqtt or basic, is %q", *over)
	case !valveName.MatchString(name):
		return fmt.Errorf("a valve's name has 1 to 32 of A–Z a–z 0–9 _ . : -, not %q", name)
	case *channel == 0 || *channel > 1<<32-1:
		return fmt.Errorf("-channel must be from 1 to 4294967295")
	}
	if *at == "" {
		*at = "localhost:" + way.port
	}
	fmt.Fprintf(out, "%s: closed\n", name)
	l, err := way.open(ctx, lineOptions{at: *at, key: secretKey(*key), name: name, channel: uint32(*channel)})
	if err != nil {
		return fmt.Errorf("%s, %s over %s: %w", name, *at, *over, err)
	}
	v := &valve{name: name, named: *over != "basic", line: l, out: out, news: make(chan struct{}, 1)}
	v.soil = *soil
	return v.live(ctx)
}

// valve is a valve that lives at the end of a line.
type valve struct {
	name  string
	named bool // the protocol tells others its name
	line  line
	out   io.Writer
	news  chan struct{} // there is something to say

	mu        sync.Mutex
	tap            // what lock guards
	introduce bool // its description is to be said too
}

// live opens and closes the valve until ctx ends, and then leaves it closed. What it says waits
// for the network in a goroutine of its own: the valve has to close also without one.
func (v *valve) live(ctx context.Context) error {
	var speaking sync.WaitGroup
	speaks, stop := context.WithCancel(context.Background())
	speaking.Go(func() { v.speak(speaks) })
	defer func() {
		v.mu.Lock()
		v.open = false
		v.mu.Unlock()
		fmt.Fprintf(v.out, "%s: closed\n", v.name)
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = v.line.say(last, v.state())
		cancel()
		stop()
		v.line.close()
		speaking.Wait()
	}()
	clock := time.NewTicker(20 * time.Millisecond)
	defer clock.Stop()
	said := v.percent(time.Now())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-v.line.joins():
			fmt.Fprintf(v.out, "%s: connected\n", v.name)
			v.tell(true)
		case text := <-v.line.heard():
			v.take(text, time.Now())
		case now := <-clock.C:
			if v.closes(now) {
				v.tell(false)
			}
			if soil := v.percent(now); soil != said {
				said = soil
				v.tell(false)
			}
		}
	}
}

// take follows what was said on the channel.
func (v *valve) take(text string, now time.Time) {
	v.mu.Lock()
	was := v.open
	mine := v.told(text, now)
	is, word := v.open, v.word()
	v.mu.Unlock()
	if is != was {
		fmt.Fprintf(v.out, "%s: %s\n", v.name, word)
	}
	if mine || text == "describe" {
		v.tell(text == "describe")
	}
}

func (v *valve) closes(now time.Time) bool {
	v.mu.Lock()
	closes, hold := v.expired(now), v.hold
	v.mu.Unlock()
	if closes {
		fmt.Fprintf(v.out, "%s: closed by itself, nothing heard for %v\n", v.name, hold)
	}
	return closes
}

func (v *valve) percent(now time.Time) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pass(now)
	return v.percentage()
}

// tell has the valve's state said, and before it who it is.
func (v *valve) tell(introduce bool) {
	v.mu.Lock()
	v.introduce = v.introduce || introduce
	v.mu.Unlock()
	select {
	case v.news <- struct{}{}:
	default: // what is said will be the newest
	}
}

// patience is how long the valve waits for the gateway's word that it has what was said.
const patience = 700 * time.Millisecond

// speak says what there is to say, one after the other. What changes meanwhile is said once. What
// may not have arrived is said anew, as it is by then.
func (v *valve) speak(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.news:
		}
		v.mu.Lock()
		introduce := v.introduce && v.named
		v.introduce = false
		v.mu.Unlock()
		again := time.After(patience)
		patient, cancel := context.WithTimeout(ctx, patience)
		var err error
		if introduce {
			err = v.line.say(patient, fmt.Sprintf(strings.TrimSpace(description), v.name))
		}
		if err == nil {
			introduce = false
			err = v.line.say(patient, v.state())
		}
		cancel()
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
			v.tell(introduce)
		}
	}
}

// state is what the valve says of itself. Basic frames carry no name, so it is in there.
func (v *valve) state() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := state{Tap: v.word(), Soil: v.percentage()}
	if !v.named {
		s.Valve = v.name
	}
	b, _ := json.Marshal(s) // always: texts and a number
	return string(b)
}

// state is what a valve says. Tap is null for one that is lost.
type state struct {
	Valve string `json:"valve,omitempty"`
	Tap   string `json:"tap"`
	Soil  int    `json:"soil"`
}
