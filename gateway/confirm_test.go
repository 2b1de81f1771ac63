package gateway_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
	"watchtower/internal/harness"
	"watchtower/wire/frame"
)

// launchConfig is a gateway on whose channel 9 two have to say the same, and three on channel
// 10, where everybody counts.
func launchConfig(t *testing.T) config.Config {
	cfg := testConfig(t)
	cfg.AdminKey = adminKey
	cfg.Users = map[string]config.User{
		"ann": {PasswordHash: hashed(t, "ann-pass"), Role: "manage"},
		"bob": {PasswordHash: hashed(t, "bob-pass")},
	}
	cfg.Channels = map[uint32]config.Channel{
		9:  {Name: "launch", Confirm: 2, Within: time.Minute},
		10: {Confirm: 3, Within: time.Minute, Unprotected: true},
	}
	return cfg
}

// speaker is one who says something on channel 9 or 10, by some protocol. The answer is "waits
// 1 of 2" if it tells that, "taken", or why it is refused.
type speaker func(channel uint32, text string) string

func waits(confirmed, of int) string { return fmt.Sprintf("waits %d of %d", confirmed, of) }

// guarded is a name that an operator has protected. It speaks over HTTP by its token, and by a WebSocket.
func (r *running) guarded(name string) (http, socket speaker, reg registration) {
	r.post("/register", fmt.Sprintf(`{"secret_key":%q,"name":%q,"protected":true}`, key, name), &reg)
	status, answer := r.operate(r.asAdmin(), fmt.Sprintf("PATCH /operator/senders/%d", reg.ID), `{"protected":true}`)
	require.Equal(r.t, 200, status, answer)
	assert.Contains(r.t, answer, `"protected":true,"approved":true`)
	return r.overHTTP(reg, true), r.overSocket(reg), reg
}

func (r *running) overHTTP(reg registration, token bool) speaker {
	var header []string
	if token {
		header = bearer(reg.Token)
	}
	r.mailbox(reg)
	return func(channel uint32, text string) string {
		status, answer := r.call("POST", "/broadcast", "application/json", fmt.Sprintf(`{"sender":%d,"channels":[%d],"message":%q}`, reg.ID, channel, text), header...)
		return r.became(status, answer)
	}
}

// mailbox joins both channels.
func (r *running) mailbox(reg registration) {
	status, answer := r.call("POST", "/channels/join", "application/json", fmt.Sprintf(`{"sender":%d,"channels":[9,10]}`, reg.ID), bearer(reg.Token)...)
	require.Equal(r.t, 200, status, answer)
}

func (r *running) became(status int, answer string) string {
	var got struct {
		Confirmed, Of int
		Until         time.Time
		Type          string
	}
	require.NoError(r.t, json.Unmarshal([]byte(answer), &got))
	switch status {
	case 202:
		assert.WithinDuration(r.t, time.Now().Add(time.Minute), got.Until, time.Minute)
		return waits(got.Confirmed, got.Of)
	case 200:
		return "taken"
	}
	return fmt.Sprint(status) + strings.TrimPrefix(got.Type, "urn:watchtower:problem")
}

func (r *running) overSocket(reg registration) speaker {
	s := openSocket(r.t, r.at.HTTP, fmt.Sprintf("/channels/join?sender=%d&channels=9,10&echo=false", reg.ID), "Authorization: Bearer "+reg.Token)
	return func(channel uint32, text string) string {
		s.write(masked(0x81, fmt.Appendf(nil, `{"type":"broadcast","channels":[%d],"message":%q,"ref":1}`, channel, text)))
		for {
			kind, b := s.frame()
			if kind != 0x81 {
				continue
			}
			var got struct {
				Type          string
				Status        int
				Confirmed, Of int
				Error         struct{ Status int }
			}
			require.NoError(r.t, json.Unmarshal(b, &got), string(b))
			switch got.Type {
			case "unconfirmed":
				assert.Equal(r.t, 202, got.Status)
				return waits(got.Confirmed, got.Of)
			case "accepted":
				return "taken"
			case "error":
				return fmt.Sprint(got.Error.Status)
			}
		}
	}
}

