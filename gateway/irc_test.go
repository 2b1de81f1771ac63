package gateway_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
)

// ircClient is a client of IRC that shows lines as they came.
type ircClient struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func ircOver(t testing.TB, conn net.Conn) *ircClient {
	t.Cleanup(func() { conn.Close() })
	return &ircClient{t, conn, bufio.NewReader(conn)}
}

func (r *running) irc() *ircClient {
	conn, err := net.Dial("tcp", r.at.IRC)
	require.NoError(r.t, err)
	return ircOver(r.t, conn)
}

// ircAs is one that has registered and joined channel 5.
func (r *running) ircAs(nick, password string) *ircClient {
	c := r.irc()
	c.register(nick, password)
	c.say("JOIN #5")
	c.until(" 366 ")
	return c
}

func (c *ircClient) register(nick, password string) {
	c.t.Helper()
	c.say("PASS :"+password, "NICK "+nick, "USER x 0 * :x")
	c.until(" 376 ")
}

func (c *ircClient) say(lines ...string) {
	c.t.Helper()
	_, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n")
	require.NoError(c.t, err)
}

// until returns the first line that matches.
func (c *ircClient) until(pattern string) string {
	c.t.Helper()
	wanted := regexp.MustCompile(pattern)
	var all []string
	_ = c.conn.SetReadDeadline(time.Now().Add(patient))
	for {
		line, err := c.in.ReadString('\n')
		require.NoError(c.t, err, "no %s in:\n%s", pattern, strings.Join(all, ""))
		if line = strings.TrimSuffix(line, "\r\n"); wanted.MatchString(line) {
			return line
		}
		all = append(all, line+"\n")
	}
}

// stuckIRC joins channel 5 and never reads.
func stuckIRC(r *running) (ended func() bool) {
	conn := slowConn(r, r.at.IRC)
	fmt.Fprintf(conn, "PASS :%s\r\nNICK stuck\r\nUSER x 0 * :x\r\nJOIN #5\r\n", key)
	return waitForMember(r, "irc")
}

// showIRC shows a password with a prefix, which is a user's name and a colon.
func showIRC(prefix string) func(*running, string, string) string {
	return func(r *running, address, password string) string {
		conn, err := from("tcp", address).Dial("tcp", r.at.IRC)
		require.NoError(r.t, err)
		defer conn.Close()
		c := &ircClient{r.t, conn, bufio.NewReader(conn)}
		c.say("PASS :"+prefix+password, fmt.Sprint("NICK n", time.Now().UnixNano()), "USER x 0 * :x")
		switch line := c.until(" 001 | 464 "); {
		case strings.Contains(line, "Too many"):
			return later
		case strings.Contains(line, " 464 "):
			return wrong
		}
		return in
	}
}

func testIRCPing(t *testing.T) {
	r := start(t, func(c *config.Config) { c.IRC.PingInterval = short })
	c := r.ircAs("anna", key)
	c.until("^PING :")
	c.until("^ERROR :Ping timeout$")
}

// A client of IRC hears everybody, and everybody hears it. What is said to a nick is for that
// device alone.
func TestIRCReachesEveryProtocol(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	all := everybody(r)
	anna := r.ircAs("anna", key)
	id, fault := r.g.Hub().Receiver("anna")
	require.Nil(t, fault)
	for i, d := range all {
		d.broadcast(5, fmt.Appendf(nil, "hello from %d", i))
		assert.Contains(t, anna.until(" PRIVMSG "), fmt.Sprintf(" PRIVMSG #5 :hello from %d", i), d.name)
		for _, other := range all {
			other.next(t)
		}
		d.send(5, uint32(id), []byte("psst"))
		assert.Regexp(t, fmt.Sprintf("!%d@.* PRIVMSG anna :psst$", d.id), anna.until(" PRIVMSG "), d.name)
		anna.say(fmt.Sprintf("PRIVMSG id-%d :for you", d.id))
		assert.Equal(t, received{uint32(id), 5, true, "for you"}, d.next(t), d.name)
	}
	anna.say("PRIVMSG #5 :hello all")
	for _, d := range all {
		assert.Equal(t, received{uint32(id), 5, false, "hello all"}, d.next(t), d.name)
	}
	_, metrics := r.call("GET", "/metrics", "", "")
	assert.Contains(t, metrics, fmt.Sprintf("watchtower_messages_in_total{protocol=\"irc\"} %d\n", len(all)+1))
	assert.Contains(t, metrics, fmt.Sprintf("watchtower_messages_out_total{protocol=\"irc\"} %d\n", 2*len(all)))
	assert.Contains(t, metrics, "watchtower_members{protocol=\"irc\"} 1\n")
	_, members := r.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", all[2].id), "", "")
	assert.Contains(t, members, `"name":"anna","via":"irc"`)
}

