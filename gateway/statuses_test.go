package gateway_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/gateway"
)

// asked is a request, and the status that it must get.
type asked struct {
	call, path, contentType, body string
	status                        int
}

// statusTests provoke every status of the table in docs/http.md on a running
// gateway. MEMBER is a
// sender that joined channel 5, OTHER one that did not.
var statusTests = []asked{
	{"POST /register", "", "", `{"secret_key":"` + key + `"}`, 200},
	{"POST /register", "", "", `{"secret_key":"wrong"}`, 401},
	{"POST /register", "", "", `{}`, 401},
	{"GET /me", "", "", "", 401},
	{"POST /tokens", "", "", `{}`, 401},
	{"GET /channels", "?sender=MEMBER", "", "", 200},
	{"GET /channels", "?sender=1", "", "", 401},
	{"GET /channels", "", "", "", 401},
	{"GET /channels/join", "?sender=MEMBER&channels=0", "", "", 400},
	{"GET /channels/join", "?sender=MEMBER", "", "", 400},
	{"GET /channels/join", "?sender=0&channels=0", "", "", 401},
	{"POST /channels/join", "", "", `{"sender":OTHER,"channels":[6]}`, 200},
	{"POST /channels/join", "", "", `{"sender":OTHER,"channels":[0]}`, 400},
	{"POST /channels/join", "", "", `{"sender":9,"channels":[6]}`, 401},
	{"GET /messages", "?sender=OTHER", "", "", 200},
	{"GET /messages", "?sender=OTHER&wait=1h", "", "", 400},
	{"GET /messages", "?sender=9", "", "", 401},
	{"GET /messages", "?sender=MEMBER", "", "", 404},
	{"POST /channels/join/async", "", "", `{"sender":OTHER,"channels":[6],"callback_url":"http://127.0.0.1:9/"}`, 200},
	{"POST /channels/join/async", "", "", `{"sender":OTHER,"channels":[6],"callback_url":"gopher://x/"}`, 400},
	{"POST /channels/join/async", "", "", `{"sender":9,"channels":[6],"callback_url":"gopher://x/"}`, 401},
	{"GET /callbacks", "?sender=OTHER", "", "", 200},
	{"GET /callbacks", "?sender=9", "", "", 401},
	{"POST /callbacks/rotate", "", "", `{"sender":OTHER,"callback_url":"http://127.0.0.1:9/"}`, 401},
	{"POST /callbacks/rotate", "", "", `{"sender":9,"callback_url":"http://127.0.0.1:9/"}`, 401},
	{"POST /callbacks/replay", "", "", `{"sender":OTHER,"callback_url":"http://127.0.0.1:9/"}`, 200},
	{"POST /callbacks/replay", "", "", `{"sender":OTHER,"callback_url":"http://127.0.0.1:9/","ids":["x"]}`, 400},
	{"POST /callbacks/replay", "", "", `{"sender":9,"callback_url":"http://127.0.0.1:9/"}`, 401},
	{"POST /channels/leave", "", "", `{"sender":OTHER,"channels":[6]}`, 200},
	{"POST /channels/leave", "", "", `{"sender":9,"channels":[6]}`, 401},
	{"GET /channels/5/members", "?sender=MEMBER", "", "", 200},
	{"GET /channels/5/members", "?sender=OTHER", "", "", 400},
	{"GET /channels/5/members", "?sender=", "", "", 401},
	{"POST /broadcast", "", "", `{"sender":MEMBER,"channels":[5],"message":"x"}`, 200},
	{"POST /broadcast", "", "", `{"sender":OTHER,"channels":[5],"message":"x"}`, 400},
	{"POST /broadcast", "", "", `{"sender":MEMBER,"channels":[5],"message":"x","callback_url":"x"}`, 400},
	{"POST /broadcast", "", "", `{"sender":9,"channels":[5],"message":"x"}`, 401},
	{"POST /send", "", "", `{"sender":MEMBER,"channels":[5],"receivers":[MEMBER],"message":"x"}`, 200},
	{"POST /send", "", "", `{"sender":OTHER,"channels":[5],"receivers":[MEMBER],"message":"x"}`, 400},
	{"POST /send", "", "", `{"sender":MEMBER,"channels":[5],"receivers":[MEMBER,OTHER],"message":"x"}`, 400},
	{"POST /send", "", "", `{"sender":9,"channels":[5],"receivers":[MEMBER],"message":"x"}`, 401},
	{"GET /mqtt", "", "", "", 400},
	{"GET /healthz", "", "", "", 200},
	{"GET /metrics", "", "", "", 200},
	{"GET /readyz", "", "", "", 200},
	{"GET /openapi.yaml", "", "", "", 200},
	{"GET /asyncapi.yaml", "", "", "", 200},
	{"GET /watchtower.js", "", "", "", 200},
	{"GET /homeassistant/alarm_when_two_agree.yaml", "", "", "", 200},
	{"GET /nothing", "", "", "", 404},
	{"PUT /broadcast", "", "", "", 405},
	{"POST /broadcast", "?channels=5&sender=MEMBER", "text/plain", strings.Repeat("x", 64001), 413},
	{"POST /broadcast", "", "", strings.Repeat(" ", 6*64000+65537), 413},
	{"POST /broadcast", "", "text/plain", "x", 415},
	{"DELETE /senders/OTHER", "", "", "", 204},
	{"DELETE /senders/OTHER", "", "", "", 401}, // twice: then it is unknown
}

