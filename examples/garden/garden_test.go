package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gitlab.com/gomidi/midi/v2"
	"gitlab.com/gomidi/midi/v2/smf"
	"go.uber.org/goleak"

	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

const (
	testKey   = "correct horse battery"
	asGateway = "GARDEN_TEST_GATEWAY" // it is a gateway, with that configuration
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asGateway) != "":
		if err := serveGateway(os.Getenv(asGateway)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		goleak.VerifyTestMain(m)
	}
}

// place is where a gateway listens, and what it keeps its state in.
type place struct{ HTTP, Wire, MQTT, Dir string }

func serveGateway(text string) error {
	var p place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	cfg, _, err := config.Load(nil, []string{"HOME=/"}, "garden.yaml")
	if err != nil {
		return err
	}
	cfg.HTTP.Listen, cfg.UDP.Listen, cfg.TCP.Listen, cfg.MQTT.Listen = p.HTTP, p.Wire, p.Wire, p.MQTT
	cfg.DataDir, cfg.SecretKey, cfg.MDNS = p.Dir, testKey, false
	g, err := gateway.New(cfg, harness.Silent())
	if err != nil {
		return err
	}
	if err := g.Listen(); err != nil {
		return err
	}
	fmt.Println("listening")
	return g.Serve(context.Background())
}

// garden is a gateway, a process that can be killed, with valves.
type garden struct {
	*testing.T
	place
	gateway *exec.Cmd
}

func newGarden(t *testing.T) *garden {
	g := &garden{T: t, place: place{harness.FreeAddress(t), harness.FreeAddress(t), harness.FreeAddress(t), t.TempDir()}}
	g.start()
	t.Cleanup(g.kill)
	return g
}

// start starts the gateway, after a kill at the same addresses.
func (g *garden) start() {
	b, err := json.Marshal(g.place)
	require.NoError(g, err)
	g.gateway = exec.Command(os.Args[0]) //nolint:gosec // the test's own
	g.gateway.Env = append(os.Environ(), asGateway+"="+string(b))
	g.gateway.Stderr = os.Stderr
	out, err := g.gateway.StdoutPipe()
	require.NoError(g, err)
	require.NoError(g, g.gateway.Start())
	_, err = io.ReadFull(out, make([]byte, len("listening\n")))
	require.NoError(g, err)
}

func (g *garden) kill() {
	_ = g.gateway.Process.Kill()
	_ = g.gateway.Wait() // it was killed
}

// printed keeps what a program prints, and when it printed each line.
type printed struct {
	mu    sync.Mutex
	bytes bytes.Buffer
	lines []string
	at    []time.Time
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes.Write(b)
	for {
		line, err := p.bytes.ReadString('\n')
		if err != nil {
			p.bytes.WriteString(line) // the rest comes later
			return len(b), nil
		}
		p.lines, p.at = append(p.lines, strings.TrimSpace(line)), append(p.at, time.Now())
	}
}

// times are when a line was printed.
func (p *printed) times(line string) (all []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, l := range p.lines {
		if l == line {
			all = append(all, p.at[i])
		}
	}
	return all
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// running is a command of this program that runs in this process.
type running struct {
	*testing.T
	printed
	name string
	done chan error
	stop func()
}

// runs begins a command, which ends with the test or by stop.
func (g *garden) runs(args ...string) *running {
	r := &running{T: g.T, name: args[len(args)-1], done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { r.done <- run(ctx, args, &r.printed) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(g, r.ends())
	})
	g.Cleanup(r.stop)
	return r
}

// ends waits for the end of a command.
func (r *running) ends() error {
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(harness.Patience):
		return fmt.Errorf("%s does not end: %s", r.name, r)
	}
}

// prints waits until a line has been printed so often.
func (r *running) prints(times int, line string) {
	r.Helper()
	harness.Eventually(r, func() bool { return len(r.times(line)) >= times }, line)
}

// ways are the protocols by which valves come, with their names here.
var ways = map[string]string{"rose": "udp", "fern": "tcp", "lily": "mqtt", "moss": "basic"}

// valve starts a valve, and waits until it is connected. At is the address of a network before
// the gateway, or nothing.
func (g *garden) valve(name, at string) *running {
	g.Helper()
	if at == "" {
		at = g.at(name)
	}
	v := g.runs("valve", "-over", ways[name], "-gateway", at, "-key", testKey, name)
	v.prints(1, name+": connected")
	return v
}

// at is the gateway's address for a valve.
func (g *garden) at(name string) string {
	if ways[name] == "mqtt" {
		return g.MQTT
	}
	return g.Wire
}

func (g *garden) valves() map[string]*running {
	all := map[string]*running{}
	for name := range ways {
		all[name] = g.valve(name, "")
	}
	return all
}

// conducting are the arguments of a conductor. It is patient: the machine may be busy.
func (g *garden) conducting(args ...string) []string {
	return append([]string{"conduct", "-url", "http://" + g.HTTP, "-key", testKey, "-wait", "20s"}, args...)
}

// conducts plays a score to its end.
func (g *garden) conducts(args ...string) (string, error) {
	var out printed
	ctx, cancel := context.WithTimeout(context.Background(), 2*harness.Patience)
	defer cancel()
	err := run(ctx, g.conducting(args...), &out)
	return out.String(), err
}

// conductor is one that is a process, and can be killed.
func (g *garden) conductor(args ...string) *exec.Cmd {
	c := exec.Command(harness.Program(g, "examples/garden"), g.conducting(args...)...)
	require.NoError(g, c.Start())
	end := sync.OnceFunc(func() { _ = c.Process.Kill(); _ = c.Wait() })
	g.Cleanup(end)
	return c
}

// part is a track: a name, and when its notes begin and end, in ms.
type part struct {
	name  string
	notes [][2]uint32
}

// written writes a score to a file. A tick is a millisecond.
func written(t testing.TB, parts ...part) string {
	t.Helper()
	s := smf.NewSMF1()
	s.TimeFormat = smf.MetricTicks(500)
	for _, p := range parts {
		var track smf.Track
		if p.name != "" {
			track.Add(0, smf.MetaTrackSequenceName(p.name))
		}
		at := uint32(0)
		for _, n := range p.notes {
			track.Add(n[0]-at, midi.NoteOn(0, 60, 100))
			track.Add(n[1]-n[0], midi.NoteOff(0, 60))
			at = n[1]
		}
		track.Close(0)
		require.NoError(t, s.Add(track))
	}
	file := filepath.Join(t.TempDir(), "score.mid")
	require.NoError(t, s.WriteFile(file))
	return file
}

// rounds is a score of two seconds: one valve after the other, and then all at once.
var rounds = []part{
	{"rose", [][2]uint32{{0, 400}, {1300, 2000}}},
	{"fern", [][2]uint32{{300, 700}, {1300, 2000}}},
	{"lily", [][2]uint32{{600, 1000}, {1300, 2000}}},
	{"moss", [][2]uint32{{900, 1200}, {1300, 2000}}},
}
