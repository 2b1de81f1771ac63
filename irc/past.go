package irc

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
	"watchtower/history"
)

const (
	// mostPast is the most messages that one CHATHISTORY gets, and pastBytes about how many
	// bytes.
	mostPast  = 100
	pastBytes = 256 << 10
)

// mark is a place among messages: a time, or a message.
type mark struct {
	any bool // *
	at  time.Time
	id  ulid.ULID
}

func parseMark(text string) (m mark, ok bool) {
	kind, value, _ := strings.Cut(text, "=")
	var err error
	switch kind {
	case "*":
		m.any = true
	case "timestamp":
		m.at, err = time.Parse(time.RFC3339, value)
	case "msgid":
		m.id, err = ulid.ParseStrict(value)
	default:
		return m, false
	}
	return m, err == nil
}

// compare returns whether a message is before the mark (-1), at it (0) or after it.
func (m mark) compare(message *bridge.Message) int {
	switch {
	case m.any:
		return -1
	case m.id != ulid.ULID{}:
		return message.ID.Compare(m.id)
	}
	return message.Time.Truncate(time.Millisecond).Compare(m.at)
}

// chatHistory is CHATHISTORY (ircv3.net, "chathistory").
func (c *conn) chatHistory(params []string) error {
	sub := strings.ToUpper(params[0])
	fail := func(code, text string) error {
		return c.put(appendLine(nil, c.server.name, "FAIL", "CHATHISTORY", code, shown(sub), text))
	}
	need := map[string]int{"LATEST": 4, "BEFORE": 4, "AFTER": 4, "AROUND": 4, "BETWEEN": 5}[sub]
	if c.server.opts.Past != nil && sub == "TARGETS" {
		return c.targets(params, fail)
	}
	if c.server.opts.Past == nil || need == 0 || len(params) < need {
		return fail("INVALID_PARAMS", "Unknown command, or not enough parameters")
	}
	ch, ok := parseChannel(params[1])
	if !ok || !c.isOnChannel(ch) {
		return fail("INVALID_TARGET", "You are not on that channel")
	}
	var marks []mark
	for _, text := range params[2 : need-1] {
		m, ok := parseMark(text)
		if !ok || m.any && sub != "LATEST" {
			return fail("INVALID_PARAMS", "A place is timestamp=… or msgid=…")
		}
		marks = append(marks, m)
	}
	limit, err := strconv.Atoi(params[need-1])
	if err != nil || limit < 1 {
		return fail("INVALID_PARAMS", "The limit is a number")
	}
	return c.replay(ch, choose(sub, marks, c.kept(ch), min(limit, mostPast)))
}

// targets tells on which of the client's channels something was last said between two times, the
// longest ago first.
func (c *conn) targets(params []string, fail func(code, text string) error) error {
	if len(params) < 4 {
		return fail("INVALID_PARAMS", "Not enough parameters")
	}
	from, begins := parseMark(params[1])
	to, ends := parseMark(params[2])
	if !begins || !ends || from.at.IsZero() || to.at.IsZero() {
		return fail("INVALID_PARAMS", "A time is timestamp=…")
	}
	if to.at.Before(from.at) {
		from, to = to, from
	}
	limit, err := strconv.Atoi(params[3])
	if err != nil || limit < 1 {
		return fail("INVALID_PARAMS", "The limit is a number")
	}
	type target struct {
		ch   bridge.Channel
		last time.Time
	}
	var all []target
	for _, ch := range c.on() {
		if kept := c.kept(ch); len(kept) > 0 {
			last := kept[len(kept)-1]
			if from.compare(last) > 0 && to.compare(last) < 0 {
				all = append(all, target{ch, last.Time})
			}
		}
	}
	slices.SortFunc(all, func(a, b target) int { return a.last.Compare(b.last) })
	batch, b := c.beginBatch("draft/chathistory-targets")
	for _, t := range all[:min(len(all), limit, mostPast)] {
		if batch != "" {
			b = append(b, "@batch="+batch+" "...)
		}
		b = appendLine(b, c.server.name, "CHATHISTORY", "TARGETS", channelName(t.ch), t.last.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return c.put(c.endBatch(b, batch))
}

// beginBatch begins a batch of a type, if the client takes one.
func (c *conn) beginBatch(params ...string) (batch string, b []byte) {
	if c.has(capBatch) {
		c.batches++
		batch = strconv.Itoa(c.batches)
		b = appendLine(nil, c.server.name, "BATCH", append([]string{"+" + batch}, params...)...)
	}
	return batch, b
}

func (c *conn) endBatch(b []byte, batch string) []byte {
	if batch != "" {
		b = appendLine(b, c.server.name, "BATCH", "-"+batch)
	}
	return b
}

// kept returns the broadcasts on a channel that are kept and that the client may read.
func (c *conn) kept(ch bridge.Channel) (all []*bridge.Message) {
	who := c.who.Load()
	since, _ := history.ParseSince("all")
	_ = c.server.opts.Past.Join(func(now history.Moment) error { // fails only if that does
		all = now.Missed(since, []bridge.Channel{ch}, nil, false).Messages
		return nil
	})
	return slices.DeleteFunc(all, func(m *bridge.Message) bool {
		return who.rights != nil && !who.rights.MayRead(string(c.server.hub.Tree().AppendTopic(nil, m)))
	})
}

// choose returns the messages that a subcommand asks for, the oldest first.
func choose(sub string, marks []mark, all []*bridge.Message, limit int) []*bridge.Message {
	before := func(m mark) int { // how many are before it
		n := slices.IndexFunc(all, func(b *bridge.Message) bool { return m.compare(b) >= 0 })
		if n < 0 {
			return len(all)
		}
		return n
	}
	upTo := func(m mark) int { // how many are before it or at it
		n := slices.IndexFunc(all, func(b *bridge.Message) bool { return m.compare(b) > 0 })
		if n < 0 {
			return len(all)
		}
		return n
	}
	from, to := 0, len(all)
	switch sub {
	case "LATEST":
		if !marks[0].any {
			from = upTo(marks[0])
		}
		from = max(from, to-limit)
	case "BEFORE":
		to = before(marks[0])
		from = max(0, to-limit)
	case "AFTER":
		from = upTo(marks[0])
	case "AROUND":
		from = max(0, before(marks[0])-limit/2)
	case "BETWEEN":
		if upTo(marks[0]) <= before(marks[1]) {
			from, to = upTo(marks[0]), before(marks[1])
		} else { // backwards: the newest of them
			from, to = upTo(marks[1]), before(marks[0])
			from = max(from, to-limit)
		}
	}
	to = min(to, from+limit)
	return all[min(from, to):to]
}

// replay tells the client of earlier messages, in a batch if it takes one.
func (c *conn) replay(ch bridge.Channel, messages []*bridge.Message) error {
	for bytes, i := 0, len(messages)-1; i >= 0; i-- {
		if bytes += len(messages[i].Data); bytes > pastBytes {
			messages = messages[i+1:]
			break
		}
	}
	caps := c.caps.Load()
	batch, b := c.beginBatch("chathistory", channelName(ch))
	for _, m := range messages {
		b = appendMessage(b, m, c.server.person(m.Sender, m.Name).source, channelName(ch), caps&(capTime|capTags), batch)
	}
	return c.put(c.endBatch(b, batch))
}