// A user's sender over IRC is USER.NICK, as over MQTT, and has the user's access list.
func TestIRCUsers(t *testing.T) {
	t.Parallel()
	cfg := family(t)
	r := startWithOptions(t, cfg, []gateway.Option{gateway.From(func() (config.Config, error) { return cfg, nil })})
	guest := r.ircAs("tablet", "guest:guest-pass")
	guest.say("JOIN #6", "PRIVMSG #5 :hello", "WHOIS guest_tablet")
	guest.until(" 474 guest_tablet #6 ")
	guest.until(` 311 guest_tablet guest_tablet \d+ \S+ . :guest.tablet$`)
	c := r.irc()
	c.register("phone", "listener:listener-pass")
	c.say("JOIN #5", "PRIVMSG #5 :x")
	c.until(" 366 ")
	assert.Contains(t, c.until(" 404 "), "access list")
	owner := r.ircAs("owner", key)
	owner.say("PRIVMSG listener_phone :for you", "NICK guest_tablet2", "NICK guest_")
	assert.Contains(t, owner.until(" 401 "), "listener_phone", "it may not read what is sent to it")
	owner.until(" 433 owner guest_tablet2 ")

	cfg.Users = maps.Clone(cfg.Users)
	cfg.Users["guest"] = config.User{PasswordHash: hashed(t, "another")}
	delete(cfg.Users, "listener")
	r.g.Reload()
	guest.say("PRIVMSG #5 :hello again")
	guest.until("^ERROR :Your password has changed$")
	c.until("^ERROR :Your sender was deleted$")
}

func TestIRCOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server")
	r := start(t, func(c *config.Config) {
		a.config(c)
		c.IRC.Listen = "" // TLS alone will do
	})
	pem, err := os.ReadFile(a.path("ca"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	conn, err := tls.Dial("tcp", r.at.IRCS, &tls.Config{RootCAs: roots})
	require.NoError(t, err)
	c := ircOver(t, conn)
	c.register("anna", key)
	c.say("JOIN #5", "PRIVMSG anna :to myself")
	assert.Contains(t, c.until(" PRIVMSG "), " PRIVMSG anna :to myself")
}

// What was said before is there for a client that asks for it.
func TestIRCHistory(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Channels = map[uint32]config.Channel{5: {Name: "watering"}} })
	d := r.stream()
	for i := range 5 {
		d.broadcast(5, fmt.Append(nil, i))
		d.next(t)
	}
	c := r.irc()
	c.register("anna", key)
	c.say("CAP REQ :batch server-time message-tags draft/chathistory", "CHATHISTORY LATEST #5 * 2", "JOIN #watering", "CHATHISTORY LATEST #5 * 2")
	c.until(" ACK ")
	c.until("^:\\S+ FAIL CHATHISTORY INVALID_TARGET LATEST :")
	c.until(" 470 anna #watering #5 ")
	ref := strings.Fields(c.until(` BATCH \+\S+ chathistory :#5$`))[2][1:]
	third := c.until(" PRIVMSG ")
	assert.Regexp(t, "^@batch="+ref+";time=\\S+;msgid=\\S+ :id-.* PRIVMSG #5 :3$", third)
	assert.Regexp(t, " PRIVMSG #5 :4$", c.until(" PRIVMSG "))
	c.until(" BATCH :?-" + ref + "$")
	msgid := regexp.MustCompile(`msgid=(\w+)`).FindStringSubmatch(third)[1]
	asks := func(question string, want ...string) {
		t.Helper()
		c.say("CHATHISTORY " + question)
		c.until(` BATCH \+`)
		var got []string
		for {
			line := c.until(" (PRIVMSG|BATCH) ")
			if strings.Contains(line, " BATCH ") {
				break
			}
			got = append(got, line[strings.LastIndex(line, ":")+1:])
		}
		assert.Equal(t, want, got, question)
	}
	asks("BEFORE #5 msgid="+msgid+" 2", "1", "2")
	asks("AFTER #5 msgid="+msgid+" 10", "4")
	asks("AROUND #5 msgid="+msgid+" 3", "2", "3", "4")
	asks("LATEST #5 msgid="+msgid+" 10", "4")
	asks("BETWEEN #5 timestamp=2020-01-01T00:00:00.000Z msgid="+msgid+" 2", "0", "1")
	asks("BETWEEN #5 msgid="+msgid+" timestamp=2020-01-01T00:00:00.000Z 2", "1", "2")
	asks("BEFORE #5 timestamp=2020-01-01T00:00:00.000Z 2")
	c.say("CHATHISTORY AFTER #5 yesterday 2", "CHATHISTORY NONE", "CHATHISTORY LATEST #5 * x")
	for range 3 {
		c.until(" FAIL CHATHISTORY INVALID_PARAMS ")
	}
}

