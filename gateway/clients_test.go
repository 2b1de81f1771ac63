package gateway_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// Where clients of MQTT over WebSocket connect, and what they offer, unless they are
// told otherwise: HiveMQ's at /, those of MQTT 3.1 with a name of their own.
func TestWebSocketsOfMQTTAsClientsOpenThem(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for _, c := range []struct{ path, offered string }{{"/", "mqtt"}, {"/mqtt", "mqttv3.1"}, {"/", "mqttv3.1"}} {
		dial := websocket.Dialer{Subprotocols: []string{c.offered}, HandshakeTimeout: patient}
		conn, _, err := dial.Dial("ws://"+r.at.HTTP+c.path, nil)
		require.NoError(t, err, c)
		assert.Equal(t, c.offered, conn.Subprotocol())
		require.NoError(t, conn.WriteMessage(websocket.BinaryMessage, connectAs(5, "x", key)))
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		_, message, err := conn.NextReader()
		require.NoError(t, err)
		assert.Equal(t, in, connack(t, 5, message), c)
		conn.Close()
	}
	status, _ := r.call("GET", "/", "", "")
	assert.Equal(t, 200, status, "a browser's")
	_, res, err := websocket.DefaultDialer.Dial("ws://"+r.at.HTTP+"/", nil)
	require.Error(t, err)
	assert.Equal(t, 404, res.StatusCode)
	page := map[string][]string{"Origin": {"http://evil.example"}}
	_, res, err = (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+r.at.HTTP+"/", page)
	require.Error(t, err)
	assert.Equal(t, 403, res.StatusCode, "a foreign page")
}

// A token as the user name, as ThingsBoard's devices have it, and a user name with the
// name of an SDK behind it, as AWS's.
func TestCredentialsInTheUserName(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) {
		c.Users = map[string]config.User{"bob": {PasswordHash: hashed(t, "secret word")}}
	})
	lamp := r.register("lamp")
	for _, c := range []struct {
		user, password string
		welcome        bool
	}{
		{lamp.Token, "", true},
		{lamp.Token, "x", false},
		{"wt_" + lamp.Token[4:] + "x", "", false},
		{"bob?SDK=Python&Version=1.4.9", "secret word", true},
		{"bob?SDK=Python&Version=1.4.9", "another", false},
	} {
		client, err := r.pahoClient(func(o *paho.ClientOptions) {
			o.SetProtocolVersion(4).SetClientID("phone").SetUsername(c.user).SetPassword(c.password)
		})
		assert.Equal(t, c.welcome, err == nil, "%v: %v", c, err)
		if c.user == lamp.Token && c.welcome {
			assert.EqualValues(t, lamp.ID, r.me(client))
		}
	}
	_, metrics := r.call("GET", "/metrics", "", "")
	assert.True(t, strings.Contains(metrics, `watchtower_refused_total{protocol="mqtt",reason="wrong_key"} 2`+"\n"), "a token that is none is a guess")
}

// The gateway waits for a port that is in use for a moment.
func TestAPortThatIsInUseForAMoment(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t)
	cfg.HTTP.Listen = l.Addr().String()
	time.AfterFunc(200*time.Millisecond, func() { l.Close() })
	r := startWith(t, cfg)
	assert.Equal(t, cfg.HTTP.Listen, r.at.HTTP)
}

// A configuration as editors write it: with a byte order mark, which is skipped; and
// in another encoding, which is refused with its line.
func TestEncodingsOfAConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "w.yaml")
	load := func(text string) (config.Config, error) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		c, _, err := config.Load(nil, []string{"HOME=/"}, file)
		return c, err
	}
	c, err := load("\ufefflog: {level: debug}\nchannels: {5: {name: Küche}}\n")
	require.NoError(t, err)
	assert.Equal(t, "Küche", c.Channels[5].Name)
	_, err = load("log: {level: debug}\nchannels: {5: {name: K\xfcche}}\n")
	assert.ErrorContains(t, err, "not UTF-8")
	assert.ErrorContains(t, err, file+":2")
}
