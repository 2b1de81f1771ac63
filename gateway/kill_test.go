//go:build !race

// The program runs in a process of its own here, so the race detector would
// look at the clients only; and paho, resuming, races with itself.

package gateway_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// siege is the program under load. It is killed again and again.
type siege struct {
	*process
	t         *testing.T
	ledger    *ledger
	receivers []*receiver
	over      atomic.Bool // publishers are to stop
	running   sync.WaitGroup
}

func (s *siege) pahoOptions(id string) *paho.ClientOptions {
	return paho.NewClientOptions().AddBroker("tcp://" + s.mqtt).SetClientID(id).SetUsername("x").SetPassword(key).
		SetCleanSession(false).SetStore(paho.NewOrderedMemoryStore()).
		SetAutoReconnect(true).SetMaxReconnectInterval(100 * time.Millisecond).SetConnectRetry(true).SetConnectRetryInterval(50 * time.Millisecond)
}

// publishPaho publishes one message after the other, and notes those that were
// acknowledged.
func (s *siege) publishPaho(name string) {
	c := paho.NewClient(s.pahoOptions("from-" + name))
	c.Connect()
	s.running.Go(func() {
		defer c.Disconnect(100)
		for n := 0; !s.over.Load(); n++ {
			token := c.Publish("ledger/"+name, 1, false, strconv.Itoa(n))
			switch {
			case !token.WaitTimeout(patient):
				s.t.Errorf("%s was never acknowledged for %d", name, n)
				return
			case token.Error() != nil: // paho gives up on it: not acknowledged, so it says nothing of us
				s.t.Logf("%s: %d again: %v", name, n, token.Error())
				n--
			default:
				s.ledger.note(name)
			}
			time.Sleep(3 * time.Millisecond)
		}
	})
}

// publishNode does the same by npm's mqtt over WebSocket.
func (s *siege) publishNode(name string) {
	n := startNode(s.t, nodeOptions{URL: "ws://" + s.http + "/mqtt", ClientID: "from-" + name, Password: key, Version: 5})
	s.running.Go(func() {
		for i := 0; !s.over.Load(); i++ {
			n.publish("ledger/"+name, false, []byte(strconv.Itoa(i)))
			n.next("acked")
			s.ledger.note(name)
		}
	})
}

