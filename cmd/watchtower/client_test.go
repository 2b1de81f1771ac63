package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBroadcastIsSaidAsAMemberThatDoesNotHearItself(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	code, out, err := p.run("broadcast", "5,6", "hello", "\"there\"", "--name", "me")
	require.Zero(t, code, err)
	assert.Equal(t, "sent 01JABC\n", out)
	assert.Equal(t, []heard{{"/broadcast", "", "application/json", `{"channels":[5,6],"sender":72,"message":"hello \"there\""}`, 1}}, f.heard())
	assert.Equal(t, "channels=5%2C6&echo=false&linger=false&sender=72", <-f.opened)
}

func TestBytesAreReadFromStandardInput(t *testing.T) {
	bytes := "\x00\xff\r\n"
	for _, args := range [][]string{{"send", "5", "73,74", "-"}, {"send", "5", "73,74"}} {
		f, p := newFake(t, "key"), newPlace(t)
		p.announce(t, f)
		p.in = strings.NewReader(bytes)
		code, out, err := p.run(append(args, "--json")...)
		require.Zero(t, code, err)
		assert.JSONEq(t, `{"id":"01JABC"}`, out)
		assert.Equal(t, []heard{{"/send", "channels=5&receivers=73%2C74&sender=72", "application/octet-stream", bytes, 1}}, f.heard())
	}
}

func TestReceiversByNameOrID(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	code, _, err := p.run("send", "5", "valve1,73", "open")
	require.Zero(t, code, err)
	assert.Contains(t, f.heard()[0].body, `"receivers":["valve1","73"]`, "the gateway tells them apart")
}

func TestMessagesThatLookLikeSomethingElse(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	for _, args := range [][]string{{"broadcast", "5", "--", "-5"}, {"broadcast", "5", "not\xffUTF-8"}, {"broadcast", "5", "-", "-"}, {"broadcast", "5", ""}} {
		code, _, err := p.run(args...)
		require.Zero(t, code, err)
	}
	said := f.heard()
	assert.Contains(t, said[0].body, `"message":"-5"`)
	assert.Equal(t, "not\xffUTF-8", said[1].body)
	assert.Contains(t, said[2].body, `"message":"- -"`)
	assert.Contains(t, said[3].body, `"message":""`)
}

func TestIdentityIsKept(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	for range 3 {
		code, _, err := p.run("broadcast", "5", "x")
		require.Zero(t, code, err)
	}
	assert.Equal(t, 1, f.registered(), "one registration for all")
	info, err := os.Stat(filepath.Join(p.dir, cacheFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(p.dir)
	require.NoError(t, err)
	assert.Len(t, entries, 4, "no temporary file is left")

	f.forget() // as a gateway does whose data is gone
	code, _, errText := p.run("channels")
	require.Zero(t, code, errText)
	assert.Equal(t, 2, f.registered(), "registered again, once")

	code, _, _ = p.run("channels", "--name", "other")
	require.Zero(t, code)
	assert.Equal(t, 3, f.registered(), "each name is a sender of its own")
}

func TestNewerTokenOfAnotherCommandIsUsed(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	c := newClient(p.surroundings)
	var stale identity
	calls := 0
	require.NoError(t, c.as(t.Context(), func(_ target, id identity) error { stale = id; return nil }))
	require.NoError(t, c.as(t.Context(), func(tg target, id identity) error {
		calls++
		if id == stale { // meanwhile another command registers
			code, _, err := p.run("register")
			assert.Zero(t, code, err)
			return &refusal{status: 401}
		}
		return nil
	}))
	assert.Equal(t, 2, calls)
	assert.Equal(t, 2, f.registered())
}

func TestRefusedForGoodEndsAfterOneMoreRegistration(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	c := newClient(p.surroundings)
	calls := 0
	for range 2 {
		err := c.as(t.Context(), func(target, identity) error { calls++; return &refusal{401, "no"} })
		require.EqualError(t, err, "no")
	}
	assert.Equal(t, 4, calls)
	assert.Equal(t, 3, f.registered())
}

func TestRegister(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	code, out, err := p.run("register", "--name", "lamp", "--protected")
	require.Zero(t, code, err)
	assert.Equal(t, "id    72\nname  lamp\ntoken wt_1\n", out)

	code, out, err = p.run("register", "--name", "lamp", "--json")
	require.Zero(t, code, "the token of the protected name is sent along: %s", err)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, map[string]any{"id": 72.0, "name": "lamp", "token": "wt_2"}, got)

	require.NoError(t, os.Remove(filepath.Join(p.dir, cacheFile)))
	code, out, err = p.run("register", "--name", "lamp")
	assert.Equal(t, exitError, code)
	assert.Empty(t, out)
	assert.Equal(t, "watchtower: register lamp: name: is protected\n", err)
}

func TestDetailIsShownWithoutControlCharacters(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	code, _, err := p.run("broadcast", "400", "x")
	assert.Equal(t, exitError, code)
	assert.Equal(t, `watchtower: channels[0]: no\x1b[2J such \u009bchannel`+"\n", err)
}

func TestWrongKey(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	code, _, err := p.run("channels", "--url", f.URL, "--secret-key", "other")
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "is not the gateway's secret key\n")
	code, _, err = p.run("channels", "--url", f.URL)
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "(give --secret-key)")
	assert.Equal(t, 1, strings.Count(err, "\n"))
}

