package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A shell completes what each command takes: channels, members, senders, devices, and the values of
// flags. Somebody who is no operator is offered no senders.
func TestCompletion(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	s.follows("5", "--name", "ear")
	key := strings.Split(s.run("", "device", "key", "lamp").out, "\n")[0]
	s.follows("6", "--udp", "--name", "lamp", "--device-key-file", "- <<.\n"+key+"\n.\n")
	for typed, want := range map[string]string{
		"join ": "5 6", "chat ": "5 6", "broadcast ": "5 6", "send ": "5 6", "send 5 ": "ear", "request ": "5 6", "request 5 ": "ear", "reply ": "5 6",
		"members ": "5 6", "kick ": "5 6", "kick 5 ": "ear", "token ": "5 6",
		"senders show ": "ear lamp", "senders rename ": "ear lamp", "senders protect ": "ear lamp", "senders forget ": "ear lamp", "senders token ": "ear lamp",
		"senders show la": "lamp", "senders rename ear ": "", "device key ": "lamp", "device revoke ": "lamp",
		"senders list --state ": "away here", "senders list --via ": "callback http irc mqtt remote tcp udp", "help sen": "send senders", "help senders sh": "show",
	} {
		var offered string // nothing, where a busy gateway takes too long
		for began := time.Now(); offered != want && time.Since(began) < patient; {
			offered = s.completed(typed)
		}
		assert.Equal(t, want, offered, typed)
	}
	got := s.run("", "__complete", "senders", "show", "--url", s.file("gateway.url"), "--admin-key", "wrong", "")
	assert.Equal(t, ":4\n", got.out)
	assert.Equal(t, "Completion ended with directive: ShellCompDirectiveNoFileComp\n", got.err)
}

// completed is what a shell offers after something was typed, sorted, without this machine's own
// sender.
func (s *served) completed(typed string) string {
	s.t.Helper()
	got := s.run("", append([]string{"__complete"}, strings.Split(typed, " ")...)...)
	require.Zero(s.t, got.code, got.err)
	var names []string
	for line := range strings.Lines(got.out) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(name, ":") && !strings.HasPrefix(name, "cli-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
