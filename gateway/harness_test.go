package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/gateway"
	"watchtower/http"
	"watchtower/http/contract"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(built)
		os.Exit(code)
	}))
}

const (
	key     = "correct horse battery"
	patient = 15 * time.Second // longest that a test waits for something that has to happen
	lenient = time.Minute      // the same where no setting is looked at, for a machine that is busy
)

// running is a whole gateway on loopback.
type running struct {
	t    testing.TB
	g    *gateway.Gateway
	cfg  config.Config
	at   addresses
	log  *syncBuffer
	stop func()
}

// syncBuffer keeps what was logged.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// freeAddress is an address that nobody listens at, for what stops there and starts again.
// Its port is none of those that the system gives out, so nobody gets it meanwhile.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		at := fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(20_000))
		tcp, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		tcp.Close()
		udp, err := net.ListenPacket("udp", at)
		if err != nil {
			continue
		}
		udp.Close()
		return at
	}
	require.Fail(t, "no port is free")
	return ""
}

func testConfig(t testing.TB) config.Config {
	cfg := config.Default()
	cfg.HTTP.Listen, cfg.UDP.Listen, cfg.TCP.Listen, cfg.MQTT.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.DataDir = t.TempDir()
	cfg.SecretKey = key
	cfg.Callbacks.Allow = []string{"127.0.0.1"}
	return cfg
}

// start runs a gateway until the test ends.
func start(t testing.TB, change func(*config.Config)) *running {
	t.Helper()
	cfg := testConfig(t)
	if change != nil {
		change(&cfg)
	}
	return startWith(t, cfg)
}

func startWith(t testing.TB, cfg config.Config, before ...func(*gateway.Gateway)) *running {
	t.Helper()
	return startWithOptions(t, cfg, nil, before...)
}

func startWithOptions(t testing.TB, cfg config.Config, options []gateway.Option, before ...func(*gateway.Gateway)) *running {
	t.Helper()
	r := &running{t: t, cfg: cfg, log: &syncBuffer{}}
	log := logrus.New()
	log.SetOutput(r.log)
	log.SetLevel(logrus.DebugLevel)
	var err error
	r.g, err = gateway.New(cfg, log, options...)
	require.NoError(t, err)
	for _, f := range before {
		f(r.g)
	}
	require.NoError(t, r.g.Listen())
	r.at = addressesOf(r.g)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.g.Serve(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(func() { r.stop(); isAsDescribed(t) })
	return r
}

func (r *running) dropped(p bridge.Protocol, reason bridge.Reason) int {
	return int(r.g.Hub().Counters().Dropped(p, reason))
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patient, 5*time.Millisecond, what)
}

// received is one message as a device got it.
type received struct {
	from, channel uint32
	sent          bool
	data          string
}

// device is a client of some protocol, registered and joined to channel 5.
type device struct {
	name      string
	id        uint32
	inbox     chan received
	broadcast func(channel uint32, data []byte)
	send      func(channel, to uint32, data []byte)
}

func (d *device) next(t testing.TB) received {
	t.Helper()
	select {
	case m := <-d.inbox:
		return m
	case <-time.After(lenient):
		require.Fail(t, d.name+" got nothing")
		return received{}
	}
}

func u32(v ...uint32) (b []byte) {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

func basicFrame(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case byte:
			b = append(b, p)
		case uint32:
			b = append(b, u32(p)...)
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

// wire is a device on UDP or TCP, with nothing but a socket.
func (r *running) wire(network string) *device {
	r.t.Helper()
	addr := map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network]
	conn, err := net.Dial(network, addr)
	require.NoError(r.t, err)
	d := &device{name: network, inbox: make(chan received, 10000)}
	in := bufio.NewReaderSize(conn, 70000)
	ask := func(request []byte, n int) []byte {
		_, err := conn.Write(request)
		require.NoError(r.t, err)
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		b := make([]byte, n)
		_, err = io.ReadFull(in, b)
		require.NoError(r.t, err)
		return b
	}
	d.id = binary.LittleEndian.Uint32(ask(basicFrame("K", byte(len(key)), key), 5)[1:])
	require.Equal(r.t, basicFrame("A", uint32(5)), ask(basicFrame("J", d.id, uint32(5)), 5))
	_ = conn.SetReadDeadline(time.Time{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			head := make([]byte, 15)
			if _, err := io.ReadFull(in, head); err != nil || head[0] != 'M' {
				return
			}
			data := make([]byte, binary.LittleEndian.Uint32(head[11:]))
			if _, err := io.ReadFull(in, data); err != nil {
				return
			}
			d.inbox <- received{binary.LittleEndian.Uint32(head[1:]), binary.LittleEndian.Uint32(head[5:]), head[9] == 1, string(data)}
		}
	})
	r.t.Cleanup(func() { conn.Close(); reading.Wait() })
	d.broadcast = func(channel uint32, data []byte) {
		_, err := conn.Write(basicFrame("M", d.id, channel, uint32(len(data)), data))
		require.NoError(r.t, err)
	}
	d.send = func(channel, to uint32, data []byte) {
		_, err := conn.Write(basicFrame("S", d.id, channel, byte(1), to, uint32(len(data)), data))
		require.NoError(r.t, err)
	}
	return d
}

