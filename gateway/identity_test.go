package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
)

// restart ends a gateway, and starts one with the same data and other settings.
func (r *running) restart(change func(*config.Config)) *running {
	r.stop()
	cfg := r.cfg
	change(&cfg)
	return startWith(r.t, cfg)
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func (r *running) registerAs(secret, name string) (status int, reg registration) {
	body := map[string]string{"secret_key": secret}
	if name != "" {
		body["name"] = name
	}
	b, err := json.Marshal(body)
	require.NoError(r.t, err)
	status, answer := r.call("POST", "/register", "application/json", string(b))
	if status == 200 {
		require.NoError(r.t, json.Unmarshal([]byte(answer), &reg))
	}
	return status, reg
}

func TestNamesOfAUserAreNobodyElses(t *testing.T) {
	t.Parallel()
	r := startWith(t, family(t))
	guest, inbox, err := r.as("guest", "guest-pass", "phone")
	require.NoError(t, err)
	require.True(t, granted(t, guest, "watchtower/channels/5/#"))

	status, _ := r.registerAs(key, "guest.phone")
	assert.Equal(t, 401, status, "over HTTP")
	for _, user := range []string{"anybody", "guest.phone"} {
		_, _, err = r.as(user, key, "guest.phone")
		assert.Error(t, err, "over MQTT with the secret key")
	}
	_, err = session.Dial(t.Context(), "udp", r.at.UDP, session.Options{Secret: key, Name: "guest.phone"})
	assert.Error(t, err, "over UDP with a session")
	owner, _, err := r.as("x", key, "owner")
	require.NoError(t, err)
	require.NoError(t, wait(owner.Publish("watchtower/channels/5/broadcast", 1, false, "still mine")))
	assert.Contains(t, <-inbox, "still mine")
	status, _ = r.registerAs(key, "guesthouse.phone")
	assert.Equal(t, 200, status, "a name that only begins with the same letters")
	other, _, err := r.as("guest", "guest-pass", "tablet")
	require.NoError(t, err)
	defer other.Disconnect(0)
	for _, s := range []paho.Client{guest, other} {
		id := r.me(s)
		sender, ok := r.g.Hub().SenderByID(id)
		require.True(t, ok)
		assert.Equal(t, "guest", r.g.Hub().Users().User(sender), "two senders, one person")
	}
}

// me asks the broker who a client is.
func (r *running) me(c paho.Client) bridge.SenderID {
	var me struct {
		ID bridge.SenderID `json:"id"`
	}
	told := make(chan []byte, 1)
	require.NoError(r.t, wait(c.Subscribe("watchtower/me", 0, func(_ paho.Client, m paho.Message) { told <- m.Payload() })))
	require.NoError(r.t, json.Unmarshal(<-told, &me))
	return me.ID
}

func TestANameOfAUserTakenBeforeIsTheUsers(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	_, taken := r.registerAs(key, "guest.phone")
	thief, _, err := r.pahoPersistent("x", key, "guest.tablet")
	require.NoError(t, err)
	require.NoError(t, wait(thief.Subscribe("watchtower/channels/5/broadcast/+", 1, nil)))
	thief.Disconnect(0)
	r = r.restart(func(c *config.Config) { c.Users = family(t).Users })
	status, _ := r.call("GET", fmt.Sprintf("/channels?sender=%d", taken.ID), "", "", bearer(taken.Token)...)
	assert.Equal(t, 401, status, "its token has ended")
	assert.Equal(t, 0, r.g.MQTTStats().Sessions, "and the session of its name")
	guest, _, err := r.as("guest", "guest-pass", "phone")
	require.NoError(t, err)
	assert.Equal(t, bridge.SenderID(taken.ID), r.me(guest), "names keep their ids")
}

func (r *running) pahoPersistent(user, password, client string) (paho.Client, chan string, error) {
	inbox := make(chan string, 100)
	c, err := r.pahoClient(func(o *paho.ClientOptions) {
		o.SetUsername(user).SetPassword(password).SetClientID(client).SetCleanSession(false)
		o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { inbox <- m.Topic() + " " + string(m.Payload()) })
	})
	return c, inbox, err
}

