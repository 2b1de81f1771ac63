package irc_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
	"watchtower/irc"
)

// runs writes the members topics, as the gateway does.
func runs(hub *bridge.Hub) func(context.Context) error {
	return func(ctx context.Context) error { hub.Run(ctx); return nil }
}

func TestRegistration(t *testing.T) {
	g := start(t, bridge.Options{SecretKey: "hunter2"}, nil)
	c := g.dial(t)
	c.say("JOIN #5")
	assert.Contains(t, c.line(), " 451 * :")
	c.say("CAP LS 302")
	assert.Regexp(t, `CAP \* LS :server-time message-tags echo-message batch$`, c.line())
	c.say("PASS hunter2", "NICK a.b", "NICK 9#", "NICK id-72", "NICK", "NICK anna", "USER anna 0 * :Anna", "CAP REQ :server-time no-such", "CAP REQ :server-time")
	for range 3 {
		assert.Contains(t, c.line(), " 432 * ")
	}
	assert.Contains(t, c.line(), " 431 * ")
	assert.Contains(t, c.line(), "CAP * NAK :server-time no-such")
	assert.Contains(t, c.line(), "CAP * ACK :server-time", "nobody is registered before CAP END")
	c.say("CAP END")
	assert.Regexp(t, `^:\S+ 001 anna :.*anna!\d+@`, c.line())
	assert.Contains(t, c.until(" 005 "), "CASEMAPPING=ascii")
	c.until(" 376 anna ")
	c.say("PASS x", "USER a 0 * :a", "NOSUCH", "JOIN", "PING :a b", "CAP LIST")
	assert.Contains(t, c.line(), " 462 ")
	assert.Contains(t, c.line(), " 462 ")
	assert.Contains(t, c.line(), " 421 anna NOSUCH :")
	assert.Contains(t, c.line(), " 461 anna JOIN :")
	assert.Regexp(t, `PONG \S+ :a b$`, c.line())
	assert.Contains(t, c.line(), "CAP anna LIST :server-time")
	c.say("QUIT")
	assert.Equal(t, "ERROR :Goodbye", c.line())
	_, err := c.in.ReadByte()
	assert.ErrorIs(t, err, io.EOF)
}

func TestWhoMayNotRegister(t *testing.T) {
	g := start(t, bridge.Options{SecretKey: "hunter2"}, nil)
	for _, password := range []string{"", "PASS wrong", "PASS nobody:hunter2"} {
		c := g.dial(t)
		c.say(password, "NICK anna", "USER anna 0 * :Anna")
		assert.Contains(t, c.until(" 464 "), "* :")
		c.until("^ERROR :")
		_, err := c.in.ReadByte()
		assert.ErrorIs(t, err, io.EOF)
	}
	first := g.dial(t)
	first.say("PASS hunter2", "NICK anna", "USER anna 0 * :Anna")
	first.until(" 376 ")
	second := g.dial(t)
	second.say("PASS hunter2", "NICK Anna", "USER anna 0 * :Anna")
	second.until(" 433 ")
	second.say("NICK otto")
	second.until(" 001 otto ")
	second.until(" 376 ")
	second.say("NICK anna")
	second.until(" 433 ")
	first.say("QUIT")
	first.until("^ERROR")
	harness.Eventually(t, func() bool {
		second.say("NICK anna")
		return strings.HasSuffix(second.until("( 433 |^:otto!.* NICK anna$)"), " NICK anna")
	})
}

// A name that is held by another protocol is taken.
func TestTheNameOfADevice(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	hold, err := g.hub.Holds().Register(bridge.Naming{Name: "kitchen"}, func() {})
	require.NoError(t, err)
	hold.Present(viaHTTP)
	c := g.dial(t)
	c.say("NICK kitchen", "USER k 0 * :k")
	c.until(" 433 ")
	g.hub.Holds().Release(hold)
	c.say("NICK kitchen")
	c.until(" 001 kitchen ")
}