func (r *running) overMQTT(user, password, client string) speaker {
	c, _, err := r.as(user, password, client)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { c.Disconnect(0) })
	return func(channel uint32, text string) string {
		require.NoError(r.t, wait(c.Publish(fmt.Sprintf("watchtower/channels/%d/broadcast", channel), 1, false, text)))
		return "taken" // MQTT 3.1.1 has one answer
	}
}

// overIRC is a client of IRC. A ping after what it says shows whether anything was answered.
func (r *running) overIRC(nick, password string) speaker {
	c := r.irc()
	c.register(nick, password)
	c.say("JOIN #9,#10")
	c.until(" 366 .*#10 ")
	return func(channel uint32, text string) string {
		c.say(fmt.Sprintf("PRIVMSG #%d :%s", channel, text), "PING over")
		answer := c.until(` PONG | NOTICE | 404 `)
		var confirmed, of int
		if _, said, found := strings.Cut(answer, fmt.Sprintf(":#%d: ", channel)); found {
			_, err := fmt.Sscanf(said, "%d of %d have said this", &confirmed, &of)
			require.NoError(r.t, err, answer)
			c.until(" PONG ")
			return waits(confirmed, of)
		}
		if strings.Contains(answer, " 404 ") {
			c.until(" PONG ")
			return "404"
		}
		return "taken"
	}
}

func (r *running) overSession(network, name string, own *frame.Key) speaker {
	ctx := leniently(r.t)
	c, err := r.dial(ctx, network, name, own)
	require.NoError(r.t, err)
	require.NoError(r.t, c.Join(ctx, 9, 10))
	return func(channel uint32, text string) string {
		confirmed, of, err := c.Confirm(leniently(r.t), session.Text, []byte(text), channel)
		switch {
		case err != nil:
			return fmt.Sprint(refusedCode(r.t, err))
		case of > 0:
			return waits(confirmed, of)
		}
		return "taken"
	}
}

func (r *running) overBasic(network string) speaker {
	conn, err := net.Dial(network, map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network])
	require.NoError(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	id := joinByHand(r.t, conn)
	for _, channel := range []uint32{9, 10} {
		_, err = conn.Write(basicFrame("J", id, channel))
		require.NoError(r.t, err)
		_, err = conn.Read(make([]byte, 100))
		require.NoError(r.t, err)
	}
	return func(channel uint32, text string) string {
		_, err := conn.Write(basicFrame("M", id, channel, uint32(len(text)), text))
		require.NoError(r.t, err)
		return "taken" // it is not answered
	}
}

// heardOn follows channels over HTTP. Next returns the next line.
func (r *running) heardOn(channels string) (next func() string) {
	lines := make(chan string, 1000)
	r.follow(fmt.Sprintf("sender=%d&channels=%s", r.register("").ID, channels), func(b []byte) { lines <- strings.TrimSpace(string(b)) })
	return func() string {
		r.t.Helper()
		select {
		case line := <-lines:
			return line
		case <-time.After(patient):
			require.Fail(r.t, "nothing is heard")
			return ""
		}
	}
}