func TestAChangedSecretKeyEndsWhatTheOldOneVouchedFor(t *testing.T) {
	t.Parallel()
	r := startWith(t, family(t))
	_, named := r.registerAs(key, "kitchen")
	_, unnamed := r.registerAs(key, "")
	posted := make(chan struct{}, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { posted <- struct{}{} }))
	t.Cleanup(hook.Close)
	r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":%q}`, named.ID, hook.URL), nil)
	old, _, err := r.pahoPersistent("x", key, "lamp")
	require.NoError(t, err)
	require.NoError(t, wait(old.Subscribe("watchtower/channels/5/broadcast/+", 1, nil)))
	lamp := r.me(old)
	old.Disconnect(0)
	kept, _, err := r.pahoPersistent("homeassistant", "ha-pass", "ha")
	require.NoError(t, err)
	require.NoError(t, wait(kept.Subscribe("watchtower/channels/5/broadcast/+", 1, nil)))
	kept.Disconnect(0)

	const another = "another key, as long as it"
	r = r.restart(func(c *config.Config) { c.SecretKey = another })
	for _, reg := range []registration{named, unnamed} {
		for _, header := range [][]string{bearer(reg.Token), nil} {
			status, body := r.call("GET", fmt.Sprintf("/channels?sender=%d", reg.ID), "", "", header...)
			assert.Equal(t, 401, status, body)
		}
	}
	assert.Equal(t, 1, r.g.MQTTStats().Sessions, "the user's session was not the key's")
	_, _, err = r.as("x", named.Token, "x")
	assert.Error(t, err)
	status, again := r.registerAs(another, "kitchen")
	require.Equal(t, 200, status)
	assert.Equal(t, named.ID, again.ID, "names keep their ids")
	status, body := r.call("GET", fmt.Sprintf("/callbacks?sender=%d", again.ID), "", "", bearer(again.Token)...)
	require.Equal(t, 200, status, body)
	assert.NotContains(t, body, hook.URL)
	c, _, err := r.as("x", another, "lamp")
	require.NoError(t, err)
	assert.Equal(t, lamp, r.me(c))
	require.NoError(t, wait(c.Publish("watchtower/channels/5/broadcast", 1, false, "x")))
	assert.Empty(t, posted)

	r = r.restart(func(c *config.Config) { c.SecretKey = key })
	status, _ = r.call("GET", fmt.Sprintf("/channels?sender=%d", named.ID), "", "", bearer(named.Token)...)
	assert.Equal(t, 401, status, "a key that comes back brings nothing back")
	_, fresh := r.registerAs(key, "kitchen")
	r = r.restart(func(*config.Config) {})
	status, _ = r.call("GET", fmt.Sprintf("/channels?sender=%d", named.ID), "", "", bearer(fresh.Token)...)
	assert.Less(t, status, 300, "the same key changes nothing")
}

func TestAClientIDAloneIsNotRemembered(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for i := range 50 {
		c, _, err := r.as("x", key, fmt.Sprintf("random-%d", i))
		require.NoError(t, err)
		require.NoError(t, wait(c.Publish("watchtower/channels/5/broadcast", 1, false, "x")))
		c.Disconnect(0)
	}
	eventually(t, "all are forgotten", func() bool { _, n := r.g.Hub().Directory().Counts(); return n == 0 })
	sensor, _, err := r.as("x", key, "sensor")
	require.NoError(t, err)
	id := r.me(sensor)
	sensor.Disconnect(0)
	member, _, err := r.as("x", key, "member")
	require.NoError(t, err)
	require.NoError(t, wait(member.Subscribe("watchtower/channels/5/broadcast/+", 1, nil)))
	member.Disconnect(0)
	away, _, err := r.pahoPersistent("x", key, "away")
	require.NoError(t, err)
	away.Disconnect(0)
	r = r.restart(func(*config.Config) {})
	_, known := r.g.Hub().Directory().Counts()
	assert.Equal(t, 2, known, "who joined, and who has a session")
	sensor, _, err = r.as("x", key, "sensor")
	require.NoError(t, err)
	assert.Equal(t, id, r.me(sensor), "its id is the same all the same")
}