func TestAConversation(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	anna, otto := g.as(t, "anna", "#5"), g.as(t, "otto", "#5", "#6")
	anna.until(`^:otto!\d+@\S+ JOIN #5$`)
	anna.say("PRIVMSG #5 :good morning")
	assert.Regexp(t, `^:anna!\d+@\S+ PRIVMSG #5 :good morning$`, otto.until("PRIVMSG"))
	otto.say("NOTICE #5 :psst", "PRIVMSG #5 :\x01ACTION waves\x01", "PRIVMSG #5 :\x01VERSION\x01", "PRIVMSG anna,#5 :both")
	assert.Regexp(t, `^:otto!\S+ PRIVMSG #5 :psst$`, anna.until("PRIVMSG"))
	assert.Regexp(t, `PRIVMSG #5 :waves$`, anna.until("PRIVMSG"))
	assert.Regexp(t, `^:otto!\S+ PRIVMSG anna :both$`, anna.until("PRIVMSG"), "other CTCP is ignored")
	assert.Regexp(t, `PRIVMSG #5 :both$`, anna.until("PRIVMSG"))
	anna.none("PRIVMSG")
	otto.none("PRIVMSG") // no echo

	anna.say("PRIVMSG nobody :x", "PRIVMSG #6 :x", "PRIVMSG #x :x", "PRIVMSG", "PRIVMSG #5", "PRIVMSG a,b,c,d,e :x", "NOTICE nobody :x")
	for _, number := range []string{"401 anna nobody", "404 anna #6", "403 anna #x", "411 anna", "412 anna", "407 anna e"} {
		assert.Contains(t, anna.line(), " "+number+" ")
	}
	anna.none(" 401 ")
	otto.say("PART #5 :bye", "PART #5", "JOIN 0")
	assert.Regexp(t, `^:otto!\S+ PART #5 :bye$`, otto.line())
	assert.Contains(t, otto.line(), " 442 ")
	assert.Regexp(t, `^:otto!\S+ PART #6$`, otto.line())
	anna.until(`^:otto!\S+ PART #5$`)
}

func TestChannelsByName(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.as(t, "anna")
	c.say("JOIN #Watering,#back_door,#nothing,#05,&5")
	assert.Regexp(t, ` 470 anna #Watering #7 :`, c.line())
	assert.Regexp(t, `^:anna!\S+ JOIN #7$`, c.line())
	assert.Regexp(t, ` 332 anna #7 :watering$`, c.line())
	assert.Regexp(t, ` 353 anna = #7 :anna$`, c.line())
	assert.Regexp(t, ` 366 anna #7 :`, c.line())
	c.until(` 470 anna #back_door #8 `)
	for _, name := range []string{"#nothing", "#05", "&5"} {
		c.until(` 403 anna ` + name + ` `)
	}
	c.say("TOPIC #7", "TOPIC #9", "TOPIC #7 :new", "MODE #7", "MODE #7 b", "MODE #7 +o anna", "MODE anna +i", "KICK #7 anna")
	for _, number := range []string{"332", "331", "482", "324", "368", "482", "221", "482"} {
		assert.Contains(t, c.line(), " "+number+" anna ")
	}
	c.say("LIST", "LIST #8")
	c.until(` 321 `)
	assert.Regexp(t, ` 322 anna #7 1 :watering$`, c.line())
	assert.Regexp(t, ` 322 anna #8 1 :Back door$`, c.line())
	c.until(` 323 `)
	assert.Contains(t, c.line(), " 321 ")
	assert.Contains(t, c.line(), " 322 anna #8 ")
	assert.Contains(t, c.line(), " 323 ")
}

func TestPeople(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	hold, err := g.hub.Holds().Register(bridge.Naming{Name: "back.door:1"}, func() {})
	require.NoError(t, err)
	require.NoError(t, g.hub.Attach(hold.Sender(), 5, &bridge.Attachment{Via: viaHTTP, Broadcasts: true, Sends: true}))
	id, _ := g.speaker(t, 5)
	anna := g.as(t, "anna", "#5")
	anna.say("NAMES #5")
	names := strings.Fields(anna.until(" 353 "))
	names[5] = strings.TrimPrefix(names[5], ":")
	assert.ElementsMatch(t, []string{"anna", "back_door_1", fmt.Sprint("id-", id)}, names[5:])
	anna.until(" 366 ")
	anna.say("WHO #5", "WHO back_door_1", "WHOIS back_door_1", "WHOIS nobody", "ISON nobody Back_Door_1 anna", "USERHOST anna")
	for range 3 {
		assert.Contains(t, anna.line(), " 352 anna #5 ")
	}
	assert.Contains(t, anna.line(), " 315 ")
	assert.Regexp(t, ` 352 anna #5 \d+ \S+ \S+ back_door_1 H :0 via http since 2`, anna.line())
	anna.until(" 315 ")
	assert.Regexp(t, fmt.Sprintf(` 311 anna back_door_1 %d \S+ \* :back.door:1$`, hold.Sender().ID()), anna.line())
	assert.Regexp(t, ` 320 anna back_door_1 :is on #5 via http since 2`, anna.line())
	assert.Regexp(t, ` 319 anna back_door_1 :#5$`, anna.line())
	assert.Regexp(t, ` 312 anna back_door_1 \S+ :id \d+$`, anna.line())
	assert.Contains(t, anna.line(), " 318 ")
	assert.Contains(t, anna.line(), " 401 ")
	assert.Contains(t, anna.line(), " 318 ")
	assert.Regexp(t, ` 303 anna :back_door_1 anna$`, anna.line())
	assert.Regexp(t, ` 302 anna :anna=\+\d+@`, anna.line())

	otto := g.as(t, "otto", "#5")
	otto.say("AWAY :asleep")
	otto.until(" 306 ")
	anna.say("PRIVMSG otto :hello", "WHOIS otto")
	anna.until(" 301 anna otto :asleep$")
	anna.until(" 301 anna otto :asleep$")
	otto.until("PRIVMSG otto :hello")
	otto.say("AWAY")
	otto.until(" 305 ")
}