// call makes an HTTP request and returns status and body.
func (r *running) call(method, path, contentType, body string, header ...string) (int, string) {
	r.t.Helper()
	req, err := nethttp.NewRequest(method, "http://"+r.at.HTTP+path, strings.NewReader(body))
	require.NoError(r.t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := web.Do(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return res.StatusCode, string(b)
}

// described is what every request and answer over HTTP is held against.
var described = func() *contract.Contract {
	c, err := contract.New(http.OpenAPI)
	if err != nil {
		panic(err)
	}
	return c
}()

// undescribed is what was not as described, until a test that ends is blamed.
var undescribed = make(chan error, 100)

// web keeps no connection open, so that none outlives its test.
var web = &nethttp.Client{
	Transport: described.Transport(&nethttp.Transport{DisableKeepAlives: true}, func(err error) {
		select {
		case undescribed <- err:
		default: // a hundred are enough
		}
	}),
	Timeout: 2 * patient,
}

// isAsDescribed fails the test if something was not.
func isAsDescribed(t testing.TB) {
	for {
		select {
		case err := <-undescribed:
			t.Error(err)
		default:
			return
		}
	}
}

// post posts JSON and requires 200.
func (r *running) post(path, body string, into any) {
	r.t.Helper()
	status, answer := r.call("POST", path, "application/json", body)
	require.Equal(r.t, 200, status, answer)
	if into != nil {
		require.NoError(r.t, json.Unmarshal([]byte(answer), into))
	}
}

type registration struct {
	ID    uint32
	Token string
}

func (r *running) register(name string) (reg registration) {
	r.t.Helper()
	body := fmt.Sprintf(`{"secret_key":%q}`, key)
	if name != "" {
		body = fmt.Sprintf(`{"secret_key":%q,"name":%q}`, key, name)
	}
	r.post("/register", body, &reg)
	return reg
}

// httpSender gives a device the verbs of HTTP.
func (r *running) httpSender(d *device) {
	d.id = r.register("").ID
	d.broadcast = func(channel uint32, data []byte) {
		status, answer := r.call("POST", fmt.Sprintf("/broadcast?channels=%d&sender=%d", channel, d.id), "application/octet-stream", string(data))
		require.Equal(r.t, 200, status, answer)
	}
	d.send = func(channel, to uint32, data []byte) {
		status, answer := r.call("POST", fmt.Sprintf("/send?channels=%d&sender=%d&receivers=%d", channel, d.id, to), "application/octet-stream", string(data))
		require.Equal(r.t, 200, status, answer)
	}
}

// line reads a message as HTTP shows it.
func line(t testing.TB, b []byte) received {
	var m struct {
		Type            string
		Channel, Sender uint32
		Message         any
		Encoding        string
	}
	require.NoError(t, json.Unmarshal(b, &m), string(b))
	require.NoError(t, described.Check("Heard", b))
	text, _ := m.Message.(string)
	if m.Encoding == "base64" {
		raw, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		text = string(raw)
	}
	return received{m.Sender, m.Channel, m.Type == "send", text}
}

// stream is a device that follows a stream.
func (r *running) stream() *device {
	r.t.Helper()
	d := &device{name: "stream", inbox: make(chan received, 10000)}
	r.httpSender(d)
	r.follow(fmt.Sprintf("channels=5&sender=%d", d.id), func(b []byte) { d.inbox <- line(r.t, b) })
	return d
}

// follow opens a stream, and returns once it is joined.
func (r *running) follow(query string, each func([]byte)) (end func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := nethttp.NewRequestWithContext(ctx, "GET", "http://"+r.at.HTTP+"/channels/join?"+query, nil)
	require.NoError(r.t, err)
	res, err := (&nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(r.t, err)
	require.Equal(r.t, 200, res.StatusCode)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer res.Body.Close()
		in := bufio.NewReaderSize(res.Body, 200000)
		for {
			b, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			if len(b) > 1 {
				each(b)
			}
		}
	})
	end = func() { cancel(); reading.Wait() }
	r.t.Cleanup(end)
	return end
}

// callback is a device whose messages are posted to it.
func (r *running) callback() *device {
	r.t.Helper()
	d := &device{name: "callback", inbox: make(chan received, 10000)}
	r.httpSender(d)
	receiver := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, req *nethttp.Request) {
		b, err := io.ReadAll(req.Body)
		if err == nil {
			d.inbox <- line(r.t, b)
		}
	}))
	r.t.Cleanup(func() { receiver.CloseClientConnections(); receiver.Close() })
	r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":%q}`, d.id, receiver.URL), nil)
	return d
}