func TestWhyAClientOfIRCIsAway(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	r := startWith(t, cfg)
	admin := r.asAdmin()
	polite, cut := r.irc(), r.irc()
	polite.register("polite", cfg.SecretKey)
	cut.register("cut", cfg.SecretKey)
	for _, c := range []*ircClient{polite, cut} {
		c.say("JOIN #5")
		c.until(" 366 ")
	}
	polite.say("QUIT :bye")
	cut.conn.Close()
	for name, why := range map[string]string{"polite": "goodbye", "cut": "connection"} {
		eventually(t, name, func() bool {
			_, answer := r.operate(admin, "GET /operator/senders?state=away&find="+name, "")
			return strings.Contains(answer, `"left":{"via":"irc","why":"`+why+`"}`)
		})
	}
}

// CHATHISTORY TARGETS names the channels on which something was last said between two times.
func TestIRCTellsWhereSomethingWasSaid(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	anna := r.ircAs("anna", key)
	anna.say("JOIN #6", "JOIN #7", "CAP REQ :batch", "PRIVMSG #6 :one")
	anna.until(" ACK ")
	stamp := func(at time.Time) string { return "timestamp=" + at.UTC().Format("2006-01-02T15:04:05.000Z") }
	begun, later := stamp(time.Now().Add(-time.Hour)), stamp(time.Now().Add(time.Hour))
	ask := func(from, to string, limit int) (answer []string) {
		anna.say(fmt.Sprintf("CHATHISTORY TARGETS %s %s %d", from, to, limit))
		answer = append(answer, anna.until(`^:\S+ BATCH \+\d+ :draft/chathistory-targets$`))
		for !strings.Contains(answer[len(answer)-1], " BATCH -") {
			answer = append(answer, anna.until(""))
		}
		return answer[1 : len(answer)-1]
	}
	eventually(t, "the first is in the history", func() bool { return len(ask(begun, later, 10)) == 1 })
	anna.say("PRIVMSG #5 :two")
	eventually(t, "the second too", func() bool { return len(ask(later, begun, 10)) == 2 }) // either order of the times
	answer := ask(begun, later, 10)
	assert.Regexp(t, `^@batch=\d+ :\S+ CHATHISTORY TARGETS #6 :2\S+Z$`, answer[0], "the longest ago first")
	assert.Regexp(t, `^@batch=\d+ :\S+ CHATHISTORY TARGETS #5 :2\S+Z$`, answer[1])
	assert.Len(t, ask(begun, later, 1), 1)
	assert.Empty(t, ask(later, stamp(time.Now().Add(2*time.Hour)), 10), "nothing was said then")
	anna.say("CHATHISTORY TARGETS msgid=x * 5", "CHATHISTORY TARGETS "+begun, "CHATHISTORY TARGETS "+begun+" "+later+" 0")
	anna.until("FAIL CHATHISTORY INVALID_PARAMS TARGETS :A time is")
	anna.until("FAIL CHATHISTORY INVALID_PARAMS TARGETS :Not enough")
	anna.until("FAIL CHATHISTORY INVALID_PARAMS TARGETS :The limit")
}