// publishMosquitto starts mosquitto_pub for each message, until it reports success.
func (s *siege) publishMosquitto(name string) {
	host, port, err := net.SplitHostPort(s.mqtt)
	require.NoError(s.t, err)
	path := program(s.t, "mosquitto_pub")
	s.running.Go(func() {
		for n := 0; !s.over.Load(); {
			err := exec.Command(path, "-V", "mqttv5", "-h", host, "-p", port, "-u", "x", "-P", key, "-i", "from-"+name, "-q", "1", "-t", "ledger/"+name, "-m", strconv.Itoa(n)).Run()
			if err == nil {
				s.ledger.note(name)
				n++
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

func (s *siege) receivePaho(name string) (r *receiver, end func()) {
	r = s.receiver(name)
	end = s.connectPaho(r, true)
	return r, end
}

func (s *siege) connectPaho(r *receiver, subscribe bool) (end func()) {
	o := s.pahoOptions("to-" + r.name)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { r.got(m.Topic(), string(m.Payload())) })
	c := paho.NewClient(o)
	require.NoError(s.t, wait(c.Connect()))
	if subscribe {
		require.NoError(s.t, wait(c.Subscribe("ledger/#", 1, nil)))
	}
	return func() { c.Disconnect(100) }
}

func (s *siege) receiveNode(name string) {
	r := s.receiver(name)
	n := startNode(s.t, nodeOptions{URL: "mqtt://" + s.mqtt, ClientID: "to-" + name, Password: key, Version: 4}, "ledger/#")
	n.next("subscribed")
	go func() { // ends with the process
		for words := range n.lines {
			if words[0] == "message" {
				data, _ := hex.DecodeString(words[5])
				r.got(words[1], string(data))
			}
		}
	}()
}

// receiveMosquitto keeps a mosquitto_sub with a persistent session running.
func (s *siege) receiveMosquitto(name string) {
	r := s.receiver(name)
	host, port, err := net.SplitHostPort(s.mqtt)
	require.NoError(s.t, err)
	path := program(s.t, "mosquitto_sub")
	stop := make(chan struct{})
	var following sync.WaitGroup
	s.t.Cleanup(func() { close(stop); following.Wait() })
	ready := make(chan struct{})
	following.Go(func() {
		for first := true; ; {
			cmd := exec.Command(path, "-V", "mqttv5", "-c", "-x", "3600", "-h", host, "-p", port, "-u", "x", "-P", key, "-i", "to-"+name, "-q", "1", "-t", "ledger/#", "-v")
			out, err := cmd.StdoutPipe()
			if err != nil || cmd.Start() != nil {
				return
			}
			ended := make(chan struct{})
			go func() {
				select {
				case <-stop:
				case <-ended:
				}
				_ = cmd.Process.Kill()
			}()
			for scan := bufio.NewScanner(out); scan.Scan(); {
				if topic, payload, ok := strings.Cut(scan.Text(), " "); ok {
					r.got(topic, payload)
				}
				if first {
					first = false
					close(ready)
				}
			}
			close(ended)
			_ = cmd.Wait()
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	helper := paho.NewClient(s.pahoOptions("helper").SetCleanSession(true))
	require.NoError(s.t, wait(helper.Connect()))
	defer helper.Disconnect(0)
	eventually(s.t, "mosquitto_sub is there", func() bool {
		_ = wait(helper.Publish("ledger/hello", 1, false, "hello"))
		select {
		case <-ready:
			return true
		default:
			return false
		}
	})
}

// plugs are retained topics, as a house of Tasmota plugs has them. Not by paho:
// resuming, it may send a message twice, and takes the second acknowledgement
// for the next message's.
type plugs struct {
	s     *siege
	node  *node
	mu    sync.Mutex         // held while a message is on its way
	acked map[string][]write // by topic
}

type write struct {
	value string // empty: removed
	at    time.Time
}

const plugCount = 200

func (s *siege) plugs() *plugs {
	o := nodeOptions{URL: "mqtt://" + s.mqtt, ClientID: "tasmota", Password: key, Version: 4}
	p := &plugs{s: s, node: startNode(s.t, o), acked: map[string][]write{}}
	s.running.Go(func() {
		for n := 0; !s.over.Load(); n++ {
			p.write(n)
			time.Sleep(time.Millisecond)
		}
	})
	return p
}

func (p *plugs) write(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	topic, value := fmt.Sprintf("tele/plug_%03d/STATE", rand.IntN(plugCount)), strconv.Itoa(n)
	if rand.IntN(10) == 0 {
		value = ""
	}
	p.node.publish(topic, true, []byte(value))
	p.node.next("acked")
	p.acked[topic] = append(p.acked[topic], write{value, time.Now()})
}

// check compares the retained messages with the acknowledged ones.
func (p *plugs) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	host, port, err := net.SplitHostPort(p.s.mqtt)
	require.NoError(p.s.t, err)
	out, _ := exec.Command(program(p.s.t, "mosquitto_sub"), "-h", host, "-p", port, "-u", "x", "-P", key, "-v", "-t", "tele/#", "--retained-only", "-W", "1").Output()
	now := map[string]string{}
	for line := range strings.Lines(string(out)) {
		topic, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		now[topic] = value
	}
	p.s.ledger.mu.Lock()
	defer p.s.ledger.mu.Unlock()
	for topic, writes := range p.acked {
		for i, w := range slices.Backward(writes) {
			if now[topic] == w.value {
				break
			}
			if !p.s.ledger.excused(w.at) {
				assert.Fail(p.s.t, "retained message lost", "%s is %q, but %q was acknowledged at %s, as write %d of %d", topic, now[topic], w.value, w.at, i, len(writes))
				break
			}
		}
	}
}

// Everybody lives through ten kills under load, with nothing lost that was a
// second old. TestLongThreeHundredKills does more of them.
func TestTenKillsUnderLoad(t *testing.T) {
	t.Parallel()
	underSiege(t, 10, nil)
}

// underSiege kills the program so often. More, if it is not nil, begins what else is to
// live through it, and returns what checks that from time to time.
func underSiege(t *testing.T, kills int, more func(*siege) (check func())) {
	s := &siege{process: newProcess(t), t: t, ledger: &ledger{acked: map[string][]time.Time{}}}
	s.args = []string{"--mqtt-session-queue", "1000000", "--mqtt-session-queue-bytes", "1000000000", "--limits-mqtt-queue-bytes", "1000000000", "--allow-callbacks", "127.0.0.1", "--limits-failures", "1000000"}
	s.start()
	s.probe()
	_, end := s.receivePaho("paho")
	defer func() { end() }()
	away, leave := s.receivePaho("away")
	leave()
	s.receiveNode("node")
	s.receiveMosquitto("mosquitto")
	for i := range 3 {
		s.publishPaho(fmt.Sprint("paho", i))
	}
	s.publishNode("node")
	s.publishMosquitto("mosquitto")
	tasmota := s.plugs()
	check := func() {}
	if more != nil {
		check = more(s)
	}

	slowest := time.Duration(0)
	for i := range kills {
		time.Sleep(200*time.Millisecond + rand.N(1500*time.Millisecond))
		s.ledger.killed()
		s.kill()
		s.start()
		s.ledger.answered()
		slowest = max(slowest, s.started)
		if i%10 == 9 {
			tasmota.check()
			check()
		}
		require.False(t, t.Failed(), s.out)
	}
	s.over.Store(true)
	s.running.Wait()
	check()
	defer s.connectPaho(away, false)() // it was away all the time
	s.verify()
	t.Logf("slowest start: %s", slowest)
}
