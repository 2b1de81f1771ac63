//go:build homeassistant

package realhouse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
	"watchtower/internal/harness/house"
)

// connectionLost is what Home Assistant may log when the gateway ends: no fault of anybody.
const connectionLost = "The connection was lost"

const key = "correct horse battery"

// program is the gateway in a process of its own.
type program struct {
	t          testing.TB
	dir        string // its data, and its configuration file
	http, mqtt string // host:port, over every start
	wire       string // the same, UDP and TCP
	key        string // of its next start
	cmd        *exec.Cmd
	out        *output
}

// output keeps what was logged, over every start.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start starts a gateway named home, whose configuration file has these further lines, until
// the test ends.
func start(t testing.TB, yaml string) *program {
	t.Helper()
	return startNamed(t, "home", yaml)
}

func startNamed(t testing.TB, name, yaml string) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir(), out: &output{}, key: key}
	for _, at := range []*string{&p.http, &p.mqtt, &p.wire} {
		*at = harness.FreeAddress(t)
	}
	p.configure(name, yaml)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the gateway %s said:\n%s", name, p.out)
		}
	})
	p.start()
	return p
}

// configure writes the configuration file of the next start.
func (p *program) configure(name, yaml string) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, "w.yaml"), []byte("gateway: {name: "+name+"}\n"+yaml+"\n"), 0o600))
}

// start starts the program again, and returns once it answers.
func (p *program) start() {
	p.t.Helper()
	path := harness.Program(p.t, "cmd/watchtower")
	p.cmd = exec.Command(path, "serve", "--config", filepath.Join(p.dir, "w.yaml"), "--data-dir", filepath.Join(p.dir, "data"),
		"--secret-key", p.key, "--http", p.http, "--mqtt", p.mqtt, "--udp", p.wire, "--tcp", p.wire)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(p.t, p.cmd.Start())
	p.eventually("the gateway answers", func() bool {
		resp, err := http.Get("http://" + p.http + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// stop ends it in good order, kill by SIGKILL.
func (p *program) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(p.t, p.cmd.Wait())
	p.cmd = nil
}

func (p *program) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// broker is how Home Assistant reaches the gateway.
func (p *program) broker() house.Broker {
	return house.Broker{At: p.mqtt, Password: key, Client: "homeassistant"}
}

// senders returns the names of those that it knows, as its command line lists them.
func (p *program) senders() (names []string) {
	p.t.Helper()
	path := harness.Program(p.t, "cmd/watchtower")
	cmd := exec.Command(path, "senders", "list", "--json", "--data-dir", filepath.Join(p.dir, "data"))
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	require.NoError(p.t, err, &problem)
	var list struct{ Senders []struct{ Name string } }
	require.NoError(p.t, json.Unmarshal(out, &list), "%s", out)
	for _, s := range list.Senders {
		names = append(names, s.Name)
	}
	return names
}

func (p *program) eventually(what string, so func() bool) {
	p.t.Helper()
	require.Eventually(p.t, so, house.Patience, 10*time.Millisecond, what)
}

// heard is a message that a client got.
type heard struct{ topic, payload string }

// device is an MQTT client with a name. It says and hears on channel 5.
type device struct {
	t       testing.TB
	client  mqtt.Client
	options *mqtt.ClientOptions
	inbox   chan heard
	filters []string // that it subscribes to at each connection
}

// device connects a client with a clean session and subscribes to channel 5.
func (p *program) device(name string, change ...func(*mqtt.ClientOptions)) *device {
	p.t.Helper()
	return p.client(name, []string{"watchtower/channels/5/#"}, change...)
}

// client connects an MQTT client of that name. Without a name it is assigned one.
func (p *program) client(name string, filters []string, change ...func(*mqtt.ClientOptions)) *device {
	p.t.Helper()
	return clientAt(p.t, p.mqtt, name, filters, change...)
}

func clientAt(t testing.TB, at, name string, filters []string, change ...func(*mqtt.ClientOptions)) *device {
	t.Helper()
	d := &device{t: t, inbox: make(chan heard, 10_000), filters: filters}
	d.options = mqtt.NewClientOptions().AddBroker("tcp://" + at).SetClientID(name).SetUsername("x").SetPassword(key).
		SetAutoReconnect(false).SetOrderMatters(true)
	d.options.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { d.inbox <- heard{m.Topic(), string(m.Payload())} })
	for _, f := range change {
		f(d.options)
	}
	t.Cleanup(d.cut)
	d.connect()
	return d
}

// connect connects it again, after leave or cut.
func (d *device) connect() {
	d.t.Helper()
	require.Eventually(d.t, func() bool { // the gateway may be starting
		d.client = mqtt.NewClient(d.options)
		return d.wait(d.client.Connect()) == nil
	}, house.Patience, 50*time.Millisecond)
	for _, filter := range d.filters {
		require.NoError(d.t, d.wait(d.client.Subscribe(filter, 1, nil)))
	}
}

func (d *device) wait(token mqtt.Token) error {
	if !token.WaitTimeout(house.Patience) {
		return fmt.Errorf("the broker does not answer in %s", house.Patience)
	}
	return token.Error()
}

// leave says goodbye. cut ends the connection without one.
func (d *device) leave() { d.client.Disconnect(1000) }
func (d *device) cut()   { d.client.Disconnect(0) }

// say broadcasts on channel 5.
func (d *device) say(text string) {
	d.t.Helper()
	d.publish("watchtower/channels/5/broadcast", text, false)
}

func (d *device) publish(topic, payload string, retained bool) {
	d.t.Helper()
	require.NoError(d.t, d.wait(d.client.Publish(topic, 1, retained, payload)))
}

// hears waits for a message with this payload, over all others, and returns its topic.
func (d *device) hears(payload string) string {
	d.t.Helper()
	for late := time.After(house.Patience); ; {
		select {
		case m := <-d.inbox:
			if m.payload == payload {
				return m.topic
			}
		case <-late:
			require.Fail(d.t, "the device does not hear "+payload)
		}
	}
}

// heard returns what it heard since the last call and has not been waited for.
func (d *device) heard() (all []heard) {
	for {
		select {
		case m := <-d.inbox:
			all = append(all, m)
		default:
			return all
		}
	}
}
