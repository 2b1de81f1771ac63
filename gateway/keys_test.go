package gateway_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
	"watchtower/internal/harness"
	"watchtower/wire/frame"
	wiresession "watchtower/wire/session"
)

// keyOf is the present key of a device, as an operator is shown it.
func (r *running) keyOf(name string) *frame.Key {
	r.t.Helper()
	status, answer := r.operate(r.asAdmin(), "GET /operator/devices/"+name+"/key", "")
	require.Equal(r.t, 200, status, answer)
	var shown struct {
		Name, Hex  string
		Generation int
	}
	require.NoError(r.t, json.Unmarshal([]byte(answer), &shown))
	assert.Equal(r.t, name, shown.Name)
	raw, err := hex.DecodeString(shown.Hex)
	require.NoError(r.t, err)
	k := frame.Key(raw)
	return &k
}

// sharedKey is the key that all devices share, derived once: that takes a while.
var sharedKey = sync.OnceValue(func() *frame.Key { k := frame.DeviceKey(key); return &k })

// dial registers a device. Its key is its own, unless that is nil.
func (r *running) dial(ctx context.Context, network, name string, own *frame.Key) (*session.Client, error) {
	opts := session.Options{Key: sharedKey(), Name: name, RetryGap: 20 * time.Millisecond, RegisterEvery: 50 * time.Millisecond}
	if own != nil {
		opts.Key, opts.Own = own, true
	}
	c, err := session.Dial(ctx, network, map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network], opts)
	if err == nil {
		r.t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			_ = c.Close(ctx)
		})
	}
	return c, err
}

// leniently is time for a registration on a machine that is busy: keys are derived first.
func leniently(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), lenient)
	t.Cleanup(cancel)
	return ctx
}

// refusedCode is the code with which a registration is refused.
func refusedCode(t testing.TB, err error) frame.Code {
	t.Helper()
	var refused session.Refused
	require.ErrorAs(t, err, &refused)
	return refused.Code
}

// unanswered requires that a registration gets no answer.
func (r *running) unanswered(network, name string, own *frame.Key) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := r.dial(ctx, network, name, own)
	require.ErrorIs(r.t, err, context.DeadlineExceeded)
}

