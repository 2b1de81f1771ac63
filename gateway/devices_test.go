package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

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

// wire is a device on UDP or TCP that uses only a socket.
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
		Message         json.RawMessage
		Encoding        string
	}
	require.NoError(t, json.Unmarshal(b, &m), string(b))
	require.NoError(t, described.Check("Heard", b))
	var text string
	if json.Unmarshal(m.Message, &text) != nil { // no string: JSON as it is
		text = string(m.Message)
	}
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

// paho is a device on MQTT 3.1.1, with a client of another project.
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
