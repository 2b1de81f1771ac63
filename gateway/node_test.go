package gateway_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

const nodeClient = "../testdata/node"

// nodeOptions are how the client of testdata/node connects.
type nodeOptions struct {
	URL      string `json:"url"`
	ClientID string `json:"clientId"`
	Username string `json:"username,omitempty"`
	Password string `json:"password"`
	Clean    bool   `json:"clean"`
	Version  int    `json:"version"`
	CA       string `json:"ca,omitempty"`
}

// node is a process with the mqtt package of npm.
type node struct {
	t     testing.TB
	in    io.Writer
	lines chan []string // what it says, by words; nil at the end
	early [][]string    // what it said while something else was waited for
	last  int
}

func startNode(t testing.TB, o nodeOptions, filters ...string) *node {
	t.Helper()
	options, err := json.Marshal(o)
	require.NoError(t, err)
	return nodeProgram(t, append([]string{nodeClient + "/client.js", string(options)}, filters...)...)
}

// nodeProgram runs a script with the packages of npm.
func nodeProgram(t testing.TB, args ...string) *node {
	t.Helper()
	_, err := os.Stat(nodeClient + "/node_modules/mqtt")
	require.NoError(t, err, "make setup installs it")
	cmd := exec.Command(program(t, "node"), args...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	n := &node{t: t, in: in, lines: make(chan []string, 100000)}
	var reading sync.WaitGroup
	reading.Go(func() {
		scan := bufio.NewScanner(out)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			n.lines <- strings.Split(scan.Text(), " ")
		}
		close(n.lines)
	})
	t.Cleanup(func() { _ = cmd.Process.Kill(); reading.Wait(); _ = cmd.Wait() })
	return n
}

// next returns the words of the next line that begins with what. It keeps other lines.
func (n *node) next(what string) []string {
	n.t.Helper()
	for i, words := range n.early {
		if words[0] == what {
			n.early = slices.Delete(n.early, i, i+1)
			return words
		}
	}
	late := time.After(patient)
	for {
		select {
		case words, ok := <-n.lines:
			require.True(n.t, ok, "node ended")
			if words[0] == what {
				return words
			}
			n.early = append(n.early, words)
		case <-late:
			require.Fail(n.t, "node never said "+what)
		}
	}
}

func (n *node) publish(topic string, retain bool, data []byte) {
	n.last++
	r := "0"
	if retain {
		r = "1"
	}
	fmt.Fprintf(n.in, "publish %d %s 1 %s %s\n", n.last, topic, r, hex.EncodeToString(data))
}

// webSocket is a device with npm's mqtt over WebSocket, as a web page has it.
func (r *running) webSocket(name string) *device {
	d := &device{name: "node over WebSocket", inbox: make(chan received, 10000)}
	n := startNode(r.t, nodeOptions{URL: "ws://" + r.at.HTTP + "/mqtt", ClientID: name, Password: key, Clean: true, Version: 5}, "watchtower/me", "watchtower/channels/5/#")
	var who struct{ ID uint32 }
	data, err := hex.DecodeString(n.next("message")[5])
	require.NoError(r.t, err)
	require.NoError(r.t, json.Unmarshal(data, &who))
	d.id = who.ID
	n.next("subscribed")
	acked := make(chan string, 100)
	go func() { // ends with the process
		for words := range n.lines {
			switch words[0] {
			case "message":
				data, _ := hex.DecodeString(words[5])
				d.inbox <- onTopic(words[1], string(data))
			case "acked":
				acked <- words[1]
			}
		}
	}()
	publish := func(topic string, data []byte) {
		n.publish(topic, false, data)
		select {
		case <-acked:
		case <-time.After(patient):
			require.Fail(r.t, "not acknowledged")
		}
	}
	d.broadcast = func(channel uint32, data []byte) {
		publish(fmt.Sprintf("watchtower/channels/%d/broadcast", channel), data)
	}
	d.send = func(channel, to uint32, data []byte) {
		publish(fmt.Sprintf("watchtower/channels/%d/send/%d", channel, to), data)
	}
	return d
}

// Both versions, by ws:// and wss://, with a message larger than a frame.
func TestMQTTOverWebSocket(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server")
	r := start(t, a.config)
	for _, version := range []int{4, 5} {
		for _, url := range []string{"ws://" + r.at.HTTP, "wss://" + r.at.HTTPS, "mqtts://" + r.at.MQTTS} {
			if !strings.HasPrefix(url, "mqtts") {
				url += "/mqtt"
			}
			id := fmt.Sprintf("page-%d-%s", version, strings.Split(url, ":")[0])
			n := startNode(t, nodeOptions{URL: url, ClientID: id, Password: key, Clean: true, Version: version, CA: a.path("ca")}, "own/#")
			n.next("subscribed")
			large := strings.Repeat("0123456789", 50_000)
			n.publish("own/large", false, []byte(large))
			got := n.next("message")
			require.Equal(t, hex.EncodeToString([]byte(large)), got[5], url)
		}
	}
}

func TestWebSocketHandshake(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	for want, header := range map[string][]string{
		"Upgrade":                nil,
		"Sec-WebSocket-Protocol": upgrade,
		"version":                append([]string{"Sec-WebSocket-Protocol", "mqtt"}, append([]string{"Connection", "Upgrade", "Upgrade", "websocket"}, upgrade[6:]...)...),
	} {
		status, body := r.call("GET", "/mqtt", "", "", header...)
		assert.Equal(t, 400, status, body)
		assert.Contains(t, body, want)
	}
	status, _ := r.call("POST", "/mqtt", "", "")
	assert.Equal(t, 405, status)
}

// A wrong password, a stop of the gateway and limits mean the same on a WebSocket.
func TestWebSocketsAreConnectionsLikeOthers(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Limits.MQTTConnections = 1 })
	n := startNode(t, nodeOptions{URL: "ws://" + r.at.HTTP + "/mqtt", ClientID: "page", Password: key, Clean: true, Version: 5}, "own/#")
	n.next("subscribed")
	_, err := r.pahoClient(nil)
	require.Error(t, err)
	r.overLimit("limits.mqtt_connections")
	began := time.Now()
	r.stop()
	assert.Less(t, time.Since(began), 9*time.Second, "shutdown_timeout is ten")
}
