package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTap(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	v := tap{soil: 40}
	for _, text := range []string{"tap", "tap ", "open", "tap open ", "tap open 0", "tap open -1", "tap open 3601", "tap open x", "tap open 3 s", "tap close 3", "tap opened", ""} {
		assert.False(t, v.told(text, now), text)
	}
	assert.False(t, v.open)

	require.True(t, v.told("tap open 3", now))
	assert.Equal(t, "open", v.word())
	assert.False(t, v.expired(now.Add(2999*ms)))
	require.True(t, v.told("tap open 3", now.Add(2*time.Second)), "said again")
	assert.False(t, v.expired(now.Add(4999*ms)))
	assert.True(t, v.expired(now.Add(5*time.Second)))
	assert.False(t, v.expired(now.Add(6*time.Second)), "once")
	assert.Equal(t, "closed", v.word())
	assert.Equal(t, 65, v.percentage(), "five seconds of water")

	require.True(t, v.told("tap open", now))
	assert.False(t, v.expired(now.Add(9*time.Minute)))
	assert.True(t, v.expired(now.Add(10*time.Minute)))
	assert.Equal(t, 100, v.percentage())
	require.True(t, v.told("tap open 3600", now))
	require.True(t, v.told("tap close", now))
	assert.False(t, v.open)
}

// What is typed wrong is told.
func TestArguments(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"says nothing to do":                              nil,
		`"play" is no command`:                            {"play"},
		"valve wants one name of a valve":                 {"valve"},
		"compose wants one file":                          {"compose", "a", "b"},
		"flag provided but not defined: -loud":            {"conduct", "-loud", "valkyries.mid"},
		`-over must be udp, tcp, mqtt or basic, is "irc"`: {"valve", "-over", "irc", "rose"},
		`1 to 32 of A–Z a–z 0–9 _ . : -, not "a rose"`:    {"valve", "a rose"},
		"-channel must be from 1":                         {"valve", "-channel", "0", "rose"},
		"-speed must be from 0.1 to 100, is NaN":          {"conduct", "-speed", "nan", "valkyries.mid"},
		"-hold must be whole seconds":                     {"conduct", "-hold", "1500ms", "valkyries.mid"},
		"no such file":                                    {"conduct", "none.mid"},
		"no gateway answers":                              {"conduct", "-url", "http://127.0.0.1:1", "valkyries.mid"},
	} {
		var out printed
		require.ErrorContains(t, run(context.Background(), args, &out), want)
	}
}

// A wrong key is told over each protocol.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	g := newGarden(t)
	for name, over := range ways {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := run(ctx, []string{"valve", "-over", over, "-gateway", g.at(name), "-key", "wrong", name}, &printed{})
		cancel()
		require.ErrorContains(t, err, name+", "+g.at(name)+" over "+over+": ")
	}
}