func TestKeyOfTheLocalGatewayIsNotSentElsewhere(t *testing.T) {
	local, elsewhere, p := newFake(t, "key"), newFake(t, "key"), newPlace(t)
	p.announce(t, local)
	code, _, _ := p.run("channels", "--url", elsewhere.URL)
	assert.Equal(t, exitError, code)
	code, _, err := p.run("channels", "--url", local.URL+"/")
	assert.Zero(t, code, err)
	p.environ = append(p.environ, "WATCHTOWER_SECRET_KEY=key")
	code, _, err = p.run("channels", "--url", elsewhere.URL)
	assert.Zero(t, code, err)
}

func TestNoGateway(t *testing.T) {
	p := newPlace(t)
	code, _, err := p.run("channels")
	assert.Equal(t, exitUnreachable, code)
	assert.Contains(t, err, "watchtower serve")
	assert.Contains(t, err, "--url")

	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	code, _, err = p.run("channels", "--url", gone.URL)
	assert.Equal(t, exitUnreachable, code)
	assert.Contains(t, err, gone.URL+" does not answer: ")
	assert.Equal(t, 1, strings.Count(err, "\n"))
}

func TestNotAGateway(t *testing.T) {
	p := newPlace(t)
	for status, text := range map[int]string{200: "is no gateway", 404: "404 Not Found", 302: `give --url for "https://else.where/"`} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://else.where/")
			w.WriteHeader(status)
		}))
		code, _, err := p.run("channels", "--url", s.URL)
		assert.Equal(t, exitError, code)
		assert.Contains(t, err, text)
		s.Close()
	}
}

func TestChannels(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	_, out, err := p.run("channels")
	assert.Empty(t, out)
	assert.Equal(t, "watchtower: there are no channels yet\n", err)
	_, out, _ = p.run("channels", "--json")
	assert.JSONEq(t, `{"channels":[]}`, out)
}

func TestDamagedCacheIsNamed(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, cacheFile), []byte("{"), 0o600))
	code, _, err := p.run("channels")
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "cli.json is damaged: remove it")
}

func TestURLs(t *testing.T) {
	for in, want := range map[string]string{
		"http://a.lan:8080/": "http://a.lan:8080", "a.lan:8080": "http://a.lan:8080", "https://a.lan/gw/": "https://a.lan/gw",
		"[::1]:8080": "http://[::1]:8080", "ftp://a.lan": "", "http://": "", "http://a.lan?x=1": "", "http://u:p@a.lan": "",
	} {
		got, err := cleanURL(in)
		assert.Equal(t, want, got, in)
		assert.Equal(t, want == "", err != nil, in)
	}
}

func TestDefaultName(t *testing.T) {
	assert.Equal(t, "cli-a.b_c-9", defaultName("a.b_c-9", ""))
	assert.Equal(t, "cli-k-che-pc-12ab", defaultName("küche pc", "12ab"))
	assert.Len(t, defaultName(strings.Repeat("x", 100), ""), 64)
	assert.Len(t, defaultName(strings.Repeat("x", 100), "12ab"), 64)
}

func TestTwoInstallationsAreTwoSenders(t *testing.T) {
	f := newFake(t, "key")
	names := map[string]bool{}
	for range 2 {
		p := newPlace(t)
		p.announce(t, f)
		for range 2 {
			code, out, err := p.run("register", "--json")
			require.Zero(t, code, err)
			var said struct{ Name string }
			require.NoError(t, json.Unmarshal([]byte(out), &said))
			names[said.Name] = true
		}
	}
	assert.Len(t, names, 2, names)

	p := newPlace(t) // one that an earlier version used
	p.announce(t, f)
	host, err := os.Hostname()
	require.NoError(t, err)
	earlier := defaultName(host, "")
	require.NoError(t, writeIdentities(p.dir, identities{f.URL: {earlier: {ID: 72}}}))
	_, out, _ := p.run("register")
	assert.Contains(t, out, "name  "+earlier+"\n")
}

func TestParseIDs(t *testing.T) {
	ids, err := parseIDs("a channel", "5,6", "4294967295")
	require.NoError(t, err)
	assert.Equal(t, []uint32{5, 6, 4294967295}, ids)
	for _, bad := range []string{"", "0", "5,", "x", "-1", "4294967296", "5 6"} {
		_, err := parseIDs("a channel", bad)
		assert.ErrorAs(t, err, new(usageError), bad)
	}
}
