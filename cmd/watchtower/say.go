package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// said is a message to send: a broadcast, or a send if it has receivers.
type said struct {
	channels  []uint32
	receivers []string // ids in digits, or names
	raw       bool     // the message is bytes, not text
	message   []byte
}

// readMessage returns the message: the arguments, or standard input if there are none or
// only "-". Raw says that it is bytes and not text.
func (c *client) readMessage(args []string) (message []byte, raw bool, err error) {
	if text := strings.Join(args, " "); len(args) > 0 && text != "-" {
		return []byte(text), !utf8.ValidString(text), nil
	}
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintln(c.err, "watchtower: reading the message from the terminal, Ctrl-D ends it")
	}
	// This is far above every gateway's limit. The gateway refuses a message that is too
	// long, and says why.
	message, err = io.ReadAll(io.LimitReader(c.in, 1<<20))
	if err != nil {
		return nil, false, fmt.Errorf("read the message: %w", err)
	}
	if len(message) == 0 {
		return nil, false, usagef(`nothing to say: the input is empty; say "" to send an empty message`)
	}
	return message, true, nil
}

// say sends a message. For that it joins the channels, without echo.
func (c *client) say(ctx context.Context, s said) error {
	var answer []byte
	err := c.as(ctx, func(t target, id identity) error {
		membership, err := c.join(ctx, t, id, s.channels, false, "")
		if err != nil {
			return err
		}
		defer membership.close()
		r, err := s.request(id)
		if err != nil {
			return err
		}
		answer, err = c.call(ctx, t, r)
		return err
	})
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(answer)
	}
	var sent struct{ ID string }
	if json.Unmarshal(answer, &sent) == nil && sent.ID != "" {
		fmt.Fprintln(c.out, "sent", printableText(sent.ID))
	}
	return nil
}

func (s said) request(id identity) (request, error) {
	path := "/broadcast"
	if len(s.receivers) > 0 {
		path = "/send"
	}
	var r request
	var err error
	if s.raw {
		r = request{method: "POST", path: path, contentType: "application/octet-stream", body: s.message, query: url.Values{
			"channels": {idList(s.channels)}, "sender": {strconv.FormatUint(uint64(id.ID), 10)},
		}}
		if len(s.receivers) > 0 {
			r.query.Set("receivers", strings.Join(s.receivers, ","))
		}
	} else {
		r, err = jsonRequest("POST", path, struct {
			Channels  []uint32 `json:"channels"`
			Sender    uint32   `json:"sender"`
			Receivers []string `json:"receivers,omitempty"`
			Message   string   `json:"message"`
		}{s.channels, id.ID, s.receivers, string(s.message)})
	}
	r.token = id.Token
	return r, err
}
