package gateway_test

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/channelmap"
	"watchtower/config"
	"watchtower/mqtt"
	"watchtower/udp"
	"watchtower/wire/basic"
	wiresession "watchtower/wire/session"
)

// Every reason for a drop has a test that provokes it through a running
// gateway and finds it in the metrics.
var reasonTests = map[bridge.Reason]struct {
	protocol bridge.Protocol
	provoke  func(*testing.T) *running
}{
	bridge.LinkFull:       {viaUDP, fillUDP},
	bridge.QueueFull:      {viaHTTP, fillStream},
	bridge.TooLarge:       {viaUDP, tooLargeForUDP},
	bridge.Malformed:      {viaUDP, garbage},
	bridge.Refused:        {viaMQTT, refusedPublish},
	bridge.Away:           {viaHTTP, awayStream},
	bridge.Disconnected:   {viaCallback, leftWithMessages},
	bridge.Failed:         {viaCallback, failedCallback},
	bridge.Expired:        {viaMQTT, expiredMessage},
	udp.Unsendable:        {viaUDP, unsendable},
	basic.Forgotten:       {viaUDP, forgotten},
	bridge.NotConfirmed:   {viaHTTP, unconfirmed},
	bridge.Limit:          {viaMQTT, tooManyRetained},
	bridge.Forged:         {viaUDP, forgedFrame},
	mqtt.Superseded:       {viaMQTT, olderElsewhere},
	wiresession.Duplicate: {viaUDP, doubledFrames},
	wiresession.Elsewhere: {viaUDP, movedDevice},
	wiresession.Unknown:   {viaUDP, lateDelivered},
	wiresession.Truncated: {viaUDP, tooLargeForASession},
	channelmap.Misfit:     {channelmap.Protocol, misfitForAMap},
}

func TestEveryReasonIsProvoked(t *testing.T) {
	t.Parallel()
	advice := text(t, "docs/for-operators.md")
	for _, reason := range bridge.Reasons() {
		assert.Regexp(t, "(?m)^\\|[^|]*`"+reason.String()+"`[^|]*\\|", advice, "operators are not told what to do")
		test, ok := reasonTests[reason]
		if !assert.True(t, ok, "nothing provokes %s", reason) {
			continue
		}
		t.Run(reason.String(), func(t *testing.T) {
			t.Parallel()
			r := test.provoke(t)
			eventually(t, "it is counted", func() bool { return r.dropped(test.protocol, reason) > 0 })
			_, metrics := r.call("GET", "/metrics", "", "")
			row := fmt.Sprintf(`watchtower_drops_total{protocol=%q,reason=%q} `, test.protocol, reason)
			assert.Contains(t, metrics, row)
			assert.NotContains(t, metrics, row+"0\n")
		})
	}
}

// fillUDP makes one device send faster than 200 others can be reached.
func fillUDP(t *testing.T) *running {
	r := start(t, nil)
	for range 200 {
		conn, err := net.Dial("udp", r.at.UDP)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		joinByHand(t, conn)
	}
	loud, err := net.Dial("udp", r.at.UDP)
	require.NoError(t, err)
	defer loud.Close()
	id := joinByHand(t, loud)
	m := basicFrame("M", id, uint32(5), uint32(1000), make([]byte, 1000))
	for i := 0; r.dropped(viaUDP, bridge.LinkFull) == 0; i++ {
		require.Less(t, i, 2_000_000, "the link was never full")
		_, err := loud.Write(m)
		require.NoError(t, err)
	}
	return r
}

// joinByHand registers a socket and joins channel 5.
func joinByHand(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	b := make([]byte, 1500)
	ask := func(request []byte) []byte {
		_, err := conn.Write(request)
		require.NoError(t, err)
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		n, err := conn.Read(b)
		require.NoError(t, err)
		require.Equal(t, 5, n)
		return append([]byte(nil), b[1:5]...)
	}
	id := ask(basicFrame("K", byte(len(key)), key))
	ask(basicFrame("J", id, uint32(5)))
	return id
}