func TestWhatATokenHoldsIsNotOpenToItsID(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	_, reg := r.registerAs(key, "")
	status, _ := r.call("GET", fmt.Sprintf("/channels?sender=%d", reg.ID), "", "")
	require.Less(t, status, 300, "as in the seed")
	c, inbox, err := r.as("x", reg.Token, "anything")
	require.NoError(t, err)
	require.NoError(t, wait(c.Subscribe("watchtower/channels/5/#", 1, nil)))
	for _, call := range [][3]string{
		{"POST", "/broadcast", `{"sender":%d,"channels":[5],"message":"x"}`},
		{"POST", "/channels/leave", `{"sender":%d,"channels":[5]}`},
		{"POST", "/channels/join/async", `{"sender":%d,"channels":[5],"callback_url":"http://127.0.0.1:9/"}`},
		{"DELETE", fmt.Sprintf("/senders/%d", reg.ID), ""},
	} {
		body := call[2]
		if body != "" {
			body = fmt.Sprintf(body, reg.ID)
		}
		status, answer := r.call(call[0], call[1], "application/json", body)
		assert.Equal(t, 401, status, "%s %s: %s", call[0], call[1], answer)
	}
	r = r.restart(func(*config.Config) {})
	status, _ = r.call("GET", fmt.Sprintf("/channels?sender=%d", reg.ID), "", "")
	assert.Equal(t, 401, status, "nor after a restart")
	assert.Empty(t, inbox)
}

func TestADeletionIsOnDiskWhenItIsAnswered(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	call := func(method, path, token string) int {
		req, err := http.NewRequest(method, "http://"+p.http+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	for range 5 {
		p.start()
		resp, err := http.Post("http://"+p.http+"/register", "application/json", strings.NewReader(fmt.Sprintf(`{"secret_key":%q}`, key)))
		require.NoError(t, err)
		var reg registration
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&reg))
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 204, call("DELETE", fmt.Sprintf("/senders/%d", reg.ID), reg.Token))
		p.kill()
		p.start()
		assert.Equal(t, 401, call("GET", fmt.Sprintf("/channels?sender=%d", reg.ID), reg.Token), "the token of what was deleted")
		p.kill()
	}
}

func testSenders(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.Senders = 2 })
	_, first := r.registerAs(key, "one")
	_, _ = r.registerAs(key, "")
	status, body := r.call("POST", "/register", "application/json", fmt.Sprintf(`{"secret_key":%q}`, key))
	assert.Equal(t, 503, status)
	assert.Contains(t, body, "limits.senders")
	status, _ = r.registerAs(key, "one")
	assert.Equal(t, 200, status, "who is known goes on")
	_, _, err := r.pahoPersistent("x", key, "three")
	assert.Error(t, err)
	c, _, err := r.as("x", key, "four")
	require.NoError(t, err, "who need not be remembered is served")
	require.NoError(t, wait(c.Subscribe("watchtower/channels/5/broadcast/+", 1, nil)))
	assert.Equal(t, 1, r.dropped(viaHTTP, bridge.Limit))
	assert.GreaterOrEqual(t, r.dropped(viaMQTT, bridge.Limit), 2)
	again, err := r.g.Hub().Tokens().Authorize(bridge.SenderID(first.ID), "")
	require.NoError(t, err)
	require.NoError(t, r.g.Hub().Forget(again))
	status, _ = r.registerAs(key, "")
	assert.Equal(t, 200, status, "there is room again")
}
