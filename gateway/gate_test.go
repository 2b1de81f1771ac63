package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	nethttp "net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"watchtower/auth"
	"watchtower/config"
	session "watchtower/device"
	"watchtower/wire/frame"
)

// The answers of an entrance to a key.
const (
	in    = "in"
	wrong = "wrong"
	later = "later"
)

// tries is limits.failures in these tests.
const tries = 5

// guarded is a gateway with five wrong tries, which come back after an hour.
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

// An address with too many wrong tries at one entrance waits at all entrances, also with
// the right key. Other addresses do not wait.
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

// A missing key does not count as a wrong one.
func TestNoKeyIsNoGuess(t *testing.T) {
	t.Parallel()
	r := guarded(t)
	for range 2 * tries {
		assert.Equal(t, wrong, showMQTT(4, "x")(r, "127.0.0.1", ""))
		status, _ := r.call("POST", "/register", "", `{}`)
		assert.Equal(t, 401, status)
	}
	assert.Equal(t, in, showMQTT(4, "x")(r, "127.0.0.1", key))
}

func TestBehindATrustedProxyTheClientCounts(t *testing.T) {
	t.Parallel()
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

// Forged sources can only block registrations by K of addresses that the gateway does not
// know.
func TestForgedSourcesLockOutNobodyWhoProvedHisAddress(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
