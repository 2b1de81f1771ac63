package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
	"watchtower/wire/frame"
)

// What a door says to who shows a key.
const (
	in    = "in"
	wrong = "wrong"
	later = "later"
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

// connack reads what a CONNECT is answered.
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

// tries is limits.failures in these tests.
const tries = 5

// guarded is a gateway with five tries, of which none is forgiven for an hour.
func guarded(t *testing.T) *running {
	return start(t, func(c *config.Config) {
		c.Limits.Failures, c.Limits.FailureInterval = tries, time.Hour
		c.Users = map[string]config.User{"guest": {PasswordHash: hashed(t, "guest-pass"), Role: "manage"}}
		c.AdminKey = "an admin key"
	})
}

// registered are devices of every protocol, on channel 5. What they return fails
// the test if one does not reach the others.
func (r *running) registered() (goOn func()) {
	sender := r.register("")
	r.post("/channels/join", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, sender.ID), nil)
	listener := r.stream()
	devices := []*device{r.paho("old"), r.wire("tcp"), r.wire("udp"), r.session("tcp"), r.session("udp")}
	n := 0
	return func() {
		n++
		for _, d := range devices {
			d.broadcast(5, fmt.Appendf(nil, "%s %d", d.name, n))
			want := fmt.Sprintf("%s %d", d.name, n)
			for _, other := range append([]*device{listener}, devices...) {
				for got := ""; got != want; {
					got = other.next(r.t).data
				}
			}
		}
		status, answer := r.call("POST", "/broadcast", "", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"web %d"}`, sender.ID, n), "Authorization", "Bearer "+sender.Token)
		require.Equal(r.t, 200, status, answer)
		for got := ""; got != fmt.Sprint("web ", n); {
			got = listener.next(r.t).data
		}
	}
}

// warnings counts the lines about an address that has to wait.
func (r *running) warnings() (lines []string) {
	for l := range strings.Lines(r.log.String()) {
		if strings.Contains(l, "setting=limits.failures") {
			lines = append(lines, l)
		}
	}
	return lines
}

// Whoever is wrong too often at one door waits at all of them, with the right key
// too; nobody else does.
func TestEveryDoorHasOneLimit(t *testing.T) {
	t.Parallel()
	for _, d := range entrances {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			r := guarded(t)
			goOn := r.registered()
			for range tries {
				require.Equal(t, wrong, d.show(r, "127.0.0.1", "wrong"))
			}
			require.Empty(t, r.warnings())
			if d.name == "udp r" { // this address has proved itself: nobody locks it out
				require.Equal(t, in, d.show(r, "127.0.0.1", d.right))
				for range tries {
					require.Equal(t, wrong, d.show(r, "127.0.0.9", "wrong"))
				}
				require.Equal(t, later, d.show(r, "127.0.0.9", d.right))
			} else {
				require.Equal(t, later, d.show(r, "127.0.0.1", d.right), "the right key waits too")
				require.Equal(t, later, d.show(r, "127.0.0.1", "wrong"))
			}
			for _, other := range entrances {
				if d.datagram {
					if !other.datagram {
						assert.Equal(t, in, other.show(r, "127.0.0.1", other.right), "%s: a forger closes no other door", other.name)
					}
					continue
				}
				assert.Equal(t, later, other.show(r, "127.0.0.1", other.right), other.name)
				assert.Equal(t, in, other.show(r, "127.0.0.2", other.right), "%s from elsewhere", other.name)
			}
			goOn()
			_, metrics := r.call("GET", "/metrics", "", "")
			assert.NotContains(t, metrics, fmt.Sprintf("watchtower_refused_total{protocol=%q,reason=\"waiting\"} 0\n", d.via))
			counted := tries
			if d.name == "udp r" {
				counted = 2 * tries
			}
			assert.Contains(t, metrics, fmt.Sprintf("watchtower_refused_total{protocol=%q,reason=%q} %d\n", d.via, d.reason, counted))
			lines := r.warnings()
			require.Len(t, lines, 1)
			assert.Regexp(t, fmt.Sprintf(`protocols="?[a-z,]*%s`, d.via), lines[0])
			if !d.datagram {
				assert.Contains(t, lines[0], "address=127.0.0.1 ")
				assert.Contains(t, lines[0], fmt.Sprintf("tries=%d", tries+1))
			}
		})
	}
}

// A key that is missing is no guess.
func TestNoKeyIsNoGuess(t *testing.T) {
	r := guarded(t)
	for range 2 * tries {
		assert.Equal(t, wrong, showMQTT(4, "x")(r, "127.0.0.1", ""))
		status, _ := r.call("POST", "/register", "", `{}`)
		assert.Equal(t, 401, status)
	}
	assert.Equal(t, in, showMQTT(4, "x")(r, "127.0.0.1", key))
}

func TestBehindATrustedProxyTheClientCounts(t *testing.T) {
	r := start(t, func(c *config.Config) {
		c.Limits.Failures, c.Limits.FailureInterval = tries, time.Hour
		c.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	})
	behind := func(client string) nethttp.Header { return nethttp.Header{"X-Forwarded-For": {client}} }
	for range tries {
		require.Equal(t, wrong, r.socket("127.0.0.2", "wrong", behind("192.0.2.1")))
	}
	assert.Equal(t, later, r.socket("127.0.0.2", key, behind("192.0.2.1")))
	assert.Equal(t, in, r.socket("127.0.0.2", key, behind("192.0.2.2")))
	assert.Equal(t, in, showMQTT(5, "x")(r, "127.0.0.2", key), "the proxy's own address")
	assert.NotContains(t, strings.Join(r.warnings(), ""), "trusted_proxies")
	for range tries { // one that nobody named
		require.Equal(t, wrong, r.socket("127.0.0.3", "wrong", behind("192.0.2.3")))
	}
	assert.Equal(t, later, r.socket("127.0.0.3", key, behind("192.0.2.4")))
	assert.Contains(t, strings.Join(r.warnings(), ""), "http.trusted_proxies")
}

