package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// clientCommands returns the commands by which people use a gateway.
func clientCommands(sys surroundings) []*cobra.Command {
	commands := []*cobra.Command{
		registerCommand(sys), channelsCommand(sys), membersCommand(sys), joinCommand(sys), chatCommand(sys), broadcastCommand(sys), sendCommand(sys),
		requestCommand(sys), replyCommand(sys), tokenCommand(sys), deviceKeyCommand(sys),
	}
	for _, cmd := range commands {
		f := cmd.Flags()
		addReach(f)
		addKey(f)
		f.String("token", "", "speak as the sender whose token this is, without registering")
		f.String("name", "", "name to speak by (default: cli-, the host's name and a suffix of this installation)")
	}
	return commands
}

// clientFor returns a client with a command's flags, and a context that ends at SIGINT or
// SIGTERM. Stop restores the default of these signals.
func clientFor(cmd *cobra.Command, sys surroundings) (c *client, ctx context.Context, stop func(), err error) {
	c = newClient(sys)
	if err := c.readFlags(cmd); err != nil {
		return nil, nil, nil, err
	}
	ctx, stop = signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	return c, ctx, stop, nil
}

func registerCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Register a sender and print its id and token",
		Long: "Register a sender and print its id and token. The same name gives the same id\n" +
			"and a fresh token; the earlier one stops. With --remote it is a client of the broker\n" +
			"of mqtt.remote.url, which speaks there under that id, and needs no token.",
		Example: "  watchtower register --name plug --remote",
		Args:    cobra.NoArgs,
	}
	remote := cmd.Flags().Bool("remote", false, "it is a client of the foreign broker, and no device of this gateway")
	protected := cmd.Flags().Bool("protected", false, "give the name again only against its token")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, ctx, stop, err := clientFor(cmd, sys)
		if err != nil {
			return err
		}
		defer stop()
		t, err := c.find()
		if err != nil {
			return err
		}
		if *remote && c.name == "" {
			return usagef("--remote needs --name: the client of the foreign broker's")
		}
		c.nameFor(t)
		before, _, err := c.cached(t)
		if err != nil {
			return err
		}
		id, err := c.register(ctx, t, registration{token: before.Token, protected: *protected, remote: *remote})
		if err != nil {
			return err
		}
		if c.json {
			return json.NewEncoder(c.out).Encode(struct {
				identity
				Name string `json:"name"`
			}{id, c.senderName()})
		}
		_, err = fmt.Fprintf(c.out, "id    %d\nname  %s\ntoken %s\n", id.ID, c.senderName(), printableText(id.Token))
		return err
	}
	return cmd
}

func channelsCommand(sys surroundings) *cobra.Command {
	return &cobra.Command{
		Use:   "channels",
		Short: "List the channels",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, ctx, stop, err := clientFor(cmd, sys)
			if err != nil {
				return err
			}
			defer stop()
			return c.listChannels(ctx)
		},
	}
}

func (c *client) listChannels(ctx context.Context) error {
	list := struct {
		Channels []uint32 `json:"channels"`
	}{[]uint32{}}
	err := c.as(ctx, func(t target, id identity) (err error) {
		list.Channels, err = speaker{c, t, id}.channels(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if c.json {
		return json.NewEncoder(c.out).Encode(list)
	}
	if len(list.Channels) == 0 {
		fmt.Fprintln(c.err, "watchtower: there are no channels yet")
	}
	for _, ch := range list.Channels {
		fmt.Fprintln(c.out, ch)
	}
	return nil
}

// channels asks for the channels that there are.
func (s speaker) channels(ctx context.Context) ([]uint32, error) {
	query := url.Values{"sender": {strconv.FormatUint(uint64(s.as.ID), 10)}}
	answer, err := s.call(ctx, s.at, request{method: "GET", path: "/channels", query: query, token: s.as.Token})
	if err != nil || len(answer) == 0 { // 204: there are none
		return []uint32{}, err
	}
	var list struct{ Channels []uint32 }
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("the gateway's list of channels is none: %w", err)
	}
	return list.Channels, nil
}

// messageHelp is the help of broadcast and send about their last arguments.
const messageHelp = "Without MESSAGE, or with -, the message is read from standard input, byte for byte.\n" +
	"Put -- before a message that begins with a hyphen."

func broadcastCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "broadcast CHANNEL[,CHANNEL] MESSAGE…",
		Short:   "Say something to everybody on channels",
		Long:    "Say something to everybody on channels.\n" + messageHelp,
		Example: "  watchtower broadcast 5 hello\n  watchtower broadcast 5,6 < picture.jpg\n  tail -f access.log | watchtower broadcast -l 5",
		Args:    cobra.MinimumNArgs(1),

		ValidArgsFunction: completeChannels(sys),
	}
	var s speech
	s.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args[0])
		if err != nil {
			return err
		}
		return s.run(cmd, sys, audience{channels: channels}, args[1:])
	}
	return cmd
}

func sendCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "send CHANNEL[,…] RECEIVER[,…] MESSAGE…",
		Short:   "Say something to some members of channels",
		Long:    "Say something to some members of channels, by their ids or names.\n" + messageHelp,
		Example: "  watchtower send 5 72 hello\n  watchtower send 5 valve1,valve2 open",
		Args:    cobra.MinimumNArgs(2),

		ValidArgsFunction: completeMembers(sys),
	}
	var s speech
	s.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args[0])
		if err != nil {
			return err
		}
		receivers, err := parseReceivers(args[1])
		if err != nil {
			return err
		}
		return s.run(cmd, sys, audience{channels: channels, receivers: receivers}, args[2:])
	}
	return cmd
}

func (s *speech) run(cmd *cobra.Command, sys surroundings, to audience, args []string) error {
	c, ctx, stop, err := clientFor(cmd, sys)
	if err != nil {
		return err
	}
	defer stop()
	if to.ttl, err = s.seconds(); err != nil {
		return err
	}
	text := s.lines || len(args) > 0 && strings.Join(args, " ") != "-"
	if s.lines || !text && s.file == "" {
		stop() // Ctrl-C ends reading at once
		ctx = cmd.Context()
	}
	next, err := s.messages(ctx, c, args)
	if err != nil {
		return err
	}
	return c.say(ctx, to, !text, next)
}
