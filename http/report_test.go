package http_test

import (
	"fmt"
	nethttp "net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDeliveryReport(t *testing.T) {
	t.Parallel()
	g := start(t)
	r := receive(t, nil)
	a, _ := g.register()
	b, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", a))
	quiet := g.follow(fmt.Sprintf("channels=5&sender=%d&echo=false", a))
	defer quiet.close()
	g.join(b, r.URL+"/b", 5)
	sent := g.post("/broadcast", obj{"sender": a, "channels": []int{6, 5, 6}, "message": "x", "callback_url": r.URL + "/report"})
	require.Equal(t, 200, sent.status, sent.body)
	f.next()
	got := map[bool]string{}
	for range 2 {
		p := r.next(t).body
		got[strings.Contains(p, "offered")] = p
	}
	assert.Equal(t, fmt.Sprintf(`{"id":"%s","channels":[6,5],"sender":%d,"offered":{"callback":1,"http":2},"dropped":{}}`, sent.json(t)["id"], a), got[true])

	path := fmt.Sprintf("/send?channels=6&sender=%d&receivers=%d&callback_url=%s/report", a, a, r.URL)
	sent = g.do("POST", path, "raw", "Content-Type", "text/plain", "Watchtower-Hops", "3")
	require.Equal(t, 200, sent.status, sent.body)
	p := r.next(t)
	assert.Contains(t, p.body, `"offered":{"http":1},"dropped":{}}`)
	assert.Equal(t, "4", p.header.Get("Watchtower-Hops"))
}

// The answer has the report if the call asks for it. Not both it and a URL get it.
func TestTheReportInTheAnswer(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, token := g.register()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", a))
	defer f.close()
	defer g.follow(fmt.Sprintf("channels=6&sender=%d&access_token=%s", b, g.pass(token, obj{}))).close()
	body := obj{"sender": a, "channels": []int{6, 5}, "message": "x", "report": true}
	said := g.post("/broadcast", body)
	require.Equal(t, 200, said.status, said.body)
	assert.JSONEq(t, fmt.Sprintf(`{"id":%q,"offered":{"http":3},"dropped":{}}`, said.json(t)["id"]), said.body)

	said = g.do("POST", fmt.Sprintf("/send?channels=6&sender=%d&receivers=%d&report=true", a, b), "raw", "Content-Type", "text/plain")
	require.Equal(t, 200, said.status, said.body)
	assert.JSONEq(t, fmt.Sprintf(`{"id":%q,"offered":{"http":1},"dropped":{}}`, said.json(t)["id"]), said.body)
	delete(body, "report")
	assert.NotContains(t, g.post("/broadcast", body).body, "offered")

	body["report"] = 1
	problem(t, g.post("/broadcast", body), 400, "invalid-field", "report")
	body["report"], body["callback_url"] = true, "http://127.0.0.1:1/"
	problem(t, g.post("/broadcast", body), 400, "invalid-field", "report")
	problem(t, g.do("POST", fmt.Sprintf("/send?channels=6&sender=%d&receivers=%d&report=yes", a, b), "raw", "Content-Type", "text/plain"), 400, "invalid-field", "report")
	problem(t, g.do("POST", fmt.Sprintf("/send?channels=6&sender=%d&receivers=%d&report=true&callback_url=http://127.0.0.1:1/", a, b), "raw", "Content-Type", "text/plain"), 400, "invalid-field", "report")
}

func TestLoopsEnd(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	body := obj{"sender": id, "channels": []int{5}, "message": "x"}
	var count atomic.Int64
	last := make(chan answer, 1)
	r := receive(t, nil)
	r.Config.Handler = nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
		count.Add(1)
		if a := g.post("/broadcast", body, "Watchtower-Hops", req.Header.Get("Watchtower-Hops")); a.status != 200 {
			last <- a
		}
	})
	g.join(id, r.URL, 5)
	require.Equal(t, 200, g.post("/broadcast", body).status)
	problem(t, <-last, 400, "loop", "Watchtower-Hops")
	assert.EqualValues(t, 9, count.Load())
	problem(t, g.post("/broadcast", body, "Watchtower-Hops", "x"), 400, "invalid-field", "Watchtower-Hops")
}
