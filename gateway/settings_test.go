package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

const short = 100 * time.Millisecond

// Every setting has a test that shows, on a running gateway, what it does.
var settingTests = map[string]func(*testing.T){
	"http.listen":                    func(t *testing.T) { turnedOff(t, "http") },
	"udp.segmentation_offload":       testSegmentationOffload,
	"udp.listen":                     func(t *testing.T) { turnedOff(t, "udp") },
	"tcp.listen":                     func(t *testing.T) { turnedOff(t, "tcp") },
	"mqtt.listen":                    func(t *testing.T) { turnedOff(t, "mqtt") },
	"http.linger":                    testLinger,
	"http.heartbeat":                 testHeartbeat,
	"http.trusted_proxies":           testTrustedProxies,
	"http.ingress":                   testIngress,
	"http.read_timeout":              testReadTimeout,
	"http.write_timeout":             testStuckStreamEnds,
	"http.stream_queue":              func(t *testing.T) { smallQueue(t, viaHTTP, stuckStream) },
	"mqtt.remote.url":                testRemoteURL,
	"mqtt.remote.user":               testRemoteLogin,
	"mqtt.remote.password":           testRemoteLogin,
	"mqtt.remote.tls_ca":             testRemoteTLS,
	"mqtt.remote.tls_certificate":    testRemoteTLS,
	"mqtt.remote.tls_key":            testRemoteTLS,
	"mqtt.remote.trust":              testRemoteTrust,
	"mqtt.remote.probe.user":         testRemoteProbe,
	"mqtt.remote.probe.password":     testRemoteProbe,
	"mqtt.remote.qos":                testRemoteQoS,
	"cluster.url":                    testClusterURL,
	"cluster.credentials":            testClusterCredentials,
	"cluster.tls_ca":                 testClusterTLS,
	"cluster.tls_certificate":        testClusterTLS,
	"cluster.tls_key":                testClusterTLS,
	"cluster.space":                  testClusterSpace,
	"cluster.slot":                   testClusterSlot,
	"irc.listen":                     func(t *testing.T) { turnedOff(t, "irc") },
	"irc.tls_listen":                 func(t *testing.T) { tlsTurnedOff(t, "irc") },
	"irc.queue":                      func(t *testing.T) { smallQueue(t, viaIRC, stuckIRC) },
	"irc.write_timeout":              func(t *testing.T) { stuckEnds(t, stuckIRC) },
	"irc.ping_interval":              testIRCPing,
	"limits.irc_connections":         func(t *testing.T) { testConnectionLimit(t, "irc") },
	"tcp.queue":                      func(t *testing.T) { smallQueue(t, viaTCP, stuckTCP) },
	"mqtt.session_queue":             func(t *testing.T) { smallQueue(t, viaMQTT, stuckMQTT) },
	"tcp.write_timeout":              func(t *testing.T) { stuckEnds(t, stuckTCP) },
	"mqtt.write_timeout":             func(t *testing.T) { stuckEnds(t, stuckMQTT) },
	"http.tls_listen":                func(t *testing.T) { tlsTurnedOff(t, "http") },
	"mqtt.tls_listen":                func(t *testing.T) { tlsTurnedOff(t, "mqtt") },
	"tls.certificate":                testCertificate,
	"tls.key":                        testCertificate,
	"tls.client_ca":                  testClientCertificates,
	"tls.require_client_certificate": testClientCertificates,
	"mqtt.max_keep_alive":            testMaxKeepAlive,
	"mqtt.session_queue_bytes":       testSessionQueueBytes,
	"mqtt.will_grace":                testWillGrace,
	"mqtt.save_interval":             testSaveInterval,
	"limits.connections_per_address": testConnectionsPerAddress,
	"limits.strangers_bytes":         testStrangersBytes,
	"limits.unfinished_bytes":        testUnfinishedBytes,
	"limits.register_timeout":        testRegisterTimeout,
	"limits.http_connections":        func(t *testing.T) { testConnectionLimit(t, "http") },
	"limits.udp_basic":               testUDPBasic,
	"limits.mqtt_sessions":           testSessionLimit,
	"limits.mqtt_subscriptions":      testSubscriptionLimit,
	"limits.mqtt_subscription_bytes": testSubscriptionBytes,
	"limits.mqtt_queue_bytes":        testQueueBytes,
	"limits.mqtt_retained":           testRetainedLimit,
	"limits.mqtt_retained_bytes":     testRetainedBytes,
	"homeassistant.enabled":          testHomeAssistantOff,
	"homeassistant.discovery_prefix": testDiscoveryPrefix,
	"homeassistant.birth_topic":      testBirthTopic,
	"homeassistant.birth_delay":      testBirthDelay,
	"limits.homeassistant_devices":   testHomeAssistantDevices,
	"mqtt.base_topic":                testBaseTopic,
	"mqtt.max_packet_bytes":          testMaxPacket,
	"mqtt.connect_timeout":           testConnectTimeout,
	"mqtt.session_expiry":            testSessionExpiry,
	"secret_key":                     testSecretKey,
	"open":                           testOpen,
	"mdns":                           testElsewhere("cmd/watchtower", "TestFound"),
	"admin_key":                      testAdminKey,
	"http.console":                   testConsole,
	"http.pages":                     testPages,
	"data_dir":                       testDataDir,
	"gateway.name":                   testGatewayName,
	"auth.require_token":             testRequireToken,
	"senders.expire_after":           func(t *testing.T) { testExpiry(t, "named") },
	"senders.expire_unnamed_after":   func(t *testing.T) { testExpiry(t, "") },
	"wire.basic":                     testBasicOff,
	"wire.basic_key":                 testBasicKey,
	"wire.device_keys":               testDeviceKeys,
	"wire.idle_timeout":              testIdleTimeout,
	"wire.frame_timeout":             testFrameTimeout,
	"wire.session_queue":             testSessionQueue,
	"wire.retry_gap":                 testWireRetryGap,
	"limits.udp_sessions":            testUDPSessions,
	"http.cors_origins":              testCORSOrigins,
	"http.hosts":                     testHosts,
	"http.mailbox_timeout":           testMailboxTimeout,
	"history.messages":               testHistoryMessages,
	"history.age":                    testHistoryAge,
	"history.bytes":                  testHistoryBytes,
	"limits.message_bytes":           testMessageBytes,
	"limits.senders":                 testSenders,
	"limits.sender_channels":         testSenderChannels,
	"limits.tcp_connections":         func(t *testing.T) { testConnectionLimit(t, "tcp") },
	"limits.mqtt_connections":        func(t *testing.T) { testConnectionLimit(t, "mqtt") },
	"callbacks.allow":                testCallbacksAllow,
	"callbacks.public_only":          testPublicOnly,
	"callbacks.timeout":              testCallbackTimeout,
	"callbacks.retries":              func(t *testing.T) { testRetries(t) },
	"callbacks.retry_gap":            testRetryGap,
	"callbacks.queue":                testCallbackQueue,
	"callbacks.max_gap":              testMaxGap,
	"callbacks.disable_after":        testDisableAfter,
	"callbacks.rotation_overlap":     testRotationOverlap,
	"callbacks.kept":                 testCallbacksKept,
	"callbacks.bytes":                testCallbackBytes,
	"callbacks.concurrency":          testConcurrency,
	"callbacks.save_interval":        testCallbackSaveInterval,
	"limits.sender_streams":          testSenderStreams,
	"limits.sender_callbacks":        testSenderCallbacks,
	"limits.sender_requests":         testSenderRequests,
	"limits.failures":                testFailures,
	"limits.failure_interval":        testFailures,
	"shutdown_timeout":               testShutdownTimeout,
	"log.level":                      testElsewhere("cmd/watchtower", "TestLogSettings"),
	"log.format":                     testElsewhere("cmd/watchtower", "TestLogSettings"),
}

