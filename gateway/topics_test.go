package gateway_test

import (
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shownLevel is a level as GET /operator/topics shows it.
type shownLevel struct {
	Level    string
	Below    int
	Retained *struct {
		Bytes      int
		QoS        int
		Time       time.Time
		Kind, Text string
	}
}

// levels returns a page of retained topics.
func (r *running) levels(token, query string) (page []shownLevel, next string) {
	r.t.Helper()
	status, answer := r.operate(token, "GET /operator/topics?"+query, "")
	require.Equal(r.t, 200, status, answer)
	var got struct {
		Topics []shownLevel
		Next   string
	}
	require.NoError(r.t, json.Unmarshal([]byte(answer), &got))
	return got.Topics, got.Next
}

// topic returns the path of a topic's value.
func topicPath(topic string, more ...string) string {
	return "/operator/topics/value?topic=" + url.QueryEscape(topic) + strings.Join(more, "")
}

func TestRetainedTopicsAreShownByLevel(t *testing.T) {
	t.Parallel()
	r := startWith(t, office(t))
	client, err := r.pahoClient(nil)
	require.NoError(t, err)
	for topic, text := range map[string]string{
		"house": "here", "house/attic/lamp": `{"state":"ON"}`, "house/attic/fan": "off", "house/cellar": "\xff\x00",
		"house/": "empty level", "house//x": "two",
	} {
		require.NoError(t, wait(client.Publish(topic, 1, true, text)))
	}
	token := r.signIn(`{"user":"ulook","password":"passlook"}`)
	top, next := r.levels(token, "")
	assert.Empty(t, next)
	var names []string
	for _, l := range top {
		names = append(names, l.Level)
	}
	assert.Equal(t, []string{"house", "watchtower"}, names)
	assert.Equal(t, 5, top[0].Below)
	assert.Equal(t, "here", top[0].Retained.Text)
	assert.WithinDuration(t, time.Now(), top[0].Retained.Time, lenient)
	assert.Equal(t, 1, top[0].Retained.QoS)
	assert.Nil(t, top[1].Retained)

	under, _ := r.levels(token, "under=house/")
	require.Len(t, under, 3)
	assert.Equal(t, "", under[0].Level)
	assert.Equal(t, 1, under[0].Below)
	assert.Equal(t, "empty level", under[0].Retained.Text)
	assert.Equal(t, "attic", under[1].Level)
	assert.Equal(t, 2, under[1].Below)
	assert.Nil(t, under[1].Retained)
	assert.Equal(t, "cellar", under[2].Level)
	assert.Equal(t, "bytes", under[2].Retained.Kind)
	assert.Equal(t, "ff 00", under[2].Retained.Text)
	nothing, _ := r.levels(token, "under=elsewhere/")
	assert.Empty(t, nothing)

	page, next := r.levels(token, "under=house/attic/&limit=1")
	require.Len(t, page, 1)
	assert.Equal(t, "fan", page[0].Level)
	assert.Equal(t, "lamp", next)
	page, next = r.levels(token, "under=house/attic/&limit=1&from=lamp")
	require.Len(t, page, 1)
	assert.Equal(t, "lamp", page[0].Level)
	assert.Empty(t, next)

	req, err := nethttp.NewRequest("GET", "http://"+r.at.HTTP+topicPath("house/cellar"), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := web.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	assert.Equal(t, "application/octet-stream", res.Header.Get("Content-Type"))
	assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
	assert.Equal(t, "1", res.Header.Get("Watchtower-QoS"))
	at, err := time.Parse(time.RFC3339, res.Header.Get("Watchtower-Time"))
	assert.NoError(t, err)
	assert.WithinDuration(t, time.Now(), at, lenient)
	b := make([]byte, 10)
	n, _ := res.Body.Read(b)
	assert.Equal(t, "\xff\x00", string(b[:n]))
	status, answer := r.operate(token, "GET "+topicPath("house/attic"), "")
	assert.Equal(t, 404, status, answer)
}

func TestOperatorsPublishAndRemoveTopics(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	r := startWith(t, cfg)
	heard := make(chan string, 2000)
	client, err := r.pahoClient(nil)
	require.NoError(t, err)
	require.NoError(t, wait(client.Subscribe("#", 1, func(_ paho.Client, m paho.Message) {
		if !strings.HasPrefix(m.Topic(), "watchtower/g") {
			heard <- fmt.Sprintf("%s %q %d", m.Topic(), m.Payload(), m.Qos())
		}
	})))
	speak, manage := r.signIn(`{"user":"uspeak","password":"passspeak"}`), r.signIn(`{"user":"umanage","password":"passmanage"}`)
	put := func(path, body string) {
		t.Helper()
		status, answer := r.call("PUT", path, "application/octet-stream", body, "Authorization", "Bearer "+speak)
		require.Equal(t, 204, status, answer)
	}
	big := strings.Repeat("x", cfg.MQTT.MaxPacketBytes-100)
	put(topicPath("a/b"), "kept\x00\xff")
	assert.Equal(t, `a/b "kept\x00\xff" 1`, <-heard)
	put(topicPath("a/c", "&retain=false&qos=0"), "")
	assert.Equal(t, `a/c "" 0`, <-heard)
	put(topicPath("a/big", "&retain=true&qos=2"), big)
	assert.Equal(t, fmt.Sprintf("a/big %q 1", big), <-heard, "the subscription is for QoS 1")
	put(topicPath("watchtower/channels/5/broadcast"), `"hi"`)
	assert.Regexp(t, `^watchtower/channels/5/broadcast/\d+ "\\"hi\\"" 1$`, <-heard)
	_, text := r.operate(manage, "GET /operator/senders?find=console.uspeak", "")
	assert.Contains(t, text, `"name":"console.uspeak"`)
	put(topicPath("other"), "stays")
	<-heard

	status, got := r.operate(speak, "GET "+topicPath("a/b"), "")
	assert.Equal(t, 200, status)
	assert.Equal(t, "kept\x00\xff", got)
	status, got = r.operate(speak, "GET "+topicPath("a/big"), "")
	assert.Equal(t, 200, status)
	assert.Equal(t, big, got)
	status, _ = r.operate(speak, "GET "+topicPath("a/c"), "")
	assert.Equal(t, 404, status)

	remove := func(query string, want int) {
		t.Helper()
		status, answer := r.operate(manage, "DELETE /operator/topics/value?"+query, "")
		require.Equal(t, 200, status, answer)
		assert.JSONEq(t, fmt.Sprintf(`{"removed":%d}`, want), answer)
	}
	remove("topic=a/b", 1)
	assert.Equal(t, `a/b "" 1`, <-heard, "subscribers see it as what a client removes")
	remove("topic=a/b", 0)
	for i := range 1000 {
		require.NoError(t, wait(client.Publish(fmt.Sprintf("a/many/%d", i), 1, true, "x")))
		<-heard
	}
	remove("under=a/", 1001)
	for range 1001 {
		<-heard
	}
	remove("under=a/", 0)
	remove("under=homeassistant/", 0)
	r.stop()
	again := startWith(t, r.cfg)
	top, _ := again.levels(again.asAdmin(), "")
	require.Len(t, top, 2, "removed on disk too")
	assert.Equal(t, "other", top[0].Level)
	assert.Zero(t, top[0].Retained.Time, "it is not known over a restart")
	assert.Contains(t, r.log.String(), "operator published on a topic")
	assert.Contains(t, r.log.String(), "operator removed retained messages")
}

func TestTopicsThatOperatorsAreRefused(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.Limits.MQTTRetained = 1
	r := startWith(t, cfg)
	admin := r.asAdmin()
	long := strings.Repeat("x/", 200) + "x"
	for _, c := range []struct {
		call, contentType, body string
		status                  int
		kind                    string
	}{
		{"GET /operator/topics?under=a", "", "", 400, "invalid-parameter"},
		{"GET /operator/topics?under=a/%2b/", "", "", 400, "invalid-topic"},
		{"GET /operator/topics?under=%ff/", "", "", 400, "invalid-topic"},
		{"GET /operator/topics?limit=501", "", "", 400, "invalid-parameter"},
		{"GET /operator/topics?find=a", "", "", 400, "unknown-parameter"},
		{"GET /operator/topics/value", "", "", 400, "invalid-parameter"},
		{"GET /operator/topics/value?topic=", "", "", 400, "invalid-topic"},
		{"GET /operator/topics/value?topic=a/%23", "", "", 400, "invalid-topic"},
		{"GET /operator/topics/value?topic=nothing", "", "", 404, "not-found"},
		{"PUT " + topicPath("a/+"), "", "x", 400, "invalid-topic"},
		{"PUT " + topicPath("a\x00"), "", "x", 400, "invalid-topic"},
		{"PUT /operator/topics/value?topic=a%ff", "", "x", 400, "invalid-topic"},
		{"PUT " + topicPath(long), "", "x", 400, "invalid-topic"},
		{"PUT " + topicPath(strings.Repeat("x", 65536)), "", "x", 400, "invalid-topic"},
		{"PUT " + topicPath("$SYS/x"), "", "x", 403, "reserved-topic"},
		{"PUT " + topicPath("$else/x"), "", "x", 403, "reserved-topic"},
		{"PUT " + topicPath("watchtower"), "", "x", 403, "reserved-topic"},
		{"PUT " + topicPath("watchtower/gateways/x/status"), "", "x", 403, "reserved-topic"},
		{"PUT " + topicPath("watchtower/channels/x/broadcast"), "", "x", 403, "reserved-topic"},
		{"PUT " + topicPath("homeassistant/device/watchtower_"+r.g.Name()+"/config"), "", "x", 403, "reserved-topic"},
		{"PUT " + topicPath("watchtower/channels/5/broadcast/1"), "", "x", 403, "invalid-sender"},
		{"PUT " + topicPath("watchtower/channels/5/send/1"), "", "x", 400, "unjoined-receiver"},
		{"PUT " + topicPath("watchtower/channels/5/broadcast"), "", strings.Repeat("x", 64001), 413, "message-too-large"},
		{"PUT " + topicPath("a", "&qos=3"), "", "x", 400, "invalid-parameter"},
		{"PUT " + topicPath("a", "&retain=yes"), "", "x", 400, "invalid-parameter"},
		{"PUT " + topicPath("a", "&ttl=5"), "", "x", 400, "unknown-parameter"},
		{"PUT " + topicPath("a"), "image/png", "x", 415, "unsupported-media-type"},
		{"PUT " + topicPath("a"), "", "", 400, "invalid-body"},
		{"PUT " + topicPath("a"), "", strings.Repeat("x", cfg.MQTT.MaxPacketBytes-9), 413, "message-too-large"},
		{"PUT " + topicPath("a"), "", strings.Repeat("x", cfg.MQTT.MaxPacketBytes+1), 413, "message-too-large"},
		{"PUT " + topicPath("a"), "application/octet-stream", "x", 204, ""},
		{"PUT " + topicPath("b"), "", "x", 409, "retained-full"},
		{"DELETE /operator/topics/value", "", "", 400, "invalid-parameter"},
		{"DELETE /operator/topics/value?under=", "", "", 400, "invalid-parameter"},
		{"DELETE /operator/topics/value?under=a", "", "", 400, "invalid-parameter"},
		{"DELETE /operator/topics/value?under=a/&topic=b", "", "", 400, "invalid-parameter"},
		{"DELETE /operator/topics/value?topic=%23", "", "", 400, "invalid-topic"},
		{"DELETE /operator/topics/value?under=watchtower/", "", "", 403, "reserved-topic"},
		{"DELETE " + topicPath("watchtower/gateways/"+r.g.Name()+"/status"), "", "", 403, "reserved-topic"},
		{"POST " + topicPath("a"), "", "x", 405, "method-not-allowed"},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		status, answer := r.call(method, path, c.contentType, c.body, "Authorization", "Bearer "+admin)
		assert.Equal(t, c.status, status, "%.100s: %s", c.call, answer)
		assert.Equal(t, c.kind, problemType(answer), "%.100s: %s", c.call, answer)
	}
	_, answer := r.operate(admin, "GET /operator/topics?under=a", "")
	assert.Contains(t, answer, `"field":"under"`)
	_, answer = r.operate(admin, "DELETE /operator/topics/value?under=watchtower/", "")
	assert.Contains(t, answer, `"field":"under"`)
	top, _ := r.levels(admin, "")
	require.Len(t, top, 2, "nothing was published or removed")
}
