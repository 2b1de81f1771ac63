package auth_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/auth"
	"watchtower/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limits are the defaults with these values for limits.failures and
// limits.failure_interval; 0: the default.
func limits(failures int, interval time.Duration) config.Limits {
	l := config.Default().Limits
	l.Failures, l.FailureInterval = cmp.Or(failures, l.Failures), cmp.Or(interval, l.FailureInterval)
	return l
}

func gate(o auth.Options) (*auth.Gate, *bytes.Buffer) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	return auth.NewGate(o, log), &out
}

func TestSubnet(t *testing.T) {
	for address, is := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8::1:2:3:4": "2001:db8::/64", "fe80::1%eth0": "fe80::1/128",
	} {
		assert.Equal(t, is, auth.Subnet(netip.MustParseAddr(address)).String())
	}
}

func TestOneIsForgivenAfterEachInterval(t *testing.T) {
	now := time.Unix(1e9, 0)
	g, _ := gate(auth.Options{Limits: limits(2, time.Second), Now: func() time.Time { return now }})
	a := at("2001:db8::1")
	require.Zero(t, g.Wrong(a, auth.WrongKey))
	require.Zero(t, g.Wrong(at("2001:db8::2"), auth.WrongKey), "the same /64")
	assert.Equal(t, time.Second, g.Waits(a))
	assert.Equal(t, time.Second, g.Wrong(a, auth.WrongKey), "it is told to wait, not that it was wrong")
	assert.Zero(t, g.Waits(at("2001:db8:0:1::1")))
	now = now.Add(time.Second)
	assert.Zero(t, g.Waits(a))
	require.Zero(t, g.Wrong(a, auth.WrongKey))
	assert.NotZero(t, g.Waits(a))
	now = now.Add(time.Hour)
	assert.Zero(t, g.Waits(a))
	assert.True(t, g.Quiet(), "what is forgiven takes no memory")
}

func TestNilLetsEverybodyTry(t *testing.T) {
	var g *auth.Gate
	a := at("192.0.2.1")
	for range 1000 {
		require.Zero(t, g.Wrong(a, auth.WrongKey))
		g.Datagrams(viaUDP).WrongKey(a.At)
		g.Datagrams(viaUDP).WrongTag(a.At, nil)
	}
	assert.Zero(t, g.Waits(a))
	assert.True(t, g.Datagrams(viaUDP).AdmitKey(a.At))
	assert.True(t, g.Datagrams(viaUDP).AdmitTag(a.At, false))
	g.Right(a)
	g.Datagrams(viaUDP).Proved(a.At)
}

// Forged sources cannot fill the memory or the log.
func TestAFloodIsBounded(t *testing.T) {
	g, out := gate(auth.Options{Limits: limits(1, time.Hour)})
	d := g.Datagrams(viaUDP)
	for i := range 3 * auth.Reported {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		d.WrongTag(a, []byte("lamp"))
		assert.False(t, d.AdmitTag(a, false))
		assert.True(t, d.AdmitTag(a, true))
	}
	assert.LessOrEqual(t, strings.Count(out.String(), "\n"), auth.Reported+1+auth.WrongReported+1)
	for i := range 2 * auth.ProvedMost {
		d.Proved(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	assert.Equal(t, auth.ProvedMost, g.Proved())
}

// A wrong key of a device is logged at once, with the name that it gives itself, and then once a
// minute with how often it tried.
func TestAWrongKeyIsLogged(t *testing.T) {
	now := time.Unix(1e9, 0)
	g, out := gate(auth.Options{Limits: limits(100, time.Hour), Now: func() time.Time { return now }})
	a := at("192.0.2.1").At
	for range 60 {
		g.Datagrams(viaUDP).WrongTag(a, []byte("lamp"))
		now = now.Add(time.Second)
	}
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
	for _, field := range []string{`msg="a device has a wrong key"`, "address=192.0.2.1 ", "name=lamp", "protocols=udp", "tries=1"} {
		assert.Contains(t, out.String(), field)
	}
	assert.NotContains(t, out.String(), "limits.failures", "nobody waits")
	out.Reset()
	g.Datagrams(viaUDP).WrongKey(a)
	assert.Contains(t, out.String(), "tries=60")
	assert.NotContains(t, out.String(), "lamp")
	out.Reset()
	now = now.Add(time.Second)
	g.Streams(viaHTTP).WrongTag(at("192.0.2.2").At, []byte("door"))
	assert.Contains(t, out.String(), "name=door")
	assert.Equal(t, "door", g.Wrongs(now.Add(-time.Second))[0].Name)
}

func TestALineAMinute(t *testing.T) {
	now := time.Unix(1e9, 0)
	g, out := gate(auth.Options{Limits: limits(2, time.Hour), Now: func() time.Time { return now }})
	a := at("192.0.2.1")
	g.Wrong(auth.Caller{Via: viaHTTP, At: a.At, Forwarded: true}, auth.WrongToken)
	g.Wrong(a, auth.WrongKey)
	for range 60 {
		g.Waits(a)
		now = now.Add(time.Second)
	}
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
	for _, field := range []string{"address=192.0.2.1 ", `protocols="http,mqtt"`, "tries=3", "setting=limits.failures", "http.trusted_proxies"} {
		assert.Contains(t, out.String(), field)
	}
	out.Reset()
	g.Waits(a)
	assert.Contains(t, out.String(), fmt.Sprintf("tries=%d", 60))
	assert.NotContains(t, out.String(), "trusted_proxies")
}