func TestEverySettingIsTested(t *testing.T) {
	t.Parallel()
	for _, s := range config.Settings() {
		test, ok := settingTests[s.Path]
		if !assert.True(t, ok, "no test shows what %s does", s.Path) {
			continue
		}
		t.Run(s.Path, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
	assert.Len(t, settingTests, len(config.Settings()))
}

// testElsewhere requires that a test of that name is in another package, for
// what only the command itself can show.
func testElsewhere(dir, name string) func(*testing.T) {
	return func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			if bytes.Contains(b, []byte("func "+name+"(")) {
				return
			}
		}
		require.Fail(t, name+" is gone from "+dir)
	}
}

func turnedOff(t *testing.T, protocol string) {
	r := start(t, func(c *config.Config) {
		*map[string]*string{"http": &c.HTTP.Listen, "udp": &c.UDP.Listen, "tcp": &c.TCP.Listen, "mqtt": &c.MQTT.Listen, "irc": &c.IRC.Listen}[protocol] = ""
	})
	for name, at := range map[string]string{"http": r.at.HTTP, "udp": r.at.UDP, "tcp": r.at.TCP, "mqtt": r.at.MQTT, "irc": r.at.IRC} {
		assert.Equal(t, name == protocol, at == "", "%s listens on %q", name, at)
	}
	if protocol != "http" { // what is left works
		d := r.stream()
		d.broadcast(5, []byte("x"))
		assert.Equal(t, "x", d.next(t).data)
	}
}