// otherwise are statuses of the table that other tests provoke.
var otherwise = map[string]string{
	"GET /channels 204":          "gateway TestNoChannelsYet",
	"GET /channels/join 200":     "gateway TestEveryProtocolReachesEveryProtocol",
	"GET /channels/join 429":     "gateway testSenderStreams",
	"POST /callbacks/rotate 200": "http TestSecretsAreRotated",
	"POST /callbacks/rotate 400": "http TestSecretsAreRotated",
	"GET /readyz 503":            "http TestReady",
	"POST /broadcast 500":        "gateway TestABrokenBusIs500",
	"POST /send 500":             "gateway TestABrokenBusIs500",
	"GET /me 200":                "http TestAPassMayDoWhatItSays",
	"POST /tokens 200":           "http TestAPassMayDoWhatItSays",
	"POST /tokens 400":           "http TestATokenThatIsRefused",
	"GET /pages/ 200":            "gateway testPages",
	"403":                        "http TestPagesOfOtherOrigins",
	"417":                        "http TestWhatIsNoRequest",
	"POST /broadcast 202":        "gateway TestALaunchOverEveryProtocol",
	"POST /broadcast 403":        "gateway TestALaunchOverEveryProtocol",
	"421":                        "gateway testHosts",
	"426":                        "http TestAnUpgradeThatWasLost",
	"429":                        "gateway testTrustedProxies",
	"431":                        "http TestWhatIsNoRequest",
	"501":                        "http TestWhatIsNoRequest",
	"505":                        "http TestWhatIsNoRequest",
}

func TestNoChannelsYet(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	assert.Equal(t, 204, r.channels(r.register("").ID))
}

func TestABrokenBusIs500(t *testing.T) {
	t.Parallel()
	r := startWith(t, testConfig(t), (*gateway.Gateway).BreakBus)
	d := r.stream()
	for _, body := range []string{`/broadcast {"sender":ID,"channels":[5],"message":"x"}`, `/send {"sender":ID,"channels":[5],"receivers":[ID],"message":"x"}`} {
		path, body, _ := strings.Cut(strings.ReplaceAll(body, "ID", fmt.Sprint(d.id)), " ")
		status, answer := r.call("POST", path, "", body)
		assert.Equal(t, 500, status)
		assert.Contains(t, answer, "failed")
	}
}

func TestEveryStatus(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	member, other := r.stream(), r.register("")
	done := map[string]bool{}
	for _, a := range statusTests {
		method, path, _ := strings.Cut(a.call, " ")
		fill := strings.NewReplacer("MEMBER", fmt.Sprint(member.id), "OTHER", fmt.Sprint(other.ID)).Replace
		status, body := r.call(method, fill(path)+fill(a.path), a.contentType, fill(a.body))
		assert.Equal(t, a.status, status, "%s%s %.80s: %s", a.call, a.path, a.body, body)
		if status >= 400 {
			assert.Contains(t, body, `"type":"urn:watchtower:problem:`)
		}
		done[fmt.Sprintf("%s %d", strings.ReplaceAll(a.call, "OTHER", "72"), a.status)] = true
		done[fmt.Sprint(a.status)] = true
	}
	for _, status := range documentedStatuses(t) {
		where, ok := otherwise[status]
		if !ok {
			assert.True(t, done[status], "nothing provokes %s", status)
			continue
		}
		dir, name, _ := strings.Cut(where, " ")
		testElsewhere(dir, name)(t)
	}
}

var threeDigits = regexp.MustCompile(`\b[2-5]\d\d\b`)

// documentedStatuses reads "CALL STATUS" off the table in docs/http.md, and the
// statuses of every call off the paragraph below it.
func documentedStatuses(t *testing.T) (all []string) {
	b, err := os.ReadFile("../docs/http.md")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		call, _, _ := strings.Cut(strings.Trim(strings.Split(cells[1], "` `")[0], " `"), "?")
		for _, status := range threeDigits.FindAllString(regexp.MustCompile("`[^`]*`").ReplaceAllString(cells[2], ""), -1) {
			all = append(all, call+" "+status)
		}
	}
	_, besides, _ := strings.Cut(string(b), "Besides: ")
	besides, _, _ = strings.Cut(besides, "\n\n")
	for _, status := range []string{"403", "404", "405", "413", "415", "417", "421", "426", "429", "431", "501", "505"} {
		require.Contains(t, besides, status)
		all = append(all, status)
	}
	require.Greater(t, len(all), 25)
	return all
}
