package gateway_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"watchtower/config"
)

func hashed(t testing.TB, password string) string {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	return string(h)
}

// family is a home with three users beside the secret key.
func family(t *testing.T) config.Config {
	cfg := testConfig(t)
	cfg.Users = map[string]config.User{
		"homeassistant": {PasswordHash: hashed(t, "ha-pass")},
		"guest": {PasswordHash: hashed(t, "guest-pass"), ACL: []config.Rule{
			{Access: "read", Topic: "home/#"}, {Access: "deny", Topic: "home/safe/#"},
			{Access: "readwrite", Topic: "guests/%u/%c/#"},
			{Access: "readwrite", Topic: "watchtower/channels/5/#"},
		}},
		"sensor":    {PasswordHash: hashed(t, "sensor-pass"), ACL: []config.Rule{{Access: "write", Topic: "home/+/temperature"}}},
		"listener":  {PasswordHash: hashed(t, "listener-pass"), ACL: []config.Rule{{Access: "read", Topic: "watchtower/channels/5/broadcast/+"}}},
		"addressee": {PasswordHash: hashed(t, "addressee-pass"), ACL: []config.Rule{{Access: "read", Topic: "watchtower/channels/5/send/+/+"}}},
		"nobody":    {PasswordHash: hashed(t, "nobody-pass"), ACL: []config.Rule{}},
	}
	return cfg
}

func (r *running) as(user, password, client string) (paho.Client, chan string, error) {
	inbox := make(chan string, 100)
	c, err := r.pahoClient(func(o *paho.ClientOptions) {
		o.SetUsername(user).SetPassword(password).SetClientID(client)
		o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { inbox <- m.Topic() + " " + string(m.Payload()) })
	})
	return c, inbox, err
}

func granted(t *testing.T, c paho.Client, filter string) bool {
	token := c.Subscribe(filter, 1, nil).(*paho.SubscribeToken)
	require.NoError(t, wait(token))
	for _, code := range token.Result() { // paho leaves the share out of the filter
		return code < 0x80
	}
	return false
}