func fillStream(t *testing.T) *running {
	r := start(t, func(c *config.Config) { c.HTTP.StreamQueue = 2 })
	flood := flooder(r)
	stuckStream(r)
	for i := 0; r.dropped(viaHTTP, bridge.QueueFull) == 0; i++ {
		require.Less(t, i, 500)
		flood()
	}
	return r
}

func tooLargeForUDP(t *testing.T) *running {
	r := start(t, nil)
	udp, tcp := r.wire("udp"), r.wire("tcp")
	tcp.broadcast(5, make([]byte, 1186))
	tcp.next(t)
	tcp.broadcast(5, make([]byte, 1185))
	assert.Len(t, udp.next(t).data, 1185, "what fits is delivered")
	assert.Equal(t, 1, r.dropped(viaUDP, bridge.TooLarge))
	return r
}

func garbage(t *testing.T) *running {
	r := start(t, nil)
	conn, err := net.Dial("udp", r.at.UDP)
	require.NoError(t, err)
	defer conn.Close()
	frames := []string{"\x00", "A", "E", "A\x01\x00\x00\x00", "RR", "J", "Z", "W", "W\x00\x00\x00\x00\x00\x00\x01", "P\x01\x02\x03\x04\x05",
		"M\x01\x00\x00\x00\x05\x00\x00\x00\xff\xff\xff\xffx", "r", string(make([]byte, 1201))}
	for _, f := range frames {
		_, err := conn.Write([]byte(f))
		require.NoError(t, err)
	}
	eventually(t, "all are counted", func() bool { return r.malformed() >= len(frames) })
	_, err = conn.Write([]byte("W\x00\x00\x00\x00\x00\x00\x00"))
	require.NoError(t, err)
	b := make([]byte, 100)
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	n, err := conn.Read(b)
	require.NoError(t, err)
	assert.Equal(t, 8, n, "garbage was answered: %q", b[:n])
	return r
}

func refusedPublish(t *testing.T) *running {
	r := start(t, nil)
	c, err := r.pahoClient(nil)
	require.NoError(t, err)
	require.NoError(t, wait(c.Publish("watchtower/channels/5/send/9", 1, false, "x")), "3.1.1 is acknowledged")
	require.NoError(t, wait(c.Publish("watchtower/channels/5/send/9", 1, false, "x")))
	eventually(t, "it is counted", func() bool { return r.dropped(viaMQTT, bridge.Refused) == 2 })
	assert.Contains(t, r.log.String(), "topic=watchtower/channels/5/send/9")
	return r
}

func tooManyRetained(t *testing.T) *running {
	r := start(t, func(c *config.Config) { c.Limits.MQTTRetained = 0 })
	c, err := r.pahoClient(nil)
	require.NoError(t, err)
	require.NoError(t, wait(c.Publish("own/x", 1, true, "x")), "3.1.1 is acknowledged")
	return r
}

func awayStream(t *testing.T) *running {
	r := start(t, nil)
	id := r.register("").ID
	end := r.follow(fmt.Sprintf("channels=5&sender=%d", id), func([]byte) {})
	d := r.stream()
	end()
	for i := 0; r.dropped(viaHTTP, bridge.Away) == 0; i++ {
		require.Less(t, i, 5000)
		d.broadcast(5, []byte("x"))
		d.next(t)
	}
	return r
}

func leftWithMessages(t *testing.T) *running {
	r := start(t, func(c *config.Config) { c.ShutdownTimeout = time.Second })
	say, attempts := badCallback(r, hang)
	d := r.stream()
	status, body := r.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", d.id), "", "")
	require.Equal(t, 200, status)
	var on bridge.Members
	require.NoError(t, json.Unmarshal([]byte(body), &on), body)
	i := slices.IndexFunc(on.Members, func(m bridge.Member) bool { return m.Via == "callback" })
	require.GreaterOrEqual(t, i, 0, body)
	for range 3 {
		say("x")
	}
	eventually(t, "the first is under way, the others wait", func() bool {
		_, out := r.g.Hub().Counters().Messages(viaCallback)
		return attempts.Load() > 0 && out >= 3
	})
	r.post("/channels/leave", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, on.Members[i].ID), nil)
	return r
}