// paho is a device on MQTT 3.1.1, by a client that knows nothing of us.
func (r *running) paho(name string) *device {
	r.t.Helper()
	d := &device{name: "paho", inbox: make(chan received, 10000)}
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.at.MQTT).SetClientID(name).SetUsername("x").SetPassword(key).SetAutoReconnect(false))
	wait := func(t paho.Token) {
		require.True(r.t, t.WaitTimeout(patient))
		require.NoError(r.t, t.Error())
	}
	wait(c.Connect())
	r.t.Cleanup(func() { c.Disconnect(0) })
	me := make(chan uint32, 1)
	wait(c.Subscribe("watchtower/me", 0, func(_ paho.Client, m paho.Message) {
		var who struct{ ID uint32 }
		_ = json.Unmarshal(m.Payload(), &who)
		me <- who.ID
	}))
	select {
	case d.id = <-me:
	case <-time.After(patient):
		require.Fail(r.t, "nobody said who I am")
	}
	wait(c.Subscribe("watchtower/channels/5/#", 1, func(_ paho.Client, m paho.Message) { d.inbox <- onTopic(m.Topic(), string(m.Payload())) }))
	d.broadcast = func(channel uint32, data []byte) {
		wait(c.Publish(fmt.Sprintf("watchtower/channels/%d/broadcast", channel), 1, false, data))
	}
	d.send = func(channel, to uint32, data []byte) {
		wait(c.Publish(fmt.Sprintf("watchtower/channels/%d/send/%d", channel, to), 1, false, data))
	}
	return d
}

func onTopic(topic, data string) received {
	l := strings.Split(topic, "/")
	n := func(s string) uint32 { v, _ := strconv.ParseUint(s, 10, 32); return uint32(v) }
	return received{n(l[len(l)-1]), n(l[2]), l[3] == "send", data}
}

// program finds a program that the tests need, or fails and says how to get it.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "%s is missing: make setup installs it", name)
	return path
}

// mosquitto is a device of Debian's mosquitto-clients, on MQTT 5.
func (r *running) mosquitto(name string) *device {
	r.t.Helper()
	d := &device{name: "mosquitto", inbox: make(chan received, 10000)}
	host, port, err := net.SplitHostPort(r.at.MQTT)
	require.NoError(r.t, err)
	args := []string{"-V", "mqttv5", "-h", host, "-p", port, "-u", "x", "-P", key, "-q", "1"}
	sub := exec.Command(program(r.t, "mosquitto_sub"), append(args, "-i", name, "-F", "%t %x", "-t", "watchtower/me", "-t", "watchtower/channels/5/#")...)
	out, err := sub.StdoutPipe()
	require.NoError(r.t, err)
	require.NoError(r.t, sub.Start())
	me := make(chan uint32, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		in := bufio.NewScanner(out)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			topic, text, _ := strings.Cut(in.Text(), " ")
			data, _ := hex.DecodeString(text)
			if topic == "watchtower/me" {
				var who struct{ ID uint32 }
				_ = json.Unmarshal(data, &who)
				me <- who.ID
				continue
			}
			d.inbox <- onTopic(topic, string(data))
		}
	})
	r.t.Cleanup(func() { _ = sub.Process.Kill(); reading.Wait(); _ = sub.Wait() })
	select {
	case d.id = <-me:
	case <-time.After(patient):
		require.Fail(r.t, "mosquitto_sub was not told who it is")
	}
	publish := func(topic string, data []byte) {
		token := r.register(name).Token // the same sender, by a connection of its own
		pub := exec.Command(program(r.t, "mosquitto_pub"), "-V", "mqttv5", "-h", host, "-p", port, "-u", "x", "-P", token, "-i", name+"-pub", "-q", "1", "-t", topic, "-s")
		if len(data) == 0 {
			pub.Args[len(pub.Args)-1] = "-n"
		}
		pub.Stdin = bytes.NewReader(data)
		b, err := pub.CombinedOutput()
		require.NoError(r.t, err, string(b))
	}
	d.broadcast = func(channel uint32, data []byte) {
		publish(fmt.Sprintf("watchtower/channels/%d/broadcast", channel), data)
	}
	d.send = func(channel, to uint32, data []byte) {
		publish(fmt.Sprintf("watchtower/channels/%d/send/%d", channel, to), data)
	}
	return d
}

// run runs a program to its end and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}
