package gateway_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/config"
)

// refusalTests has a test for each reason to refuse a client. Each test provokes the reason
// at a whole gateway and finds it in the metrics.
var refusalTests = map[auth.Reason]struct {
	protocol bridge.Protocol
	provoke  func(*running)
}{
	auth.WrongKey:      {viaTCP, func(r *running) { assert.Equal(r.t, wrong, showWire("tcp", basicKey)(r, "127.0.0.1", "wrong")) }},
	auth.WrongPassword: {viaMQTT, func(r *running) { assert.Equal(r.t, wrong, showMQTT(4, "guest")(r, "127.0.0.1", "wrong")) }},
	auth.WrongToken: {viaHTTP, func(r *running) {
		status, _ := r.call("GET", fmt.Sprintf("/channels?sender=%d", r.register("").ID), "", "", "Authorization", "Bearer wrong")
		assert.Equal(r.t, 401, status)
	}},
	auth.WrongSender: {viaHTTP, func(r *running) {
		status, _ := r.call("GET", "/channels?sender=1", "", "")
		assert.Equal(r.t, 401, status)
	}},
	auth.Waiting: {viaMQTT, func(r *running) {
		for range tries {
			showMQTT(4, "x")(r, "127.0.0.1", "wrong")
		}
		assert.Equal(r.t, later, showMQTT(4, "x")(r, "127.0.0.1", key))
	}},
	auth.Busy: {viaMQTT, tooManyPasswords},
}

// tooManyPasswords gives more wrong passwords at once than an address has tries.
func tooManyPasswords(r *running) {
	var all sync.WaitGroup
	var busy, wrongs atomic.Int64
	conns := make([]net.Conn, 3*tries)
	for i := range conns {
		var err error
		conns[i], err = net.Dial("tcp", r.at.MQTT)
		require.NoError(r.t, err)
		defer conns[i].Close()
	}
	for i, conn := range conns {
		all.Go(func() {
			_, err := conn.Write(connectAs(5, "slow", fmt.Sprint("wrong ", i)))
			assert.NoError(r.t, err)
			b := make([]byte, 4)
			_, err = io.ReadFull(conn, b)
			assert.NoError(r.t, err)
			switch b[3] {
			case 0x89:
				busy.Add(1)
			case 0x86:
				wrongs.Add(1)
			default:
				assert.Equal(r.t, byte(0x9f), b[3])
			}
		})
	}
	all.Wait()
	assert.Positive(r.t, busy.Load())
	assert.LessOrEqual(r.t, wrongs.Load(), int64(tries), "who was not looked at is never told that it is wrong")
}

func TestEveryRefusalIsCounted(t *testing.T) {
	t.Parallel()
	slow, err := bcrypt.GenerateFromPassword([]byte("slow-pass"), watchedCost+1)
	require.NoError(t, err)
	for _, reason := range auth.Reasons {
		t.Run(reason.String(), func(t *testing.T) {
			test, ok := refusalTests[reason]
			require.True(t, ok, "no test provokes it")
			cfg := testConfig(t)
			cfg.Limits.Failures, cfg.Limits.FailureInterval = tries, patient*100
			cfg.Users = map[string]config.User{
				"guest": {PasswordHash: hashed(t, "guest-pass")}, "slow": {PasswordHash: string(slow)},
			}
			r := startWith(t, cfg)
			test.provoke(r)
			_, metrics := r.call("GET", "/metrics", "", "")
			row := fmt.Sprintf(`watchtower_refused_total{protocol=%q,reason=%q} `, test.protocol, reason)
			assert.Contains(t, metrics, row)
			assert.NotContains(t, metrics, row+"0\n")
		})
	}
}

func TestWeakKeysAreWarnedOf(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Wire.BasicKey, c.AdminKey = "watchtower1", "passwordpassword" })
	weak := func() (lines []string) {
		for l := range strings.Lines(r.log.String()) {
			if strings.Contains(l, "easy to guess") {
				lines = append(lines, l)
			}
		}
		return lines
	}
	eventually(t, "both are logged", func() bool { return len(weak()) == 2 })
	assert.Contains(t, weak()[0], "setting=wire.basic_key")
	assert.Contains(t, weak()[1], "setting=admin_key")
	assert.NotContains(t, r.log.String(), "watchtower1")
	assert.NotContains(t, r.log.String(), "passwordpassword")
}

// What a device says and the gateway cannot take is in the log, once a minute for each device
// and reason, as it is for MQTT.
func TestTheLogNamesWhoIsNotUnderstood(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	lines := func(parts ...string) (n int) {
		for l := range strings.Lines(r.log.String()) {
			if strings.Contains(l, "level=warning") && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(l, p) }) {
				n++
			}
		}
		return n
	}
	udp, err := net.Dial("udp", r.at.UDP)
	require.NoError(t, err)
	defer udp.Close()
	for range 3 {
		_, err := udp.Write([]byte("J too short"))
		require.NoError(t, err)
		_, err = udp.Write([]byte("r no registration either"))
		require.NoError(t, err)
		tcp, err := net.Dial("tcp", r.at.TCP)
		require.NoError(t, err)
		_, err = tcp.Write([]byte("?"))
		require.NoError(t, err)
		_, _ = io.ReadAll(tcp)
		tcp.Close()
	}
	eventually(t, "all are counted", func() bool {
		return r.malformed() >= 6 && r.dropped(viaTCP, bridge.Malformed) == 3
	})
	for _, via := range []string{"udp", "tcp"} {
		assert.Equal(t, 1, lines("frame dropped", "client=127.0.0.1", "protocol="+via, "reason=malformed"), via)
	}
	r.wire("udp") // is on channel 5
	big := r.register("big")
	end := r.follow(fmt.Sprintf("channels=5&sender=%d", big.ID), func([]byte) {})
	defer end()
	for range 3 {
		r.post("/broadcast", fmt.Sprintf(`{"channels":[5],"sender":%d,"message":%q}`, big.ID, strings.Repeat("x", 2000)), nil)
	}
	eventually(t, "it is too large for a datagram", func() bool { return r.dropped(viaUDP, bridge.TooLarge) == 3 })
	assert.Equal(t, 1, lines("message dropped", fmt.Sprint("sender=", big.ID), "bytes=2000", "channel=5", "reason=too_large"))
}