// sessionsBy are the sessions by key, as Prometheus sees them.
func (r *running) sessionsBy() map[string]string {
	_, text := r.call("GET", "/metrics", "", "")
	by := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^watchtower_device_sessions\{key="(\w+)"\} (\d+)$`).FindAllStringSubmatch(text, -1) {
		by[m[1]] = m[2]
	}
	return by
}

func keyedGateway(t *testing.T, mode string) *running {
	return start(t, func(c *config.Config) { c.AdminKey, c.Wire.DeviceKeys = adminKey, mode })
}

func testDeviceKeys(t *testing.T) {
	networks := []string{"udp", "tcp"}
	r := keyedGateway(t, "required")
	own, ids := map[string]*frame.Key{}, map[string]uint32{}
	for _, network := range networks {
		for _, name := range []string{network, ""} {
			_, err := r.dial(leniently(t), network, name, nil)
			assert.Equal(t, frame.NameHasKey, refusedCode(t, err))
		}
		own[network] = r.keyOf(network)
		c, err := r.dial(leniently(t), network, network, own[network])
		require.NoError(t, err)
		ids[network] = c.ID()
		_, err = r.ask(network, basicFrame("K", byte(len(key)), key))
		require.NoError(t, err, "basic frames are another setting's")
	}

	r = r.restart(func(c *config.Config) { c.Wire.DeviceKeys = "accepted" })
	for _, network := range networks {
		_, err := r.dial(leniently(t), network, network, nil)
		assert.Equal(t, frame.NameHasKey, refusedCode(t, err), "it was seen before the restart")
		_, err = r.dial(leniently(t), network, "door", nil)
		require.NoError(t, err)
		c, err := r.dial(leniently(t), network, network, own[network])
		require.NoError(t, err)
		assert.Equal(t, ids[network], c.ID())
	}

	r = r.restart(func(c *config.Config) { c.Wire.DeviceKeys = "off" })
	for _, network := range networks {
		r.unanswered(network, network, own[network])
		c, err := r.dial(leniently(t), network, network, nil)
		require.NoError(t, err)
		assert.Equal(t, ids[network], c.ID())
	}
	status, answer := r.operate(r.asAdmin(), "GET /operator/devices/lamp/key", "")
	assert.Equal(t, 409, status)
	assert.Equal(t, "no-device-keys", problemType(answer))
	status, _ = r.operate(r.asAdmin(), "POST /operator/device-keys/rotate", `{"until":"2026-01-01T00:00:00Z"}`)
	assert.Equal(t, 409, status)

	r = r.restart(func(c *config.Config) { c.Wire.DeviceKeys = "accepted" })
	for _, network := range networks {
		_, err := r.dial(leniently(t), network, network, nil)
		assert.Equal(t, frame.NameHasKey, refusedCode(t, err), "that it was off changes nothing")
	}
}

// Somebody with the secret key has a name, by HTTP and MQTT. Its device comes with its own
// key: from then on the name is that device's.
func TestAStolenNameComesBack(t *testing.T) {
	t.Parallel()
	r := keyedGateway(t, "accepted")
	var thief registration
	r.post("/register", fmt.Sprintf(`{"secret_key":%q,"name":"lamp","protected":true}`, key), &thief)
	_, err := r.dial(leniently(t), "udp", "lamp", nil)
	assert.Equal(t, frame.NotSupported, refusedCode(t, err), "even the device cannot have it")
	status, answer := r.operate(r.asAdmin(), fmt.Sprintf("PATCH /operator/senders/%d", thief.ID), `{"protected":false}`)
	require.Equal(t, 200, status, answer)
	phone := r.paho("lamp")
	require.Equal(t, thief.ID, phone.id)

	lamp, err := r.dial(leniently(t), "udp", "lamp", r.keyOf("lamp"))
	require.NoError(t, err)
	require.Equal(t, thief.ID, lamp.ID())
	eventually(t, "who came with the secret key is disconnected", func() bool {
		n, _ := r.g.Hub().Directory().Counts()
		return n[viaMQTT] == 0
	})
	status, _ = r.call("GET", fmt.Sprintf("/channels?sender=%d", lamp.ID()), "", "", bearer(thief.Token)...)
	assert.Equal(t, 401, status, "with the token that the secret key gave")
	status, _ = r.registerAs(key, "lamp")
	assert.Equal(t, 401, status, "over HTTP with the secret key")
	_, _, err = r.as("x", key, "lamp")
	assert.Error(t, err, "over MQTT with it")
	for _, network := range []string{"udp", "tcp"} {
		_, err = r.dial(leniently(t), network, "lamp", nil)
		assert.Equal(t, frame.NameHasKey, refusedCode(t, err))
		r.unanswered(network, "lamp", r.keyOf("door"))
	}

	status, answer = r.operate(r.asAdmin(), fmt.Sprintf("POST /operator/senders/%d/token", lamp.ID()), "")
	require.Equal(t, 200, status)
	var given struct{ Token string }
	require.NoError(t, json.Unmarshal([]byte(answer), &given))
	_, _, err = r.as("x", given.Token, "lamp-page")
	require.NoError(t, err, "by the token that an operator gave")
	require.NoError(t, lamp.Ping(soon(t)))
	_, answer = r.operate(r.asAdmin(), "GET /operator/senders?find=lamp", "")
	assert.Contains(t, answer, `"own_key":true,"key":"own"`)
}

// A revoked key ends its session within three seconds, and does not come back.
func TestRevokedWithinThreeSeconds(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		r := keyedGateway(t, "accepted")
		old := r.keyOf("lamp")
		lamp, err := r.dial(leniently(t), network, "lamp", old)
		require.NoError(t, err)
		door, err := r.dial(leniently(t), network, "door", r.keyOf("door"))
		require.NoError(t, err)
		shared, err := r.dial(leniently(t), network, "", nil)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"shared": "1", "own": "2", "previous": "0"}, r.sessionsBy())
		for _, c := range []*session.Client{lamp, door, shared} {
			require.NoError(t, c.Join(soon(t), 5))
		}
		status, answer := r.operate(r.asAdmin(), fmt.Sprintf("PATCH /operator/senders/%d", lamp.ID()), `{"name":"light"}`)
		require.Equal(t, 200, status, answer)
		began := time.Now()
		status, answer = r.operate(r.asAdmin(), "POST /operator/devices/lamp/revoke", "")
		require.Equal(t, 200, status)
		assert.JSONEq(t, `{"name":"lamp","generation":1,"ended":1}`, answer)
		eventually(t, "it is a member no longer", func() bool { return r.sessionsBy()["own"] == "1" })
		assert.Less(t, time.Since(began), 15*time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		assert.Error(t, lamp.Broadcast(ctx, session.Text, []byte("still here"), 5))
		cancel()
		require.NoError(t, door.Broadcast(soon(t), session.Text, []byte("x"), 5))
		require.NoError(t, shared.Ping(soon(t)))
		r.unanswered(network, "lamp", old)
		_, err = r.dial(leniently(t), network, "light", nil)
		assert.Equal(t, frame.NameHasKey, refusedCode(t, err), "the new name of who had the key")

		r = r.restart(func(*config.Config) {})
		r.unanswered(network, "lamp", old)
		_, err = r.dial(leniently(t), network, "lamp", r.keyOf("lamp"))
		require.NoError(t, err)
	}
}

// A rotation lets devices move to their new keys one by one, until its date.
func TestRotatingTheMaster(t *testing.T) {
	t.Parallel()
	r := keyedGateway(t, "accepted")
	first := r.keyOf("lamp")
	lamp, err := r.dial(leniently(t), "udp", "lamp", first)
	require.NoError(t, err)
	rotate := func(until time.Time) {
		t.Helper()
		status, answer := r.operate(r.asAdmin(), "POST /operator/device-keys/rotate", fmt.Sprintf(`{"until":%q}`, until.UTC().Format(time.RFC3339Nano)))
		require.Equal(t, 200, status, answer)
	}
	rotate(time.Now().Add(time.Hour))
	assert.Equal(t, map[string]string{"shared": "0", "own": "0", "previous": "1"}, r.sessionsBy())
	require.NoError(t, lamp.Ping(soon(t)), "the session goes on")
	r = r.restart(func(*config.Config) {})
	lamp, err = r.dial(leniently(t), "udp", "lamp", first)
	require.NoError(t, err, "the old key counts, over a restart too")
	_, answer := r.operate(r.asAdmin(), "GET /operator/senders?find=lamp", "")
	assert.Contains(t, answer, `"key":"previous"`)
	second := r.keyOf("lamp")
	require.NotEqual(t, *first, *second)
	_, err = r.dial(leniently(t), "tcp", "lamp", second)
	require.NoError(t, err)
	eventually(t, "the newest has the name", func() bool {
		return assert.ObjectsAreEqual(map[string]string{"shared": "0", "own": "1", "previous": "0"}, r.sessionsBy())
	})

	rotate(time.Now().Add(500 * time.Millisecond))
	r.unanswered("udp", "lamp", first)
	eventually(t, "the date ends what the old keys began", func() bool { return r.sessionsBy()["previous"] == "0" })
	r.unanswered("udp", "lamp", second)
	_, err = r.dial(leniently(t), "udp", "lamp", r.keyOf("lamp"))
	require.NoError(t, err)
	status, answer := r.operate(r.asAdmin(), "GET /operator/device-keys", "")
	require.Equal(t, 200, status)
	assert.JSONEq(t, `{"mode":"accepted","sessions":{"shared":0,"own":1,"previous":0},"revoked":{}}`, answer)
	_ = lamp
}

// Bodies are hidden on both transports, to the own key and the shared one, and who hides
// talks with who does not.
func TestHiddenAndPlainDevicesTalk(t *testing.T) {
	t.Parallel()
	r := keyedGateway(t, "accepted")
	bad := harness.NewRadio(t, r.at.UDP, 0.2)
	listener := r.stream()
	var all []*session.Client
	for i, opts := range []session.Options{
		{Hidden: true}, {Hidden: true, Name: "lamp", Key: r.keyOf("lamp"), Own: true, Acknowledge: true, Window: 4}, {Acknowledge: true},
	} {
		for network, at := range map[string]string{"udp": bad.Addr(), "tcp": r.at.TCP} {
			if opts.Name != "" {
				opts.Name = fmt.Sprint("lamp-", network)
				opts.Key = r.keyOf(opts.Name)
			}
			if opts.Key == nil {
				opts.Key = sharedKey()
			}
			opts.NoEcho, opts.RetryGap = true, 10*time.Millisecond
			c, err := session.Dial(leniently(t), network, at, opts)
			require.NoError(t, err, "%d over %s", i, network)
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_ = c.Close(ctx)
			})
			require.NoError(t, c.Join(soon(t), 5))
			all = append(all, c)
		}
	}
	for i, c := range all {
		text := fmt.Sprintf("from %d, and long enough for several masks", i)
		require.NoError(t, c.Broadcast(soon(t), session.Text, []byte(text), 5))
		assert.Equal(t, text, listener.next(t).data)
		members, err := c.Members(soon(t), 5)
		require.NoError(t, err)
		assert.Len(t, members, len(all)+1)
	}
	assert.Zero(t, r.dropped(viaUDP, bridge.Forged)+r.dropped(viaTCP, bridge.Forged))
	assert.Zero(t, r.dropped(viaUDP, bridge.Malformed)+r.dropped(viaTCP, bridge.Malformed))
	for _, c := range all[:4] {
		require.NoError(t, c.Send(soon(t), session.Text, []byte("to you"), []uint32{c.ID()}, 5))
	}
}

func TestWhatOperatorsAreRefusedOfDevices(t *testing.T) {
	t.Parallel()
	r := startWith(t, office(t))
	admin := r.asAdmin()
	for _, c := range []struct {
		call, body string
		status     int
		kind       string
	}{
		{"GET /operator/device-keys?name=lamp", ``, 400, "unknown-parameter"},
		{"GET /operator/devices/a%20lamp/key", ``, 400, "invalid-name"},
		{"GET /operator/devices/" + strings.Repeat("x", 33) + "/key", ``, 400, "invalid-name"},
		{"GET /operator/devices/ulook.lamp/key", ``, 409, "name-protected"},
		{"GET /operator/devices/lamp/key?generation=0", ``, 400, "unknown-parameter"},
		{"GET /operator/devices/lamp", ``, 404, "not-found"},
		{"GET /operator/devices/lamp/revoke", ``, 405, "method-not-allowed"},
		{"POST /operator/devices/ulook.lamp/revoke", ``, 409, "name-protected"},
		{"POST /operator/devices/a%20lamp/revoke", ``, 400, "invalid-name"},
		{"POST /operator/devices/lamp/revoke", `{"generation":0}`, 400, "unknown-field"},
		{"POST /operator/device-keys/rotate", `{}`, 400, "invalid-field"},
		{"POST /operator/device-keys/rotate", `{"until":"30d"}`, 400, "invalid-field"},
		{"POST /operator/device-keys/rotate", `{"until":"2999-01-01T00:00:00Z"}`, 400, "invalid-field"},
	} {
		status, answer := r.operate(admin, c.call, c.body)
		assert.Equal(t, c.status, status, "%s: %s", c.call, answer)
		assert.Equal(t, c.kind, problemType(answer), c.call)
	}
}

// A device's port changes, and again before its request was answered: it goes on within
// three seconds, and its message is said once.
func TestMovingTwiceWithinARequest(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	router := harness.NewRadio(t, r.at.UDP, 0)
	listener := r.stream()
	c, err := session.Dial(leniently(t), "udp", router.Addr(), session.Options{Key: sharedKey(), KeepAlive: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(soon(t)) })
	require.NoError(t, c.Join(soon(t), 5))
	began := time.Now()
	router.Lose(1)
	answered := make(chan error, 1)
	go func() { answered <- c.Broadcast(soon(t), session.Text, []byte("on"), 5) }()
	for range 2 {
		router.Move()
		router.Lose(0)
		before := r.dropped(viaUDP, wiresession.Elsewhere)
		eventually(t, "the gateway notices the move", func() bool {
			return r.dropped(viaUDP, wiresession.Elsewhere) > before || len(answered) > 0
		})
	}
	require.NoError(t, <-answered)
	assert.Less(t, time.Since(began), 2*patient, "a busy machine takes its time; with another clock it is three seconds")
	assert.Equal(t, "on", listener.next(t).data)
	listener.broadcast(5, []byte("the end"))
	assert.Equal(t, "the end", listener.next(t).data, "said once")
}
