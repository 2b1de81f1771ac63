package main

import (
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A valve that has closed by itself within a note, and is gone then, does not answer either.
func TestAValveThatClosedByItselfIsGone(t *testing.T) {
	t.Parallel()
	const hold = time.Second
	p := &player{name: "moss"}
	p.heardOf(1, state{Tap: "closed"}, 0)
	p.shall(true, 0)
	now := time.Now()
	require.NotEmpty(t, p.command(now, hold))
	p.heardOf(1, state{Tap: "open"}, 0)
	p.heardOf(1, state{Tap: "closed"}, 0)
	assert.False(t, p.silent(time.Now(), hold), "it is told again")
	assert.True(t, p.silent(time.Now().Add(2*hold), hold))
	assert.False(t, p.silent(time.Now().Add(3*hold), hold), "once")
}

// What is said on the channel is a valve's if it says how its tap is. A sender with a name is no
// other valve than that; one without says which. What makes no sense changes nothing.
func TestWhoSaysWhat(t *testing.T) {
	t.Parallel()
	c := &conductor{out: io.Discard, players: map[string]*player{"rose": {name: "rose"}, "moss": {name: "moss"}}, others: map[string]bool{}, mark: "m", channel: &channel{number: 5}}
	say := func(id uint32, name, message string) bool {
		changed, err := c.take(heard{Type: "broadcast", Sender: id, Name: name, Message: json.RawMessage(message)})
		require.NoError(t, err)
		return changed
	}
	assert.True(t, say(1, "", `{"valve":"rose","tap":"closed","soil":1}`))
	assert.True(t, say(2, "rose", `"{\"tap\":\"open\",\"soil\":40}"`), "as a small board says it")
	assert.False(t, say(1, "", `{"valve":"rose","tap":"closed","soil":1}`), "nobody takes its name")
	assert.EqualValues(t, 2, c.players["rose"].id)
	assert.Equal(t, 40, c.players["rose"].soil)
	assert.False(t, say(3, "lily", `{"valve":"rose","tap":"open","soil":2}`), "it is lily")
	assert.True(t, say(4, "", `{"valve":"moss","tap":"closed","soil":30}`))
	assert.True(t, say(5, "", `{"valve":"moss","tap":"open","soil":31}`), "it has restarted")
	assert.EqualValues(t, 5, c.players["moss"].id)
	assert.True(t, say(2, "rose", lastWill))
	assert.Empty(t, c.players["rose"].is)
	assert.Equal(t, 40, c.players["rose"].soil, "the will knows nothing of the soil")
	for _, nonsense := range []string{`null`, `5`, `"open"`, `[{"tap":"open"}]`, `{}`, `{"tap":"open","soil":"x"}`, `{"conductor":5}`, `{"soil":3}`} {
		assert.False(t, say(2, "rose", nonsense), nonsense)
	}
	assert.Empty(t, c.players["rose"].is)
	assert.Equal(t, map[string]bool{"lily": true}, c.others)
	_, err := c.take(heard{Type: "broadcast", Name: "other", Message: json.RawMessage(`{"conductor":"a"}`)})
	require.Error(t, err, "it began earlier")
	assert.False(t, say(9, "conductor", `{"conductor":"m"}`), "its own words")
}
