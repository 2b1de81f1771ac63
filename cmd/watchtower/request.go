package main

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func requestCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "request CHANNEL [RECEIVER] MESSAGE",
		Short: "Say something, and print the first answer that is sent back",
		Long: "Say something to everybody on a channel, or to one member, and print the first\n" +
			"answer that is sent back: watchtower reply gives such answers. With two arguments\n" +
			"the second one is the message.",
		Example: "  watchtower request 9 ping\n  watchtower request 9 thermostat 'what is set?'",
		Args:    cobra.MinimumNArgs(2),

		ValidArgsFunction: completeMembers(sys),
	}
	e := ending{count: 1}
	e.addWithin(cmd.Flags(), "5")
	var o output
	o.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args[0])
		if err != nil {
			return err
		}
		to, asked := audience{channels: channels}, ""
		if len(args) > 2 {
			if asked = args[1]; strings.Contains(asked, ",") {
				return usagef("a request has one receiver, is %q", asked)
			}
			if to.receivers, err = parseReceivers(asked); err != nil {
				return err
			}
		}
		c, ctx, stop, err := clientFor(cmd, sys)
		if err != nil {
			return err
		}
		defer stop()
		if o.format == "" && !c.json {
			o.format = "%p"
		}
		each, err := o.open(ctx, c)
		if err != nil {
			return err
		}
		text := []byte(strings.Join(args[min(len(args)-1, 2):], " "))
		err = e.run(ctx, func(ctx context.Context, count func(error) error) error {
			return c.as(ctx, func(t target, id identity) error {
				err := (speaker{c, t, id}).request(ctx, to, asked, text, func(m message) error { return count(each(m)) })
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return err
			})
		})
		var few tooFew
		if errors.As(err, &few) {
			few.answers = true
			return few
		}
		return err
	}
	return cmd
}

// request says a text, and calls each for every answer until each returns an error. Asked is
// whose answers count, an id or a name; empty: everybody's.
func (s speaker) request(ctx context.Context, to audience, asked string, text []byte, each func(message) error) error {
	answers, err := s.visit(ctx, s.at, s.as, to.channels, hears{most: askLongest})
	if err != nil {
		return err
	}
	defer answers.close()
	r, err := to.request(s.as, false, text)
	if err != nil {
		return err
	}
	if _, err := s.call(ctx, s.at, r); err != nil {
		return err
	}
	for {
		line, err := answers.next()
		if err != nil {
			return err
		}
		m := parseMessage(line)
		if m.Type != "send" || asked != "" && m.Name != asked && strconv.FormatUint(uint64(m.Sender), 10) != asked {
			continue
		}
		if err := each(m); err != nil {
			return err
		}
	}
}

func replyCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reply CHANNEL [MESSAGE]",
		Short: "Answer each message on a channel, by a send to who said it",
		Long: "Answer each message on a channel, by a send to who said it, until it is stopped:\n" +
			"with MESSAGE, or with what a command prints (--exec).",
		Example: "  watchtower reply 9 pong\n  watchtower reply 9 --exec 'sensors -j'",
		Args:    cobra.MinimumNArgs(1),

		ValidArgsFunction: completeChannels(sys),
	}
	command := cmd.Flags().String("exec", "", execHelp)
	var e ending
	e.add(cmd.Flags(), "0s")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args[0])
		if err != nil {
			return err
		}
		if (len(args) > 1) == (*command != "") {
			return usagef("give either a message or --exec")
		}
		text := []byte(strings.Join(args[1:], " "))
		c, ctx, stop, err := clientFor(cmd, sys)
		if err != nil {
			return err
		}
		c.role = "-reply" // so a request on this machine is another sender, and gets the answers alone
		defer stop()
		return e.run(ctx, func(ctx context.Context, count func(error) error) error {
			return c.follow(ctx, hearing{channels: channels, deaf: true}, func(s speaker, m message) error {
				if m.Type == "send" && m.Sender == s.as.ID {
					return nil // an answer of another reply by this name: two would go on for ever
				}
				return count(s.reply(ctx, m, text, *command))
			})
		})
	}
	return cmd
}

// reply answers a message with a text, or with what a command prints. If the command fails
// or the sender has gone, that is told, and is no error.
func (s speaker) reply(ctx context.Context, m message, text []byte, command string) error {
	raw := command != ""
	if raw {
		var out bytes.Buffer
		if err := s.execute(ctx, command, m, &out); err != nil {
			s.complain(err)
			return nil
		}
		text, raw = bytes.TrimSuffix(out.Bytes(), []byte("\n")), false
	}
	err := s.tell(ctx, audience{channels: []uint32{m.Channel}, receivers: []string{strconv.FormatUint(uint64(m.Sender), 10)}}, raw, text)
	var refused *refusal
	if errors.As(err, &refused) && refused.status/100 == 4 && refused.status != 401 {
		s.complain(err)
		return nil
	}
	return err
}
