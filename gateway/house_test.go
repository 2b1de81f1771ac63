package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

// houseOptions are those of testdata/homeassistant/house.py.
type houseOptions struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Client   string `json:"client"`
	Password string `json:"password"`
	Version  int    `json:"version"`
	Prefix   string `json:"prefix"`
	Birth    string `json:"birth"`
	Registry string `json:"registry"`
}

// house is a process that behaves as Home Assistant, with a registry that
// outlives it.
type house struct {
	t       testing.TB
	options houseOptions
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan houseStates
	fired   chan houseEvent
	up      chan struct{}
	reading sync.WaitGroup
}

type houseEntity struct {
	State      string
	Attributes map[string]any
	UniqueID   string `json:"unique_id"`
	Name       string
	Device     string
	DeviceID   string `json:"device_id"`
	Via        string
	Found      bool
}

type houseStates struct {
	States  map[string]houseEntity
	Errors  []string
	Births  int
	Updates map[string]int
}

type houseEvent struct {
	Entity     string
	Attributes map[string]any
}

func newHouse(t testing.TB, at string, version int) *house {
	t.Helper()
	host, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	h := &house{t: t, options: houseOptions{
		Host: host, Port: n, Client: "homeassistant", Password: key, Version: version,
		Prefix: "homeassistant", Birth: "homeassistant/status", Registry: filepath.Join(t.TempDir(), "registry.json"),
	}}
	t.Cleanup(h.kill)
	return h
}

// python is Debian's, with Debian's packages.
const python = "/usr/bin/python3"

// pythonHasAll returns what a house lacks.
var pythonHasAll = sync.OnceValue(func() error {
	out, err := exec.Command(python, "-c", "import paho.mqtt.client, jinja2").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
})

// start starts it, and returns once it has said online.
func (h *house) start() *house {
	h.t.Helper()
	require.NoError(h.t, pythonHasAll(), "make setup installs it")
	options, err := json.Marshal(h.options)
	require.NoError(h.t, err)
	h.cmd = exec.Command(python, "-B", "../testdata/homeassistant/house.py", string(options))
	h.cmd.Stderr = os.Stderr
	h.in, err = h.cmd.StdinPipe()
	require.NoError(h.t, err)
	lines, err := h.cmd.StdoutPipe()
	require.NoError(h.t, err)
	require.NoError(h.t, h.cmd.Start())
	h.answers, h.fired, h.up = make(chan houseStates, 1), make(chan houseEvent, 10000), make(chan struct{}, 100)
	answers, fired, up := h.answers, h.fired, h.up
	h.reading.Go(func() {
		scan := bufio.NewScanner(lines)
		scan.Buffer(nil, 16<<20)
		for scan.Scan() {
			var line struct {
				Is string
				houseStates
				houseEvent
			}
			if json.Unmarshal(scan.Bytes(), &line) != nil {
				continue
			}
			switch line.Is {
			case "states":
				answers <- line.houseStates
			case "fired":
				fired <- line.houseEvent
			case "connected":
				up <- struct{}{}
			}
		}
		close(answers)
	})
	h.connected()
	return h
}

// connected waits until it has connected, again or for the first time.
func (h *house) connected() {
	h.t.Helper()
	select {
	case <-h.up:
	case <-time.After(lenient):
		require.Fail(h.t, "the house does not connect")
	}
}

func (h *house) do(command map[string]string) {
	h.t.Helper()
	require.NoError(h.t, json.NewEncoder(h.in).Encode(command))
}

// stop is a clean stop, kill is not.
func (h *house) stop() {
	h.t.Helper()
	h.do(map[string]string{"do": "stop"})
	h.reading.Wait()
	require.NoError(h.t, h.cmd.Wait())
	h.cmd = nil
}

func (h *house) kill() {
	if h.cmd != nil {
		_ = h.cmd.Process.Kill()
		h.reading.Wait()
		_ = h.cmd.Wait()
		h.cmd = nil
	}
}

// restart makes it forget all but its registry.
func (h *house) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

func (h *house) now() houseStates {
	h.t.Helper()
	return h.ask("states")
}

func (h *house) ask(what string) houseStates {
	h.t.Helper()
	h.do(map[string]string{"do": what})
	select {
	case s, ok := <-h.answers:
		require.True(h.t, ok, "the house ended")
		return s
	case <-time.After(lenient):
		require.Fail(h.t, "the house does not answer")
		return houseStates{}
	}
}

// until waits until all states meet a condition, and returns them.
func (h *house) until(what string, f func(houseStates) bool) houseStates {
	h.t.Helper()
	for s, late := h.now(), time.Now().Add(lenient); ; s = h.ask("news") {
		if f(s) {
			return s
		}
		if time.Now().After(late) {
			for id, e := range s.States {
				h.t.Logf("%s = %s found %t", id, e.State, e.Found)
			}
			require.Fail(h.t, what, "%s", s.Errors)
		}
	}
}

// shows waits until an entity has a state.
func (h *house) shows(entity, state string) houseEntity {
	h.t.Helper()
	return h.until(entity+" shows "+state, func(s houseStates) bool { return s.States[entity].State == state }).States[entity]
}

// has waits until it knows exactly these entities, all of them found and none
// unavailable.
func (h *house) has(entities ...string) houseStates {
	h.t.Helper()
	slices.Sort(entities)
	return h.until(fmt.Sprint("it has ", entities), func(s houseStates) bool {
		for _, e := range s.States {
			if !e.Found || e.State == "unavailable" {
				return false
			}
		}
		return slices.Equal(entities, slices.Sorted(maps.Keys(s.States)))
	})
}

func (h *house) event(t testing.TB) houseEvent {
	t.Helper()
	select {
	case e := <-h.fired:
		return e
	case <-time.After(lenient):
		require.Fail(t, "no event")
		return houseEvent{}
	}
}

// homely starts a gateway that announces channels to Home Assistant. Its port is fixed, so
// that it can be restarted.
func homely(t testing.TB, change func(*config.Config)) config.Config {
	cfg := testConfig(t)
	cfg.MQTT.Listen = harness.FreeAddress(t)
	cfg.Gateway.Name = "home"
	cfg.Channels = map[uint32]config.Channel{5: {Name: "Watering", HomeAssistant: true}, 6: {Name: "Door"}}
	cfg.HomeAssistant.BirthDelay = 10 * time.Millisecond
	if change != nil {
		change(&cfg)
	}
	return cfg
}

func startHomely(t testing.TB, cfg config.Config) *running {
	t.Helper()
	return startWithOptions(t, cfg, []gateway.Option{gateway.Hasten})
}

// The entities of a gateway, and of a channel.
var gatewayEntities = []string{
	"sensor.watchtower_home_senders", "sensor.watchtower_home_channels",
	"sensor.watchtower_home_messages_per_minute", "sensor.watchtower_home_version",
	"sensor.watchtower_home_lost", "button.watchtower_home_describe", "event.watchtower_home_refused",
}

func channelEntities(n int) []string {
	c := fmt.Sprintf(".watchtower_home_channel_%d", n)
	return []string{"event" + c, "sensor" + c + "_last", "sensor" + c + "_members", "notify" + c + "_say"}
}

func entities(lists ...[]string) []string { return slices.Concat(lists...) }

// settled waits until its birth has been answered.
func (h *house) settled() {
	h.t.Helper()
	h.until("its birth is answered", func(s houseStates) bool { return s.Updates["homeassistant/device/watchtower_home/config"] > 1 })
}