func TestALaunchOverEveryProtocol(t *testing.T) {
	t.Parallel()
	r := startWith(t, launchConfig(t))
	next := r.heardOn("9,10")
	told := make(chan string, 1000)
	listener, err := r.pahoClient(nil)
	require.NoError(t, err)
	require.NoError(t, wait(listener.Subscribe("watchtower/confirm/+", 1, func(_ paho.Client, m paho.Message) { told <- m.Topic() + " " + string(m.Payload()) })))

	carl, carlsSocket, carls := r.guarded("carl")
	proved := map[string]speaker{
		"http": carl, "mqtt": r.overMQTT("ann", "ann-pass", "desk"),
		"udp": r.overSession("udp", "valve", r.keyOf("valve")), "tcp": r.overSession("tcp", "pump", r.keyOf("pump")),
		"irc": r.overIRC("tablet", "bob:bob-pass"),
	}
	assert.Equal(t, waits(1, 2), carl(9, "go"))
	assert.Equal(t, waits(1, 2), carlsSocket(9, "go"), "the same sender")
	line := next()
	assert.Contains(t, line, `{"type":"confirm","channel":9,"confirmed":1,"of":2,"until":"`)
	assert.Equal(t, "watchtower/confirm/9 "+line, <-told)
	assert.Equal(t, "taken", r.overMQTT("bob", "bob-pass", "phone")(9, "go"))
	assert.Contains(t, next(), fmt.Sprintf(`"name":"bob.phone","confirmed_by":[%d,`, carls.ID))

	for first, say := range proved {
		for second, also := range proved {
			if first == second {
				continue
			}
			text := first + " and " + second
			if answer := say(9, text); first == "mqtt" {
				assert.Equal(t, "taken", answer)
			} else {
				assert.Equal(t, waits(1, 2), answer, text)
			}
			assert.Contains(t, next(), `"type":"confirm"`)
			assert.Equal(t, "taken", also(9, text), text)
			line := next()
			assert.Contains(t, line, text)
			assert.Contains(t, line, `"type":"broadcast"`)
			assert.Contains(t, line, `"confirmed_by":[`)
		}
	}

	assert.Equal(t, "403:not-proved", r.overHTTP(r.register("carla"), true)(9, "go"))
	var itself registration
	r.post("/register", fmt.Sprintf(`{"secret_key":%q,"name":"emma","protected":true}`, key), &itself)
	assert.Equal(t, "403:not-proved", r.overHTTP(itself, true)(9, "go"), "a name that no operator protected")
	assert.Equal(t, "401:invalid-token", r.became(r.call("POST", "/broadcast", "application/json", fmt.Sprintf(`{"sender":%d,"channels":[9],"message":"go"}`, carls.ID))))
	assert.Equal(t, "403", r.overSocket(r.register("dora"))(9, "go"))
	assert.Equal(t, fmt.Sprint(frame.NotJoined), r.overSession("udp", "lamp", nil)(9, "go"))
	assert.Equal(t, "404", r.overIRC("dan", key)(9, "go"))
	r.overBasic("udp")(9, "go")
	r.overMQTT("x", key, "stranger")(9, "go")
	eventually(t, "those are refused", func() bool { return r.dropped(viaMQTT, bridge.Refused) == 1 })
	assert.Empty(t, r.g.Hub().Directory().HalfConfirmed())
	assert.Equal(t, "400:invalid-channel", r.became(r.call("POST", "/broadcast", "application/json", fmt.Sprintf(`{"sender":%d,"channels":[10,9],"message":"go"}`, carls.ID), bearer(carls.Token)...)))
}

// On channel 10 everybody counts, with basic frames too.
func TestALaunchWhereEverybodyCounts(t *testing.T) {
	t.Parallel()
	r := startWith(t, launchConfig(t))
	next := r.heardOn("10")
	r.overBasic("udp")(10, "go")
	assert.Contains(t, next(), `"confirmed":1,"of":3`)
	tcp := r.overBasic("tcp")
	tcp(10, "go")
	tcp(10, "go")
	assert.Contains(t, next(), `"confirmed":2,"of":3`)
	assert.Equal(t, "taken", r.overHTTP(r.register("lamp"), false)(10, "go"))
	line := next()
	assert.Contains(t, line, `"name":"lamp","confirmed_by":[`)
	assert.Contains(t, line, `"message":"go"`)
}

// An operator who has signed in by a password is the user; who has the admin key is nobody.
func TestOperatorsConfirm(t *testing.T) {
	t.Parallel()
	r := startWith(t, launchConfig(t))
	next := r.heardOn("9")
	ann := r.signIn(`{"user":"ann","password":"ann-pass"}`)
	say := func(session string) (int, string) {
		return r.operate(session, "POST /operator/channels/9/messages", `{"message":"go"}`)
	}
	status, answer := say(r.asAdmin())
	assert.Equal(t, 403, status, answer)
	status, answer = say(ann)
	assert.Equal(t, 202, status, answer)
	assert.Contains(t, answer, `"confirmed":1,"of":2`)
	assert.Contains(t, next(), `"type":"confirm"`)
	r.overMQTT("ann", "ann-pass", "desk")(9, "go")
	status, answer = r.call("PUT", "/operator/topics/value?topic=watchtower/channels/9/broadcast&retain=false", "text/plain", "go", bearer(ann)...)
	assert.Equal(t, 202, status, answer)
	assert.Equal(t, `{"confirmed":1,"of":2}`, strings.TrimSpace(answer), "ann is one, by the console, by a topic and by MQTT")
	r.overMQTT("bob", "bob-pass", "desk")(9, "go")
	assert.Contains(t, next(), `"type":"broadcast"`)
}

