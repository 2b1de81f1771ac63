package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	devices "watchtower/device"
	"watchtower/internal/harness"
)

// An operator sees why a device is away.
func TestWhyADeviceIsAway(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	r := startWith(t, cfg)
	admin := r.asAdmin()
	left := func(name string) string {
		_, answer := r.operate(admin, "GET /operator/senders?state=away&held=true&find="+name, "")
		var page struct {
			Senders []struct{ Left struct{ Via, Why string } }
		}
		require.NoError(t, json.Unmarshal([]byte(answer), &page))
		if len(page.Senders) == 0 {
			return "here"
		}
		return fmt.Sprint(page.Senders[0].Left.Via, " ", page.Senders[0].Left.Why)
	}
	becomes := func(name, want string) {
		t.Helper()
		eventually(t, name+" is away: "+want, func() bool { return left(name) == want })
	}

	// Over MQTT, with a session that waits. A cable is cut, or the client is silent, or
	// speaks nonsense.
	client := func(name string) (paho.Client, func() net.Conn) {
		var conn net.Conn
		c, err := r.pahoClient(func(o *paho.ClientOptions) {
			o.SetClientID(name).SetCleanSession(false).SetPassword(cfg.SecretKey)
			o.SetCustomOpenConnectionFn(func(_ *url.URL, _ paho.ClientOptions) (net.Conn, error) {
				var err error
				conn, err = net.Dial("tcp", r.at.MQTT)
				return conn, err
			})
		})
		require.NoError(t, err)
		return c, func() net.Conn { return conn }
	}
	polite, _ := client("polite")
	polite.Disconnect(100)
	becomes("polite", "mqtt goodbye")
	_, conn := client("cut")
	_ = conn().Close()
	becomes("cut", "mqtt connection")
	_, conn = client("wrong")
	_, _ = conn().Write([]byte{0, 0})
	becomes("wrong", "mqtt mistake")
	silent, err := net.Dial("tcp", r.at.MQTT)
	require.NoError(t, err)
	defer silent.Close()
	text := func(s string) string { return string([]byte{0, byte(len(s))}) + s }
	body := text("MQTT") + "\x04\xc0\x00\x01" + text("silent") + text("x") + text(cfg.SecretKey) // keep-alive 1 s
	_, err = silent.Write(append([]byte{0x10, byte(len(body))}, body...))
	require.NoError(t, err)
	becomes("silent", "mqtt silence")
	client("silent")
	assert.Equal(t, "here", left("silent"))

	// By session frames.
	for _, network := range []string{"udp", "tcp"} {
		at := map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network]
		d, err := devices.Dial(t.Context(), network, at, devices.Options{Secret: cfg.SecretKey, Name: network + "-device"})
		require.NoError(t, err)
		require.NoError(t, d.Close(context.Background()))
		becomes(network+"-device", network+" goodbye")
	}
	cable := harness.NewCable(t, r.at.TCP)
	d, err := devices.Dial(t.Context(), "tcp", cable.Addr(), devices.Options{Secret: cfg.SecretKey, Name: "torn"})
	require.NoError(t, err)
	cable.Cut()
	becomes("torn", "tcp connection")
	cable.Mend()
	require.NoError(t, d.Close(t.Context()))
}