func TestUsers(t *testing.T) {
	t.Parallel()
	r := startWith(t, family(t))
	t.Run("passwords", func(t *testing.T) {
		for _, c := range []struct {
			user, password string
			ok             bool
		}{
			{"guest", "guest-pass", true}, {"guest", "guest-pass", true}, {"guest", "Guest-pass", false}, {"guest", "", false},
			{"guest", key, false}, // whoever has the key needs no user's name
			{"guest", "sensor-pass", false}, {"Guest", "guest-pass", false}, {"nobody", "nobody-pass", true},
			{"x", "guest-pass", false}, {"x", key, true}, {"homeassistant", "ha-pass", true},
		} {
			_, _, err := r.as(c.user, c.password, "client")
			assert.Equal(t, c.ok, err == nil, "%s, %s: %v", c.user, c.password, err)
		}
	})
	t.Run("reading", func(t *testing.T) {
		guest, inbox, err := r.as("guest", "guest-pass", "tablet")
		require.NoError(t, err)
		owner, _, err := r.as("x", key, "owner")
		require.NoError(t, err)
		for filter, want := range map[string]bool{
			"#": true, "home/safe/#": false, "other/#": false, "guests/guest/tablet/#": true, "guests/guest/phone/#": false,
			"watchtower/channels/6/#": false, "$share/g/home/#": true, "$share/g/other": false,
			"watchtower/channels/5/broadcast/+": true, "watchtower/me": true,
		} {
			assert.Equal(t, want, granted(t, guest, filter), filter)
		}
		for _, filter := range []string{"$share/g/home/#", "watchtower/channels/5/broadcast/+"} {
			require.NoError(t, wait(guest.Unsubscribe(filter)))
		}
		eventually(t, "the inbox is empty", func() bool {
			for len(inbox) > 0 {
				<-inbox
			}
			return true
		})
		for _, topic := range []string{"home/safe/code", "other/x", "guests/guest/phone/x", "watchtower/channels/6/broadcast", "home/x"} {
			require.NoError(t, wait(owner.Publish(topic, 1, true, "live")))
		}
		assert.Equal(t, "home/x live", <-inbox)
		assert.Empty(t, inbox)
		again, inbox, err := r.as("guest", "guest-pass", "tablet2")
		require.NoError(t, err)
		require.True(t, granted(t, again, "#"))
		assert.Equal(t, "home/x live", <-inbox, "of what is retained, no more either")
		assert.Empty(t, inbox)
	})
	t.Run("writing", func(t *testing.T) {
		owner, inbox, err := r.as("x", key, "owner")
		require.NoError(t, err)
		require.True(t, granted(t, owner, "home/#"))
		require.True(t, granted(t, owner, "watchtower/channels/+/broadcast/+"))
		for len(inbox) > 0 {
			<-inbox
		}
		for _, try := range []struct{ user, client, topic string }{
			{"sensor", "s1", "home/kitchen/temperature"}, {"sensor", "s1", "home/kitchen/door"}, {"sensor", "s1", "watchtower/channels/5/broadcast"},
			{"guest", "tablet", "home/x"}, {"guest", "tablet", "watchtower/channels/5/broadcast"}, {"guest", "tablet", "watchtower/channels/6/broadcast"},
			{"nobody", "n", "home/x"}, {"homeassistant", "ha", "home/ha"}, {"homeassistant", "ha", "watchtower/members/5/x"},
			{"homeassistant", "ha", "home/end"},
		} {
			c, _, err := r.as(try.user, try.user[:min(len(try.user), 6)]+"-pass", try.client)
			if try.user == "homeassistant" {
				c, _, err = r.as(try.user, "ha-pass", try.client)
			}
			require.NoError(t, err)
			require.NoError(t, wait(c.Publish(try.topic, 1, false, "w")), "3.1.1 is acknowledged")
		}
		var got []string
		for len(got) == 0 || got[len(got)-1] != "home/end w" {
			m := <-inbox
			if i := strings.LastIndex(m, "/broadcast/"); i > 0 {
				m = m[:i]
			}
			if strings.HasSuffix(m, " w") || strings.HasPrefix(m, "watchtower") {
				got = append(got, m)
			}
		}
		assert.Equal(t, []string{"home/kitchen/temperature w", "watchtower/channels/5", "home/ha w", "home/end w"}, got)
		assert.Contains(t, r.log.String(), "the user's access list does not allow it")
	})
	t.Run("a refusal is said in MQTT 5", func(t *testing.T) {
		args := r.mosquittoArgs("-V", "mqttv5", "-u", "sensor", "-P", "sensor-pass", "-q", "1", "-t", "home/x", "-m", "x", "-d")
		args = append(args[:4:4], args[10:]...) // without the key
		out, _ := exec.Command(program(t, "mosquitto_pub"), args...).CombinedOutput()
		assert.Contains(t, string(out), "RC:135")
	})
	t.Run("a will", func(t *testing.T) {
		for topic, want := range map[string]bool{"home/kitchen/temperature": true, "home/kitchen/door": false, "watchtower/channels/5/broadcast": false} {
			_, err := r.pahoClient(func(o *paho.ClientOptions) {
				o.SetUsername("sensor").SetPassword("sensor-pass").SetClientID("s2").SetWill(topic, "x", 1, false)
			})
			assert.Equal(t, want, err == nil, topic)
		}
	})
	t.Run("a client id that would widen a rule", func(t *testing.T) {
		for _, id := range []string{"+", "#", "a/b", "tablet/#"} {
			_, _, err := r.as("guest", "guest-pass", id)
			assert.Error(t, err, id)
			_, _, err = r.as("sensor", "sensor-pass", id)
			assert.NoError(t, err, "no rule of the sensor's has %%c: %s", id)
		}
	})
	t.Run("nobody else's sender", func(t *testing.T) {
		id := r.register("phone").ID
		_, inbox, err := r.as("x", key, "phone")
		require.NoError(t, err)
		assert.Empty(t, inbox)
		guest, inbox, err := r.as("guest", "guest-pass", "phone")
		require.NoError(t, err)
		require.True(t, granted(t, guest, "watchtower/me"))
		me := <-inbox
		assert.Contains(t, me, `"name":"guest.phone"`)
		assert.NotContains(t, me, fmt.Sprintf(`"id":%d,`, id))
	})
}

