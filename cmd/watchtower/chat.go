package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func chatCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chat CHANNEL",
		Short: "Talk on a channel: what others say, and a line to answer",
		Long: "Talk on a channel: it shows what was said and is said there, and says each line that\n" +
			"you type. Ctrl-D ends it. Names have colours on a terminal, unless NO_COLOR is set.",
		Example: "  watchtower chat 5 --name anna",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: completeChannels(sys),
	}
	since := cmd.Flags().String("since", "1h", "what was said before: after a message's id, of an age such as 10m, all that is kept, or none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args[0])
		if err != nil {
			return err
		}
		c, ctx, stop, err := clientFor(cmd, sys)
		if err != nil {
			return err
		}
		defer stop()
		if c.json {
			return usagef("chat is for people: watchtower join --json is for programs")
		}
		if *since == "none" {
			*since = ""
		}
		screen, restore, err := c.screen()
		if err != nil {
			return err
		}
		defer restore()
		return c.chat(ctx, hearing{channels: channels, since: *since, deaf: true}, screen)
	}
	return cmd
}

// screen is where a chat is shown, and typed.
type screen struct {
	io.Writer
	line    func() (string, error) // io.EOF after the last
	colours bool
}

// screen sets up the terminal, or standard input and output if they are none. Restore
// undoes that.
func (c *client) screen() (s screen, restore func(), err error) {
	in, ok := c.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !isTerminal(c.out) {
		lines := bufio.NewScanner(c.in)
		lines.Buffer(nil, inputBytes)
		return screen{c.out, func() (string, error) {
			if lines.Scan() {
				return lines.Text(), nil
			}
			if err := lines.Err(); err != nil {
				return "", err
			}
			return "", io.EOF
		}, false}, func() {}, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return s, nil, err
	}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, c.out}, "> ")
	if width, height, err := term.GetSize(int(in.Fd())); err == nil && width > 0 {
		_ = t.SetSize(width, height) // a failed write shows at the next
	}
	c.err = t // so that what is told does not break the line that is typed
	return screen{t, t.ReadLine, c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb"}, func() { _ = term.Restore(int(in.Fd()), before) }, nil
}

// chat shows the messages of channels, and says each line that is typed, until the last one
// or ctx ends.
func (c *client) chat(ctx context.Context, h hearing, s screen) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var here sync.Mutex // guards who
	var who speaker
	joined := make(chan struct{})
	heard := make(chan error, 1)
	h.stands = func(now speaker) {
		here.Lock()
		defer here.Unlock()
		if who.client == nil {
			close(joined)
		}
		who = now
	}
	go func() {
		heard <- c.follow(ctx, h, func(_ speaker, m message) error {
			_, err := fmt.Fprintf(s, "%s %s: %s\n", m.Time.Local().Format("15:04"), s.name(m.from()), m.text())
			return err
		})
	}()
	typed := make(chan error, 1)
	go func() { // ends with its input: the process does not wait for a terminal
		select {
		case <-joined:
		case <-ctx.Done():
			return
		}
		typed <- s.each(func(text string) error {
			here.Lock()
			now := who
			here.Unlock()
			return now.chatter(ctx, h.channels, text)
		})
	}()
	select {
	case err := <-heard:
		return err
	case err := <-typed:
		cancel()
		if failed := <-heard; err == nil {
			err = failed
		}
		return err
	}
}

// each calls say for every line that is typed.
func (s screen) each(say func(string) error) error {
	for {
		text, err := s.line()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && text != "" {
			err = say(text)
		}
		if err != nil {
			return err
		}
	}
}

// chatter says a line. A refusal is told, and the chat goes on.
func (s speaker) chatter(ctx context.Context, channels []uint32, text string) error {
	r, err := audience{channels: channels}.request(s.as, false, []byte(text))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = s.call(ctx, s.at, r)
	s.complain(err)
	return nil
}

// name is a name in a colour of its own.
func (s screen) name(name string) string {
	if !s.colours {
		return name
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, name) // never fails
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", 31+h.Sum32()%6, name)
}
