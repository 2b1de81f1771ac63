package irc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/irc"
)

// A sender's token is a password: the client is that sender, whatever it calls itself. A newer
// connection ends the older one, and a new token ends both.
func TestAToken(t *testing.T) {
	limits := config.Default().Limits
	limits.Failures = 3
	g := start(t, bridge.Options{SecretKey: "hunter2"}, func(o *irc.Options) {
		o.Gate = auth.NewGate(auth.Options{Limits: limits}, harness.Silent())
	})
	given, err := g.hub.Register(bridge.Registration{Name: "kitchen.door", Protected: true})
	require.NoError(t, err)
	as := func(password string) *client {
		c := g.dial(t)
		c.say("PASS "+password, "NICK somebody", "USER x 0 * :x")
		return c
	}
	first := as(given.Token)
	assert.Contains(t, first.line(), " 001 kitchen_door :")
	first.until(" 376 ")
	first.say("NICK other", "JOIN #5")
	first.until(" 484 kitchen_door :")
	first.until(" 366 ")
	anna := g.dial(t)
	anna.say("PASS hunter2", "NICK anna", "USER x 0 * :x")
	anna.until(" 376 ")
	anna.on("#5")

	second := as(given.Token)
	second.until(" 376 ")
	first.until("^ERROR :A newer connection has your token$")
	second.on("#5")
	second.say("PRIVMSG #5 :here")
	anna.until(fmt.Sprintf(`^:kitchen_door!%d@\S+ PRIVMSG #5 :here$`, given.ID))

	as("wtp_short").until(" 464 .*none for pages$")
	as("wt_wrong").until(" 464 .*of no sender, or has ended$")
	_, err = g.hub.Registry().FreshToken(given.ID)
	require.NoError(t, err)
	as(given.Token).until(" 464 .*has ended$")
	as("wt_another").until(" 464 ")
	as("wt_another").until(" 464 .*Too many")
}

// A member that is gone from the gateway quits, once, with why; one that leaves a channel parts.
func TestQuit(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	anna := g.as(t, "anna", "#5", "#6")
	otto := g.as(t, "otto", "#5", "#6")
	anna.until("otto!.* JOIN #6")
	otto.say("PART #6")
	anna.until(`^:otto!\S+ PART #6$`)
	otto.on("#6")
	anna.until("otto!.* JOIN #6")
	require.NoError(t, otto.conn.Close())
	assert.Equal(t, "QUIT :Its connection was lost", afterSource(anna.until("^:otto!")))
	anna.none("^:otto!")

	otto = g.as(t, "otto", "#5")
	anna.until("otto!.* JOIN #5")
	otto.say("QUIT :bye")
	assert.Equal(t, "QUIT :It said goodbye", afterSource(anna.until("^:otto!")))

	hold, err := g.hub.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true}, func() {})
	require.NoError(t, err)
	hold.Present(viaHTTP)
	on := func(ch bridge.Channel) *bridge.Attachment {
		a := &bridge.Attachment{Via: viaHTTP, Broadcasts: true}
		require.NoError(t, g.hub.Attach(hold.Sender(), ch, a))
		anna.until(fmt.Sprintf("^:lamp!.* JOIN #%d$", ch))
		return a
	}
	five, six := on(5), on(6)
	g.hub.Detach(six)
	assert.Equal(t, "PART #6", afterSource(anna.until("^:lamp!")), "it is connected")
	six = on(6)
	hold.Left(bridge.LeftBySilence)
	g.hub.Holds().Release(hold)
	g.hub.Detach(five)
	g.hub.Detach(six)
	assert.Equal(t, "QUIT :It was silent for too long", afterSource(anna.until("^:lamp!")))
	anna.none("^:lamp!")
}

// afterSource is a line without who it is from.
func afterSource(line string) string {
	_, rest, _ := strings.Cut(line, " ")
	return rest
}