// On an open gateway too, a user's name needs the user's password.
func TestUsersOfAnOpenGateway(t *testing.T) {
	t.Parallel()
	cfg := family(t)
	cfg.Open, cfg.SecretKey = true, ""
	r := startWith(t, cfg)
	_, _, err := r.as("guest", "any", "c")
	assert.Error(t, err)
	_, _, err = r.as("x", "any", "c")
	assert.NoError(t, err)
}

// After a restart, waiting messages that a user may not read any more are gone, and so are
// the sessions of removed users.
func TestAccessListsThatChanged(t *testing.T) {
	t.Parallel()
	cfg := family(t)
	r := startWith(t, cfg)
	lasting := func(user string) func(*paho.ClientOptions) {
		return func(o *paho.ClientOptions) {
			o.SetUsername(user).SetPassword(user + "-pass").SetClientID("c-" + user).SetCleanSession(false)
		}
	}
	cfg.Users["other"] = config.User{PasswordHash: hashed(t, "other-pass")}
	r.stop()
	r = startWith(t, cfg)
	for _, user := range []string{"guest", "other"} {
		c, err := r.pahoClient(lasting(user))
		require.NoError(t, err)
		require.True(t, granted(t, c, "home/#"))
		require.True(t, granted(t, c, "watchtower/channels/5/broadcast/+"))
		c.Disconnect(100)
	}
	owner, _, err := r.as("x", key, "owner")
	require.NoError(t, err)
	require.NoError(t, wait(owner.Publish("home/a", 1, false, "secret")))
	require.NoError(t, wait(owner.Publish("home/b", 1, false, "open")))
	r.stop()

	delete(cfg.Users, "other")
	cfg.Users["guest"] = config.User{PasswordHash: cfg.Users["guest"].PasswordHash, ACL: []config.Rule{{Access: "read", Topic: "home/b"}}}
	r = startWith(t, cfg)
	inbox := make(chan string, 10)
	_, err = r.pahoClient(func(o *paho.ClientOptions) {
		lasting("guest")(o)
		o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { inbox <- m.Topic() })
	})
	require.NoError(t, err)
	assert.Equal(t, "home/b", <-inbox)
	assert.Empty(t, inbox)
	assert.Equal(t, 1, r.g.MQTTStats().Sessions)
	members, _ := r.g.Hub().Directory().Counts()
	assert.Zero(t, members[viaMQTT], "nobody is on channel 5 any more")
	assert.Contains(t, r.log.String(), "has no user other any more")
	assert.Contains(t, r.log.String(), "subscription lost")
}

// A user who may not read a channel's broadcasts is no member of it. A user who may not read
// sends cannot be sent to: the gateway accepts no message that its receiver cannot get.
func TestAccessListsDecideWhatAFilterJoins(t *testing.T) {
	t.Parallel()
	r := startWith(t, family(t))
	ids := map[string]uint32{}
	for _, user := range []string{"listener", "addressee"} {
		c, inbox, err := r.as(user, user+"-pass", "c")
		require.NoError(t, err)
		require.True(t, granted(t, c, "watchtower/channels/5/#"))
		require.True(t, granted(t, c, "watchtower/me"))
		var me struct{ ID uint32 }
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(<-inbox, "watchtower/me ")), &me))
		ids[user] = me.ID
	}
	web := r.register("").ID
	defer r.follow(fmt.Sprintf("channels=5&linger=false&sender=%d", web), func([]byte) {})()
	_, members := r.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", web), "", "")
	assert.Contains(t, members, "listener.c")
	assert.NotContains(t, members, "addressee.c")
	for user, want := range map[string]int{"listener": 400, "addressee": 200} {
		status, body := r.call("POST", fmt.Sprintf("/send?channels=5&sender=%d&receivers=%d", web, ids[user]), "text/plain", "x")
		assert.Equal(t, want, status, "%s: %s", user, body)
	}
}