// A restart between the two forgets the first, and says so.
func TestARestartForgetsALaunch(t *testing.T) {
	t.Parallel()
	r := startWith(t, launchConfig(t))
	next := r.heardOn("9")
	carl, _, _ := r.guarded("carl")
	assert.Equal(t, waits(1, 2), carl(9, "go"))
	assert.Contains(t, next(), `"confirmed":1`)
	again := r.restart(func(*config.Config) {})
	assert.Equal(t, `{"type":"confirm","channel":9,"confirmed":0,"of":2,"reason":"restart"}`, next())
	assert.Contains(t, r.log.String(), "messages that were half confirmed are forgotten")
	next = again.heardOn("9")
	again.overMQTT("bob", "bob-pass", "desk")(9, "go")
	assert.Contains(t, next(), `"confirmed":1`, "bob is the first again")
}

// So does the start after the gateway was killed.
func TestAKillForgetsALaunch(t *testing.T) {
	t.Parallel()
	cfg := launchConfig(t)
	r := startWith(t, cfg)
	carl, _, _ := r.guarded("carl")
	assert.Equal(t, waits(1, 2), carl(9, "go"))
	eventually(t, "it is on disk that something waits", func() bool {
		b, err := os.ReadFile(filepath.Join(cfg.DataDir, "watchtower.db"))
		return err == nil && strings.Contains(string(b), "half_confirmed")
	})
	r.register("later") // is on disk after it
	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS(cfg.DataDir)))
	r.stop()
	cfg.DataDir = copied
	killed := startWith(t, cfg)
	eventually(t, "the log says so", func() bool {
		return strings.Contains(killed.log.String(), "messages that were half confirmed are forgotten")
	})
}

// unconfirmed lets a message wait in vain.
func unconfirmed(t *testing.T) *running {
	cfg := launchConfig(t)
	cfg.Channels[9] = config.Channel{Confirm: 2, Within: time.Second}
	r := startWith(t, cfg)
	next := r.heardOn("9")
	carl, _, _ := r.guarded("carl")
	assert.Equal(t, waits(1, 2), carl(9, "go"))
	assert.Contains(t, next(), `"confirmed":1`)
	assert.Equal(t, `{"type":"confirm","channel":9,"confirmed":0,"of":2,"reason":"expired"}`, next())
	return r
}

// A rule that a reload brings, changes or takes away counts at once.
func TestRulesAreReloaded(t *testing.T) {
	t.Parallel()
	r, f := startFrom(t, launchConfig(t))
	admin := r.asAdmin()
	carl, _, _ := r.guarded("carl")
	dora, _, _ := r.guarded("dora")
	assert.Equal(t, waits(1, 2), carl(9, "go"))
	f.change(func(c *config.Config) {
		c.Channels[9] = config.Channel{Name: "launch", Confirm: 3, Within: time.Minute}
	})
	reloaded, restart := r.reload(admin)
	assert.Equal(t, "channels.9", reloaded)
	assert.Empty(t, restart)
	assert.Equal(t, waits(1, 3), dora(9, "go"), "the other rule begins anew")
	f.change(func(c *config.Config) { delete(c.Channels, 9) })
	r.reload(admin)
	assert.Equal(t, "taken", dora(9, "go"))
}

// An answer that was lost is the same when the frame is repeated: no device takes what waits for
// delivered, nor is one counted twice.
func TestALaunchOverABadRadio(t *testing.T) {
	t.Parallel()
	r := startWith(t, launchConfig(t))
	bad := harness.NewRadio(t, r.at.UDP, 0.3)
	ctx := leniently(t)
	c, err := session.Dial(ctx, "udp", bad.Addr(), session.Options{Key: r.keyOf("valve"), Own: true, Name: "valve", RetryGap: 10 * time.Millisecond, RegisterEvery: 50 * time.Millisecond})
	require.NoError(t, err)
	defer func() { _ = c.Close(ctx) }()
	require.NoError(t, c.Join(ctx, 9))
	for i := range 8 {
		confirmed, of, err := c.Confirm(ctx, session.Text, fmt.Append(nil, i), 9)
		require.NoError(t, err)
		assert.Equal(t, waits(1, 2), waits(confirmed, of))
	}
	assert.Equal(t, map[bridge.Channel]int{9: 8}, r.g.Hub().Directory().HalfConfirmed())
}