// A change of the nick is another sender on the same channels. Nothing is lost, or comes twice.
func TestANickChanges(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	_, say := g.speaker(t, 5)
	anna, otto := g.as(t, "anna", "#5", "#6"), g.as(t, "otto", "#5", "#6")
	anna.until("JOIN #6")
	for i := range 10 {
		anna.say(fmt.Sprint("NICK anna", i))
		say([]byte(fmt.Sprint("said ", i)))
	}
	for said, named := 0, false; said < 10 || !named; {
		line := anna.until(`PRIVMSG|NICK anna9$`)
		if strings.HasSuffix(line, "NICK anna9") {
			named = true
			continue
		}
		assert.Regexp(t, fmt.Sprintf(`PRIVMSG #5 :said %d$`, said), line)
		said++
	}
	for i := range 10 {
		otto.until(fmt.Sprintf(`^:anna\S* NICK anna%d$`, i))
	}
	otto.say("PRIVMSG anna9 :there?", "PRIVMSG anna :there?")
	anna.until("PRIVMSG anna9 :there[?]$")
	otto.until(" 401 otto anna ")
	anna.say("NAMES #5")
	assert.Contains(t, anna.until(" 353 "), "anna9")
}

func TestHowMessagesLook(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.as(t, "anna", "#5")
	hold := g.hub.Holds().New(func() {})
	require.NoError(t, g.hub.Attach(hold.Sender(), 5, &bridge.Attachment{Via: viaHTTP, Broadcasts: true, Sends: true}))
	says := func(hint bridge.Hint, data string) {
		_, err := g.hub.Publish(hold.Sender(), bridge.Publication{Channels: []bridge.Channel{5}, Content: bridge.Content{Data: []byte(data), Hint: hint}, Via: viaHTTP})
		require.NoError(t, err)
	}
	shows := func(want ...string) {
		t.Helper()
		for _, w := range want {
			_, text, _ := strings.Cut(c.until("PRIVMSG"), " :")
			assert.Equal(t, w, text)
		}
	}
	for _, m := range []struct {
		hint bridge.Hint
		said string
		want []string
	}{
		{bridge.Opaque, "21.5", []string{"21.5"}},
		{bridge.JSON, "21.50", []string{"21.50"}},
		{bridge.JSON, `{ "a" : [ 1, 2 ] }`, []string{`json: {"a":[1,2]}`}},
		{bridge.Opaque, "{\n\"a\":1}", []string{`json: {"a":1}`}},
		{bridge.Text, `{ "a" : 1 }`, []string{`{ "a" : 1 }`}},
		{bridge.JSON, `"on"`, []string{`json: "on"`}},
		{bridge.Opaque, "\x00\xff\x10", []string{"binary, 3 bytes: 00ff10"}},
		{bridge.Text, "\x01DCC SEND x\x01", []string{"binary, 12 bytes: 0144434320" + "53454e44207801"}},
		{bridge.Text, "a\r\n\r\nb\n", []string{"a", "b"}},
		{bridge.Text, "", []string{" "}},
	} {
		says(m.hint, m.said)
		shows(m.want...)
	}
	says(bridge.Opaque, string(make([]byte, 60000)))
	line := c.until("PRIVMSG")
	assert.Regexp(t, `:binary, 60000 bytes: 0+…$`, line)
	assert.LessOrEqual(t, len(line), 510)
	long := strings.Repeat("äöü…", 1000)
	says(bridge.Text, long)
	got := ""
	for len(got) < len(long) {
		line := c.until("PRIVMSG")
		assert.LessOrEqual(t, len(line), 510)
		_, text, _ := strings.Cut(line, " :")
		got += text
	}
	assert.Equal(t, long, got)
	says(bridge.Text, strings.Repeat("x\n", 5000))
	for range 199 {
		shows("x")
	}
	shows("… and more, which is too long for IRC")
}