func failedCallback(t *testing.T) *running {
	r := start(t, func(c *config.Config) { c.Callbacks.RetryGap = time.Millisecond })
	say, attempts := badCallback(r, refuse)
	say("x")
	eventually(t, "it gives up", func() bool { return attempts.Load() == 9 })
	return r
}

func expiredMessage(t *testing.T) *running {
	r := start(t, nil)
	persistent := func(o *paho.ClientOptions) { o.SetCleanSession(false) }
	c, err := r.pahoClient(persistent)
	require.NoError(t, err)
	require.NoError(t, wait(c.Subscribe("own/#", 1, nil)))
	c.Disconnect(10)
	eventually(t, "it is away", func() bool { return r.g.MQTTStats().Connections == 0 })
	host, port, _ := net.SplitHostPort(r.at.MQTT)
	run(t, program(t, "mosquitto_pub"), "-V", "mqttv5", "-h", host, "-p", port, "-u", "x", "-P", key, "-q", "1", "-t", "own/x", "-m", "old", "-D", "publish", "message-expiry-interval", "1")
	time.Sleep(1100 * time.Millisecond) // the interval's unit is the second
	_, err = r.pahoClient(persistent)
	require.NoError(t, err)
	return r
}

// unsendable asks from port 0, to which the operating system sends nothing. Only
// a raw socket can.
func unsendable(t *testing.T) *running {
	r := start(t, nil)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_UDP)
	require.NoError(t, err, "a raw socket needs CAP_NET_RAW: run the tests as root")
	defer syscall.Close(fd)
	to, err := net.ResolveUDPAddr("udp", r.at.UDP)
	require.NoError(t, err)
	where := "W\x00\x00\x00\x00\x00\x00\x00"
	datagram := []byte{0, 0, byte(to.Port >> 8), byte(to.Port), 0, byte(8 + len(where)), 0, 0}
	err = syscall.Sendto(fd, append(datagram, where...), 0, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	require.NoError(t, err)
	return r
}

// forgotten registers from more addresses than may be unconfirmed at a time.
func forgotten(t *testing.T) *running {
	r := start(t, nil)
	to, err := net.ResolveUDPAddr("udp", r.at.UDP)
	require.NoError(t, err)
	const together = 50 // one after the other would take longer than an unconfirmed id lives
	var sockets sync.WaitGroup
	for worker := range 4 {
		sockets.Go(func() {
			for range 2600 / together {
				conns := make([]*net.UDPConn, together)
				for i := range conns {
					from := &net.UDPAddr{IP: net.IPv4(127, 0, byte(worker+1), byte(1+i*5))}
					conn, err := net.DialUDP("udp", from, to)
					if !assert.NoError(t, err) {
						return
					}
					conns[i] = conn
					_, _ = conns[i].Write(basicFrame("K", byte(len(key)), key))
				}
				for _, conn := range conns {
					_ = conn.SetReadDeadline(time.Now().Add(patient))
					_, err := conn.Read(make([]byte, 10))
					conn.Close()
					if !assert.NoError(t, err) {
						return
					}
				}
			}
		})
	}
	sockets.Wait()
	return r
}

// misfitForAMap publishes what is no JSON, which a map's template needs.
func misfitForAMap(t *testing.T) *running {
	r := mapped(t, map[uint32][]config.Map{5: {{Topic: "zigbee2mqtt/+", In: true, Template: "{{ value_json.action }}"}}})
	r.outside("zigbee2mqtt").says("zigbee2mqtt/hall", "single", false)
	return r
}
