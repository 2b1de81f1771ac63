package gateway_test

import (
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/wire/frame"
)

// entrance is a way to show the gateway a key, from an address of loopback.
type entrance struct {
	name     string
	via      bridge.Protocol
	reason   auth.Reason
	right    string
	show     func(r *running, from, key string) string
	datagram bool // whose source can be forged
}

var entrances = []entrance{
	{name: "http", via: viaHTTP, reason: auth.WrongKey, right: key, show: showHTTP},
	{name: "operator's key", via: viaHTTP, reason: auth.WrongKey, right: "an admin key", show: showOperator(`{"key":%q}`)},
	{name: "operator's password", via: viaHTTP, reason: auth.WrongPassword, right: "guest-pass", show: showOperator(`{"user":"guest","password":%q}`)},
	{name: "mqtt 3.1.1", via: viaMQTT, reason: auth.WrongKey, right: key, show: showMQTT(4, "x")},
	{name: "mqtt 5", via: viaMQTT, reason: auth.WrongKey, right: key, show: showMQTT(5, "x")},
	{name: "mqtt user", via: viaMQTT, reason: auth.WrongPassword, right: "guest-pass", show: showMQTT(5, "guest")},
	{name: "mqtt over websocket", via: viaMQTT, reason: auth.WrongKey, right: key, show: showSocket},
	{name: "irc", via: viaIRC, reason: auth.WrongKey, right: key, show: showIRC("")},
	{name: "irc user", via: viaIRC, reason: auth.WrongPassword, right: "guest-pass", show: showIRC("guest:")},
	{name: "tcp K", via: viaTCP, reason: auth.WrongKey, right: key, show: showWire("tcp", basicKey)},
	{name: "tcp r", via: viaTCP, reason: auth.WrongKey, right: key, show: showWire("tcp", register)},
	{name: "udp K", via: viaUDP, reason: auth.WrongKey, right: key, show: showWire("udp", basicKey), datagram: true},
	{name: "udp r", via: viaUDP, reason: auth.WrongKey, right: key, show: showWire("udp", register), datagram: true},
}

// from dials from an address of loopback.
func from(network, address string) *net.Dialer {
	if network == "udp" {
		return &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(address)}}
	}
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: patient}
}

func showHTTP(r *running, address, key string) string {
	return r.postFrom(address, "/register", fmt.Sprintf(`{"secret_key":%q}`, key))
}

func showOperator(body string) func(*running, string, string) string {
	return func(r *running, address, key string) string {
		return r.postFrom(address, "/operator/session", fmt.Sprintf(body, key))
	}
}

func (r *running) postFrom(address, path, body string) string {
	client := &nethttp.Client{Transport: &nethttp.Transport{DialContext: from("tcp", address).DialContext, DisableKeepAlives: true}, Timeout: patient}
	res, err := client.Post("http://"+r.at.HTTP+path, "application/json", strings.NewReader(body))
	require.NoError(r.t, err)
	defer res.Body.Close()
	if res.StatusCode == 429 {
		assert.NotEmpty(r.t, res.Header.Get("Retry-After"))
	}
	return map[int]string{200: in, 401: wrong, 429: later}[res.StatusCode]
}

// connectAs is a CONNECT.
func connectAs(version byte, user, password string) []byte {
	properties := ""
	if version == 5 {
		properties = "\x00"
	}
	body := basicFrame("\x00\x04MQTT", version, "\xc2\x00\x3c"+properties, "\x00\x00", byte(0), byte(len(user)), user, byte(0), byte(len(password)), password)
	return basicFrame(byte(0x10), byte(len(body)), body)
}

// connack reads the answer to a CONNECT.
func connack(t testing.TB, version byte, conn io.Reader) string {
	b := make([]byte, 4)
	_, err := io.ReadFull(conn, b)
	require.NoError(t, err)
	code := map[byte]string{0: in, 4: wrong, 3: later}
	if version == 5 {
		code = map[byte]string{0: in, 0x86: wrong, 0x9f: later, 0x89: "busy"}
	}
	return code[b[3]]
}

func showMQTT(version byte, user string) func(*running, string, string) string {
	return func(r *running, address, password string) string {
		conn, err := from("tcp", address).Dial("tcp", r.at.MQTT)
		require.NoError(r.t, err)
		defer conn.Close()
		require.NoError(r.t, conn.SetDeadline(time.Now().Add(patient)))
		_, err = conn.Write(connectAs(version, user, password))
		require.NoError(r.t, err)
		return connack(r.t, version, conn)
	}
}

func showSocket(r *running, address, password string) string {
	return r.socket(address, password, nil)
}

func (r *running) socket(address, password string, header nethttp.Header) string {
	dial := websocket.Dialer{NetDial: from("tcp", address).Dial, Subprotocols: []string{"mqtt"}, HandshakeTimeout: patient}
	conn, res, err := dial.Dial("ws://"+r.at.HTTP+"/mqtt", header)
	if err != nil && res != nil && res.StatusCode == 429 {
		return later
	}
	require.NoError(r.t, err)
	defer conn.Close()
	require.NoError(r.t, conn.WriteMessage(websocket.BinaryMessage, connectAs(5, "x", password)))
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	_, message, err := conn.NextReader()
	require.NoError(r.t, err)
	return connack(r.t, 5, message)
}

func basicKey(key string) []byte { return basicFrame("K", byte(len(key)), key) }

func register(key string) []byte { return registerWith(key, [8]byte{}) }

func registerWith(key string, cookie [8]byte) []byte {
	return frame.AppendRegister(nil, frame.Registration{Version: frame.Version, KeepAlive: 60, MaxDatagram: 1200, CNonce: [8]byte{1}, Cookie: cookie}, deviceKey(key))
}

// deviceKeys are those that were derived: it takes long, and is meant to.
var deviceKeys sync.Map

func deviceKey(secret string) frame.Key {
	if k, ok := deviceKeys.Load(secret); ok {
		return k.(frame.Key)
	}
	k := frame.DeviceKey(secret)
	deviceKeys.Store(secret, k)
	return k
}

func showWire(network string, request func(string) []byte) func(*running, string, string) string {
	return func(r *running, address, key string) string {
		conn := r.wireFrom(network, address)
		defer conn.Close()
		said, _ := r.askFor(conn, map[string]bridge.Protocol{"udp": viaUDP, "tcp": viaTCP}[network], request(key))
		return said
	}
}

func (r *running) wireFrom(network, address string) net.Conn {
	conn, err := from(network, address).Dial(network, map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network])
	require.NoError(r.t, err)
	return conn
}

// askFor sends a frame, and finds out what came of it: by the answer, or by what was
// counted, since E and silence say too little.
func (r *running) askFor(conn net.Conn, via bridge.Protocol, request []byte) (said string, answer []byte) {
	gate := r.g.Gate()
	wrongs, waits := gate.Refused(via, auth.WrongKey), gate.Refused(via, auth.Waiting)
	_, err := conn.Write(request)
	require.NoError(r.t, err)
	answer = make([]byte, 100)
	eventually(r.t, "a key is answered or counted", func() bool {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		n, err := conn.Read(answer)
		if err == nil && answer[0] != 'E' {
			said, answer = in, answer[:n]
			return true
		}
		switch {
		case gate.Refused(via, auth.WrongKey) > wrongs:
			said = wrong
		case gate.Refused(via, auth.Waiting) > waits:
			said = later
		}
		return said != ""
	})
	return said, answer
}