func (r *running) channels(sender uint32) int {
	status, _ := r.call("GET", fmt.Sprintf("/channels?sender=%d", sender), "", "")
	return status
}

func testLinger(t *testing.T) {
	for _, linger := range []time.Duration{0, time.Hour} {
		r := start(t, func(c *config.Config) { c.HTTP.Linger = linger })
		id, other := r.register("").ID, r.register("").ID
		end := r.follow(fmt.Sprintf("channels=5&sender=%d", id), func([]byte) {})
		r.follow(fmt.Sprintf("channels=5&sender=%d", other), func([]byte) {})
		end()
		members := func() string {
			_, body := r.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", other), "", "")
			return body
		}
		if linger == 0 {
			eventually(t, "it leaves", func() bool { return strings.Contains(members(), `"count":1`) })
		} else {
			eventually(t, "the stream has ended", func() bool {
				r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"x"}`, other), nil)
				return r.dropped(viaHTTP, bridge.Away) > 0
			})
			time.Sleep(1500 * time.Millisecond) // it was looked at since
			assert.Contains(t, members(), `"count":2`)
		}
	}
}

func testHeartbeat(t *testing.T) {
	r := start(t, func(c *config.Config) { c.HTTP.Heartbeat = 10 * time.Millisecond })
	res, err := web.Get(fmt.Sprintf("http://%s/channels/join?channels=5&sender=%d", r.at.HTTP, r.register("").ID))
	require.NoError(t, err)
	defer res.Body.Close()
	b := make([]byte, 5)
	_, err = io.ReadFull(res.Body, b)
	require.NoError(t, err)
	assert.Equal(t, "\n\n\n\n\n", string(b))
}

func testTrustedProxies(t *testing.T) {
	r := start(t, func(c *config.Config) {
		c.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Limits.Failures, c.Limits.FailureInterval = tries, time.Hour
	})
	from := func(addr string) int {
		status, _ := r.call("POST", "/register", "", `{"secret_key":"wrong"}`, "X-Forwarded-For", addr)
		return status
	}
	for range tries {
		require.Equal(t, 401, from("192.0.2.1"))
	}
	assert.Equal(t, 429, from("192.0.2.1"))
	assert.Equal(t, 401, from("192.0.2.2"))
}

func testReadTimeout(t *testing.T) {
	r := start(t, func(c *config.Config) { c.HTTP.ReadTimeout = short })
	conn, err := net.Dial("tcp", r.at.HTTP)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
	require.NoError(t, err)
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	b, err := io.ReadAll(conn)
	require.NoError(t, err, "it is closed")
	assert.NotContains(t, string(b), " 200 ")

	begun := time.Now()
	conn, err = net.Dial("tcp", r.at.HTTP)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost:")
	require.NoError(t, err)
	endsBy(t, conn, begun, short)
}

// stuckStream, stuckTCP and stuckMQTT join channel 5 and never read. They
// return a function that reports whether they were disconnected.
func stuckStream(r *running) (ended func() bool) {
	conn := slowConn(r, r.at.HTTP)
	fmt.Fprintf(conn, "GET /channels/join?channels=5&sender=%d HTTP/1.1\r\nHost: x\r\n\r\n", r.register("").ID)
	return waitForMember(r, "http")
}

func stuckTCP(r *running) (ended func() bool) {
	conn := slowConn(r, r.at.TCP)
	_, err := conn.Write(basicFrame("K", byte(len(key)), key))
	require.NoError(r.t, err)
	b := make([]byte, 5)
	_, err = io.ReadFull(conn, b)
	require.NoError(r.t, err)
	_, err = conn.Write(basicFrame("J", b[1:], uint32(5)))
	require.NoError(r.t, err)
	return waitForMember(r, "tcp")
}

func stuckMQTT(r *running) (ended func() bool) {
	conn := slowConn(r, r.at.MQTT)
	connect := basicFrame("\x00\x04MQTT\x04\xc2\x00\x00\x00\x05stuck\x00\x01x", byte(0), byte(len(key)), key)
	_, err := conn.Write(basicFrame(byte(0x10), byte(len(connect)), connect))
	require.NoError(r.t, err)
	topic := "watchtower/channels/5/#"
	_, err = conn.Write(basicFrame(byte(0x82), byte(5+len(topic)), "\x00\x01\x00", byte(len(topic)), topic, byte(1)))
	require.NoError(r.t, err)
	return waitForMember(r, "mqtt")
}

// slowConn connects a client that is not going to read. Else the system would take tens of
// megabytes for it (tcp_rmem), which a busy machine does not say in time.
func slowConn(r *running, addr string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	require.NoError(r.t, err)
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

func waitForMember(r *running, via string) (ended func() bool) {
	protocol := map[string]bridge.Protocol{"http": viaHTTP, "tcp": viaTCP, "mqtt": viaMQTT, "irc": viaIRC}[via]
	count := func() int { n, _ := r.g.Hub().Directory().Counts(); return n[protocol] }
	before := 0
	if via == "tcp" { // what floods is one
		before = 1
	}
	eventually(r.t, "it has joined", func() bool { return count() == before+1 })
	return func() bool { return count() == before }
}

// flooder joins channel 5 and says large things there.
func flooder(r *running) func() {
	d := r.wire("tcp")
	large := bytes.Repeat([]byte("x"), 60000) // text, which IRC is sent whole
	return func() { d.broadcast(5, large); d.next(r.t) }
}

func smallQueue(t *testing.T, p bridge.Protocol, join func(*running) func() bool) {
	r := start(t, func(c *config.Config) {
		c.HTTP.StreamQueue, c.TCP.Queue, c.MQTT.SessionQueue, c.IRC.Queue = 4, 4, 4, 16
		c.HTTP.WriteTimeout, c.TCP.WriteTimeout, c.MQTT.WriteTimeout, c.IRC.WriteTimeout = time.Minute, time.Minute, time.Minute, time.Minute // it is not to end before
	})
	flood := flooder(r)
	join(r)
	for begun := time.Now(); r.dropped(p, bridge.QueueFull) == 0; {
		flood()
		require.Less(t, time.Since(begun), lenient, "nothing was dropped")
	}
}

func stuckEnds(t *testing.T, join func(*running) func() bool) {
	const timeout = 5 * short // on a busy machine the answers to who joins take their time too
	r := start(t, func(c *config.Config) {
		c.HTTP.WriteTimeout, c.TCP.WriteTimeout, c.MQTT.WriteTimeout, c.IRC.WriteTimeout, c.HTTP.Linger = timeout, timeout, timeout, timeout, 0
	})
	flood := flooder(r)
	ended := join(r)
	for began := time.Now(); !ended(); {
		flood()
		require.Less(t, time.Since(began), patient, "it was not disconnected")
	}
}

func testStuckStreamEnds(t *testing.T) { stuckEnds(t, stuckStream) }