func TestCapabilities(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.as(t, "anna", "#5")
	otto := g.as(t, "otto", "#5")
	c.say("CAP REQ :server-time message-tags echo-message")
	c.until(" ACK ")
	c.say("@+typing=active TAGMSG #5", "@+x=y PRIVMSG #5 :tagged")
	tags := `^@time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z;msgid=[0-9A-Z]{26} :anna!\S+ PRIVMSG `
	assert.Regexp(t, tags+"#5 :tagged$", c.until("PRIVMSG"))
	c.say("PRIVMSG otto :psst")
	assert.Regexp(t, tags+"otto :psst$", c.until("PRIVMSG"))
	assert.Regexp(t, "^:anna!", otto.until("PRIVMSG #5 :tagged"))
	c.say("CAP REQ :-echo-message -message-tags", "PRIVMSG #5 :quiet")
	c.until(" ACK ")
	c.none("quiet")
	otto.say("PRIVMSG #5 :hi")
	assert.Regexp(t, `^@time=\S+Z :otto`, c.until("PRIVMSG"))
}

func TestLinesThatAreTooLong(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.as(t, "anna", "#5")
	c.say("PRIVMSG #5 :"+strings.Repeat("x", 600), "@a="+strings.Repeat("x", 4200)+" PRIVMSG #5 :x", strings.Repeat("y", 100_000), "", "@+a="+strings.Repeat("x", 4000)+" PING 1")
	for range 3 {
		assert.Contains(t, c.line(), " 417 ")
	}
	assert.Contains(t, c.line(), "PONG")
	assert.Equal(t, 3, g.dropped(bridge.Malformed))
	c.say("PRIVMSG #5 :\xff\xfe")
	assert.Contains(t, c.line(), "INVALID_UTF8")
}

// A flood is slowed, and nothing of it is lost.
func TestAFloodIsSlowed(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.dial(t)
	begun := time.Now()
	c.say("NICK anna", "USER anna 0 * :Anna")
	for i := range 22 {
		c.say(fmt.Sprint("PING ", i))
	}
	for i := range 22 {
		c.until(fmt.Sprintf("PONG .* :?%d$", i))
	}
	assert.Greater(t, time.Since(begun), 1900*time.Millisecond)
	assert.Less(t, time.Since(begun), 10*time.Second)
}

func TestWhoIsSilentIsAsked(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *irc.Options) { o.PingInterval = 100 * time.Millisecond })
	c := g.as(t, "anna")
	c.until("^PING :")
	c.say("PONG x")
	c.until("^PING :")
	c.until("^ERROR :Ping timeout$")
}

// An operator, or the same sender over another protocol, may end a membership.
func TestRemovedByOthers(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.as(t, "anna", "#5")
	id, fault := g.hub.Receiver("anna")
	require.Nil(t, fault)
	s, _ := g.hub.SenderByID(id)
	g.hub.Leave(s, []bridge.Channel{5})
	c.until(`^:anna!\S+ PART #5 :Removed$`)
	c.on("#5")
	require.NoError(t, g.hub.Forget(s))
	c.until("^ERROR :Your sender was deleted$")
}

func TestTheEnd(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.as(t, "anna", "#5")
	g.server.Quiesce(context.Background())
	_, say := g.speaker(t, 5)
	say([]byte("the last word"))
	c.until("PRIVMSG #5 :the last word")
	g.stop()
	c.until("^ERROR :The gateway ends$")
	_, err := c.in.ReadByte()
	assert.ErrorIs(t, err, io.EOF)
}

func (g *gateway) speaker(t testing.TB, channel bridge.Channel) (id uint32, say func([]byte)) {
	id, publish := harness.Speaker(t, g.hub, viaHTTP, channel)
	return id, func(data []byte) { publish(data, nil) }
}