// Whoever forges sources closes K to those whom the gateway has not met, and
// nothing else.
func TestForgedSourcesLockOutNobodyWhoProvedHisAddress(t *testing.T) {
	r := guarded(t)
	goOn := r.registered() // from 127.0.0.1
	udpK, udpR := showWire("udp", basicKey), showWire("udp", register)
	for i := range 4 * tries {
		said := udpK(r, fmt.Sprintf("127.3.%d.1", i), "wrong")
		assert.Equal(t, i < tries, said == wrong, "%d: %s", i, said)
	}
	assert.Equal(t, later, udpK(r, "127.4.0.1", key), "nobody has met it")
	assert.Equal(t, in, udpK(r, "127.0.0.1", key), "this one has proved its address")
	assert.Equal(t, in, udpR(r, "127.4.0.1", key), "which it can do with a session")
	assert.Equal(t, in, udpR(r, "127.3.0.1", key), "wrong K hinder no r from the same source")
	for _, d := range entrances {
		if !d.datagram {
			assert.Equal(t, in, d.show(r, "127.3.0.1", d.right), d.name)
		}
	}

	half := r.wireFrom("udp", "127.5.0.1") // has a cookie, when its source is drained
	defer half.Close()
	said, answer := r.askFor(half, viaUDP, register(key))
	require.Equal(t, in, said)
	c, err := frame.Parse(answer)
	require.NoError(t, err)
	_, cookie, err := frame.ParseCookie(c.Body)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	for _, address := range []string{"127.0.0.1", "127.5.0.1", "127.5.0.2"} {
		for range tries {
			require.Equal(t, wrong, udpR(r, address, "wrong"))
		}
	}
	assert.Equal(t, later, udpR(r, "127.5.0.2", key))
	assert.Equal(t, later, udpR(r, "127.5.0.1", key), "without the cookie")
	assert.Equal(t, in, udpR(r, "127.0.0.1", key), "it has proved its address")
	said, answer = r.askFor(half, viaUDP, registerWith(key, cookie))
	assert.Equal(t, in, said)
	assert.Equal(t, byte(frame.Answer), answer[0])
	assert.Equal(t, in, udpR(r, "127.5.0.1", key), "it has a session now")
	again, err := session.Dial(ctx, "udp", r.at.UDP, session.Options{Secret: key})
	require.NoError(t, err, "a device that comes back")
	require.NoError(t, again.Close(ctx))
	goOn()
}

// watchedCost makes bcrypt as slow under the race detector as it is at its default cost
// without.
const watchedCost = bcrypt.DefaultCost - 2

// The right password gets in while hundreds of connections give wrong ones for the
// same user, from elsewhere and from next door.
func TestTheRightPasswordGetsInDuringAnAttack(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("guest-pass"), watchedCost)
	require.NoError(t, err)
	r := start(t, func(c *config.Config) {
		c.Users = map[string]config.User{"guest": {PasswordHash: string(hash)}}
	})
	const attackers = 800
	var attack, connected sync.WaitGroup
	var busy, over atomic.Int64
	stop := make(chan struct{})
	for i := range attackers {
		address := fmt.Sprintf("127.0.0.%d", 2+i%250) // next door
		if i%2 == 0 {
			address = fmt.Sprintf("127.9.%d.%d", i%8, 1+i/8%250)
		}
		connected.Add(1)
		attack.Go(func() {
			conn, err := from("tcp", address).Dial("tcp", r.at.MQTT)
			if err != nil {
				connected.Done()
				return
			}
			defer conn.Close()
			_, _ = conn.Write(connectAs(5, "guest", fmt.Sprint("wrong ", i)))
			connected.Done()
			attack.Go(func() { <-stop; conn.Close() })
			b := make([]byte, 4)
			if _, err := io.ReadFull(bufio.NewReader(conn), b); err == nil {
				assert.NotZero(t, b[3])
				if b[3] == 0x89 {
					busy.Add(1)
				}
			}
			over.Add(1)
		})
	}
	connected.Wait()
	hashed := r.g.Gate().Refused(viaMQTT, auth.WrongPassword)
	began := time.Now()
	told := showMQTT(5, "guest")(r, "127.0.0.1", "guest-pass")
	for told != in && time.Since(began) < time.Minute { // a slow machine may be busy, and says so; a client comes again
		require.Equal(t, "busy", told, "never that it is wrong")
		told = showMQTT(5, "guest")(r, "127.0.0.1", "guest-pass")
	}
	took := time.Since(began)
	assert.Equal(t, in, told)
	t.Logf("the right password took %s: %d wrong ones were hashed before it came, %d until it was known, %d of %d connections were there still", took,
		hashed, r.g.Gate().Refused(viaMQTT, auth.WrongPassword)-hashed, attackers-over.Load(), attackers)
	began = time.Now()
	assert.Equal(t, in, showMQTT(4, "guest")(r, "127.0.0.1", "guest-pass"))
	assert.Less(t, time.Since(began), r.cfg.MQTT.ConnectTimeout, "who was right once does not wait for a hash")
	close(stop)
	attack.Wait()
	_, metrics := r.call("GET", "/metrics", "", "")
	assert.NotContains(t, metrics, `watchtower_refused_total{protocol="mqtt",reason="wrong_password"} 0`+"\n")
}
