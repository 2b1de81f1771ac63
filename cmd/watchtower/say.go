package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// audience is to whom something is said: to all on channels, or to receivers there.
type audience struct {
	channels  []uint32
	receivers []string // ids in digits, or names
	ttl       int      // seconds that it may wait; 0: as long as each protocol lets it
}

// inputBytes is the most bytes of a message that are read. It is far above every gateway's
// limit: the gateway refuses a message that is too long, and says why.
const inputBytes = 1 << 20

// speech is what broadcast and send say, besides their arguments.
type speech struct {
	lines  bool
	file   string
	ttl    string
	repeat int
	pause  string
}

func (s *speech) add(f *pflag.FlagSet) {
	f.BoolVarP(&s.lines, "lines", "l", false, "read standard input, and say each line")
	f.StringVarP(&s.file, "file", "f", "", "say what is in this file, byte for byte")
	f.StringVar(&s.ttl, "ttl", "", "how long it may wait for who is away: seconds, or a time such as 5m")
	f.IntVar(&s.repeat, "repeat", 1, "say it so many times")
	f.StringVar(&s.pause, "repeat-delay", "1s", "time between them: seconds, or a time such as 5m")
}

// seconds returns --ttl in seconds; 0: none.
func (s *speech) seconds() (int, error) {
	if s.ttl == "" {
		return 0, nil
	}
	d, err := parseSeconds("--ttl", s.ttl)
	if err == nil && d < time.Second {
		err = usagef("--ttl must be at least a second, is %q", s.ttl)
	}
	return int(d / time.Second), err
}

// messages returns what gives one message after the other, and then errAllSaid.
func (s *speech) messages(ctx context.Context, c *client, args []string) (func() ([]byte, error), error) {
	pause, err := parseSeconds("--repeat-delay", s.pause)
	switch {
	case err != nil:
		return nil, err
	case s.repeat < 1:
		return nil, usagef("--repeat must be at least 1, is %d", s.repeat)
	case s.lines && s.file != "", (s.lines || s.file != "") && len(args) > 0, s.lines && s.repeat > 1:
		return nil, usagef("give one of MESSAGE, --file and --lines; --repeat is not for --lines")
	case s.lines:
		return c.readLines(), nil
	}
	message, err := s.message(c, args)
	if err != nil {
		return nil, err
	}
	n := 0
	return func() ([]byte, error) {
		if n == s.repeat {
			return nil, errAllSaid
		}
		if n++; n > 1 && !pauseFor(ctx, pause) {
			return nil, errAllSaid
		}
		return message, nil
	}, nil
}

// message returns the message: the arguments, a file, or standard input if there are none or
// only "-".
func (s *speech) message(c *client, args []string) ([]byte, error) {
	if s.file != "" {
		f, err := os.Open(s.file)
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		defer f.Close()
		message, err := io.ReadAll(io.LimitReader(f, inputBytes))
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		return message, nil
	}
	if text := strings.Join(args, " "); len(args) > 0 && text != "-" {
		return []byte(text), nil
	}
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintln(c.err, "watchtower: reading the message from the terminal, Ctrl-D ends it")
	}
	message, err := io.ReadAll(io.LimitReader(c.in, inputBytes))
	if err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	if len(message) == 0 {
		return nil, usagef(`nothing to say: the input is empty; say "" to send an empty message`)
	}
	return message, nil
}

// readLines returns what reads the lines of standard input.
func (c *client) readLines() func() ([]byte, error) {
	lines := bufio.NewScanner(c.in)
	lines.Buffer(nil, inputBytes)
	return func() ([]byte, error) {
		if lines.Scan() {
			return lines.Bytes(), nil
		}
		if errors.Is(lines.Err(), bufio.ErrTooLong) {
			return nil, fmt.Errorf("a line of standard input has more than %d bytes", inputBytes)
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read the messages: %w", err)
		}
		return nil, errAllSaid
	}
}

// errAllSaid is the end of the messages.
var errAllSaid = errors.New("all is said")

// say says each message that next gives, until errAllSaid. Raw says that they are bytes, also
// if they can be read as text. For that it joins the channels, without echo, and joins again
// when the stream breaks.
func (c *client) say(ctx context.Context, to audience, raw bool, next func() ([]byte, error)) error {
	said, err := next()
	for err == nil {
		err = c.as(ctx, func(t target, id identity) error {
			membership, err := c.visit(ctx, t, id, to.channels, hears{most: askLongest})
			if err != nil {
				return err
			}
			over := membership.drain()
			defer func() { membership.close(); <-over }()
			for {
				if err := (speaker{c, t, id}).tell(ctx, to, raw, said); err != nil {
					return err
				}
				if said, err = next(); err != nil {
					return failure{err}
				}
				select {
				case <-over:
					return nil // joins again
				default:
				}
			}
		})
	}
	if errors.Is(err, errAllSaid) {
		return nil
	}
	return err
}

// halfConfirmed is how many have said a message of a channel that wants more than one.
type halfConfirmed struct{ Confirmed, Of int }

func (h halfConfirmed) String() string {
	return fmt.Sprintf("%d of %d have said this", h.Confirmed, h.Of)
}

// tell says one message, and prints its id or the gateway's answer.
func (s speaker) tell(ctx context.Context, to audience, raw bool, message []byte) error {
	r, err := to.request(s.as, raw, message)
	if err != nil {
		return err
	}
	answer, err := s.call(ctx, s.at, r)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(answer)
	}
	var sent struct {
		ID string
		halfConfirmed
	}
	switch err := json.Unmarshal(answer, &sent); {
	case err != nil:
	case sent.Of > 0:
		fmt.Fprintf(s.out, "waits: %s\n", sent.halfConfirmed)
	case sent.ID != "":
		fmt.Fprintln(s.out, "sent", printableText(sent.ID))
	}
	return nil
}

// isJSON reports whether a message is a JSON object or array: marked as text, streams would show
// it as a string.
func isJSON(message []byte) bool {
	begin := bytes.TrimLeft(message, " \t\r\n")
	return len(begin) > 0 && (begin[0] == '{' || begin[0] == '[') && json.Valid(message)
}

func (a audience) request(id identity, raw bool, message []byte) (request, error) {
	path := "/broadcast"
	if len(a.receivers) > 0 {
		path = "/send"
	}
	var r request
	var err error
	if raw || !utf8.Valid(message) || isJSON(message) { // not marked as text
		r = request{method: "POST", path: path, contentType: "application/octet-stream", body: bytes.Clone(message), query: url.Values{
			"channels": {idList(a.channels)}, "sender": {strconv.FormatUint(uint64(id.ID), 10)},
		}}
		if len(a.receivers) > 0 {
			r.query.Set("receivers", strings.Join(a.receivers, ","))
		}
		if a.ttl > 0 {
			r.query.Set("ttl", strconv.Itoa(a.ttl))
		}
	} else {
		r, err = jsonRequest("POST", path, struct {
			Channels  []uint32 `json:"channels"`
			Sender    uint32   `json:"sender"`
			Receivers []string `json:"receivers,omitempty"`
			TTL       int      `json:"ttl,omitempty"`
			Message   string   `json:"message"`
		}{slices.Clone(a.channels), id.ID, a.receivers, a.ttl, string(message)})
	}
	r.token = id.Token
	return r, err
}
