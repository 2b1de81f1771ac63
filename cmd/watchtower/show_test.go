package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestMessageLine(t *testing.T) {
	head := `{"id":"01J","time":"2026-11-22T20:00:00.123Z","type":"broadcast","channel":5,"sender":72,`
	for in, want := range map[string]string{
		head + `"name":"kitchen","message":"all your base"}`:           "20:00:00 #5 kitchen (72): all your base",
		head + `"message":"a\nb\u001b[31m\u202e\u009b\tü😀\\n"}`:        `20:00:00 #5 72: a\nb\x1b[31m\u202e\u009b\tü😀\n`,
		head + `"message":"AAH/","encoding":"base64"}`:                 "20:00:00 #5 72: [base64] AAH/",
		head + `"message":{"t": 21.5, "on":true}}`:                     `20:00:00 #5 72: {"t":21.5,"on":true}`,
		head + `"message":null}`:                                       `20:00:00 #5 72: null`,
		strings.Replace(head, "broadcast", "send", 1) + `"message":1}`: "20:00:00 #5 72 to you: 1",
		head + `"message":"the begin","truncated":true}`:               "20:00:00 #5 72, cut short: the begin",
		`{"type":"gap","channel":5}`:                                   `{"type":"gap","channel":5}`,
		"no JSON \x1b[2J\xff":                                          `no JSON \x1b[2J\xff`,
	} {
		assert.Equal(t, want, messageLine(parseMessage([]byte(in)), time.UTC))
	}
}
