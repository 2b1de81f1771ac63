package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// Who is made to leave a channel at one gateway has left it at all, by whatever it joined there; others stay.
func TestWhoIsMadeToLeaveHasLeftEverywhere(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", withAdmin), together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	lamp := b.visits("lamp", nil)
	require.NoError(t, wait(lamp.SubscribeMultiple(map[string]byte{"watchtower/channels/5/#": 1, "watchtower/channels/6/#": 1}, nil)))
	stays := b.visits("stays", nil)
	require.NoError(t, wait(stays.Subscribe("watchtower/channels/5/#", 1, nil)))
	nameless := b.register("")
	b.follow(fmt.Sprintf("channels=5&sender=%d", nameless.ID), func([]byte) {})
	asker := a.register("asker")
	a.follow(fmt.Sprintf("channels=5,6&sender=%d", asker.ID), func([]byte) {})
	on := func(r *running, channel int) (who []string) {
		status, answer := r.call("GET", fmt.Sprintf("/channels/%d/members?sender=%d", channel, asker.ID), "", "", "Authorization", "Bearer "+asker.Token)
		require.Equal(t, 200, status, answer)
		var list struct {
			Members []struct {
				ID   int
				Name string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(answer), &list))
		for _, m := range list.Members {
			who = append(who, strings.TrimSpace(fmt.Sprint(m.Name, " ", m.ID)))
		}
		return who
	}
	has := func(r *running, channel, n int) func() bool { return func() bool { return len(on(r, channel)) == n } }
	eventually(t, "all are on the channel", has(a, 5, 4))

	admin := a.asAdmin()
	for _, who := range []string{"lamp", fmt.Sprint(nameless.ID)} {
		status, answer := a.operate(admin, "DELETE /operator/channels/5/members/"+who, "")
		assert.Equal(t, 204, status, answer)
	}
	eventually(t, "they have left at both", func() bool { return has(a, 5, 2)() && has(b, 5, 2)() })
	assert.Len(t, on(a, 6), 2, "not the other channel")
	status, answer := a.operate(admin, "DELETE /operator/channels/5/members/lamp", "")
	assert.Equal(t, 404, status, answer)

	r := a.register("lamp") // the same sender, by HTTP
	status, answer = a.call("POST", "/channels/leave", "application/json", fmt.Sprintf(`{"sender":%d,"channels":[6]}`, r.ID), "Authorization", "Bearer "+r.Token)
	assert.Equal(t, 200, status, answer)
	eventually(t, "its subscription has ended, too", func() bool { return has(a, 6, 1)() && has(b, 6, 1)() })
}

// A delivery report counts receivers at all gateways, and names those that say nothing.
func TestAReportCountsReceiversEverywhere(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", withAdmin), together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	speaker := a.register("speaker")
	a.follow(fmt.Sprintf("channels=5,6&sender=%d", speaker.ID), func([]byte) {})
	lamp := b.visits("lamp", nil)
	require.NoError(t, wait(lamp.SubscribeMultiple(map[string]byte{"watchtower/channels/5/#": 1, "watchtower/channels/6/#": 1}, nil)))
	nameless := b.register("")
	b.follow(fmt.Sprintf("channels=5&sender=%d", nameless.ID), func([]byte) {})
	eventually(t, "all are known", func() bool {
		_, answer := a.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", speaker.ID), "", "", "Authorization", "Bearer "+speaker.Token)
		return strings.Contains(answer, `"count":3`)
	})
	type report struct {
		Offered, Dropped map[string]int
		Missing          []string
	}
	say := func(path, body string) (r report) {
		status, answer := a.call("POST", path, "application/json", fmt.Sprintf(`{"sender":%d,"report":true,"message":"x",%s}`, speaker.ID, body), "Authorization", "Bearer "+speaker.Token)
		require.Equal(t, 200, status, answer)
		require.NoError(t, json.Unmarshal([]byte(answer), &r), answer)
		return r
	}
	none := map[string]int{}
	assert.Equal(t, report{map[string]int{"http": 3, "mqtt": 2}, none, nil}, say("/broadcast", `"channels":[5,6]`))
	assert.Equal(t, report{map[string]int{"mqtt": 1}, none, nil}, say("/send", `"channels":[5],"receivers":["lamp"]`))
	status, answer := a.operate(a.asAdmin(), "POST /operator/channels/5/messages", `{"message":"x"}`)
	require.Equal(t, 200, status, answer)
	assert.Contains(t, answer, `"offered":{"http":2,"mqtt":1}`)

	posted := make(chan string, 1)
	receiver := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, req *nethttp.Request) {
		body, _ := io.ReadAll(req.Body)
		posted <- string(body)
	}))
	defer receiver.Close()
	status, answer = a.call("POST", "/broadcast", "application/json", fmt.Sprintf(`{"sender":%d,"callback_url":%q,"message":"x","channels":[5]}`, speaker.ID, receiver.URL), "Authorization", "Bearer "+speaker.Token)
	require.Equal(t, 200, status, answer)
	assert.Contains(t, <-posted, `"offered":{"http":2,"mqtt":1},"dropped":{}}`)

	servers.Signal(0, syscall.SIGSTOP) // nobody hears the other
	var r report
	eventually(t, "it is frozen", func() bool {
		r = say("/broadcast", `"channels":[5]`)
		return r.Missing != nil
	})
	assert.Equal(t, report{map[string]int{"http": 1}, none, []string{"b"}}, r)
	servers.Signal(0, syscall.SIGCONT)
}

// A client of IRC sees who is on a channel at other gateways, and may speak to him.
func TestIRCSeesMembersOfOtherGateways(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", withAdmin), together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	anna := a.ircAs("anna", key)
	lamp := b.visits("lamp", nil)
	heard := make(chan string, 1)
	require.NoError(t, wait(lamp.Subscribe("watchtower/channels/5/#", 1, func(_ paho.Client, m paho.Message) { heard <- m.Topic() })))
	anna.until(`^:lamp!\d+@\S+ JOIN #5$`)
	anna.say("NAMES #5")
	assert.Regexp(t, ":(anna lamp|lamp anna)$", anna.until(" 353 "))
	anna.say("WHO #5")
	assert.Contains(t, anna.until(" 352 .* lamp "), "via mqtt, at b")
	anna.say("PRIVMSG lamp :on")
	assert.Contains(t, <-heard, "watchtower/channels/5/send/")
	bob := b.ircAs("bob", key)
	bob.say("PRIVMSG anna :here I am")
	assert.Contains(t, anna.until(" PRIVMSG anna "), ":bob!")

	admin := a.asAdmin()
	status, list := a.operate(admin, "GET /operator/channels/5/members", "")
	require.Equal(t, 200, status, list)
	assert.Contains(t, list, `"name":"lamp","via":[{"protocol":"mqtt"}],"gateway":"b"`)
	assert.Contains(t, list, `"count":3`)
	lamp.Disconnect(0)
	anna.until(`^:lamp!\S+ (QUIT|PART) `)
	b.stop()
	anna.until(`^:bob!\S+ (QUIT|PART) `)
}
