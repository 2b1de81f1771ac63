package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
)

// clientCommands returns the commands by which people use a gateway.
func clientCommands(sys surroundings) []*cobra.Command {
	commands := []*cobra.Command{
		registerCommand(sys), channelsCommand(sys), joinCommand(sys), broadcastCommand(sys), sendCommand(sys),
		deviceKeyCommand(sys),
	}
	for _, cmd := range commands {
		f := cmd.Flags()
		addReach(f)
		f.String("secret-key", "", "the gateway's secret key (default: that of the one on this machine)")
		f.String("name", "", "name to speak by (default: cli-, the host's name and a suffix of this installation)")
	}
	return commands
}

// clientFor returns a client with a command's flags, and a context that ends at SIGINT or
// SIGTERM. Stop restores the default of these signals.
func clientFor(cmd *cobra.Command, sys surroundings) (c *client, ctx context.Context, stop func()) {
	c = newClient(sys)
	c.readFlags(cmd.Flags())
	ctx, stop = signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	return c, ctx, stop
}

func registerCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Register a sender and print its id and token",
		Long: "Register a sender and print its id and token. The same name gives the same id\n" +
			"and a fresh token; the earlier one stops.",
		Args: cobra.NoArgs,
	}
	protected := cmd.Flags().Bool("protected", false, "give the name again only against its token")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, ctx, stop := clientFor(cmd, sys)
		defer stop()
		t, err := c.find()
		if err != nil {
			return err
		}
		c.nameFor(t)
		before, _, err := c.cached(t)
		if err != nil {
			return err
		}
		id, err := c.register(ctx, t, before.Token, *protected)
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
			c, ctx, stop := clientFor(cmd, sys)
			defer stop()
			return c.listChannels(ctx)
		},
	}
}

func (c *client) listChannels(ctx context.Context) error {
	var answer []byte
	err := c.as(ctx, func(t target, id identity) (err error) {
		query := url.Values{"sender": {strconv.FormatUint(uint64(id.ID), 10)}}
		answer, err = c.call(ctx, t, request{method: "GET", path: "/channels", query: query, token: id.Token})
		return err
	})
	if err != nil {
		return err
	}
	list := struct {
		Channels []uint32 `json:"channels"`
	}{Channels: []uint32{}}
	if len(answer) > 0 { // else 204: there are none
		if err := json.Unmarshal(answer, &list); err != nil {
			return fmt.Errorf("the gateway's list of channels is none: %w", err)
		}
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

func joinCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "join CHANNEL…",
		Short: "Join channels and follow what is said there",
		Long: "Join channels and follow what is said there, over HTTP. With --udp it is a device\n" +
			"that speaks session frames, without a name unless --name gives one.",
		Example: "  watchtower join 5,6\n  watchtower join --udp 5\n  watchtower join --udp=gateway.lan:3033 --secret-key KEY 5",
		Args:    cobra.MinimumNArgs(1),
	}
	udp := cmd.Flags().String("udp", "", "join over UDP, at host:port (default: the gateway's host, port "+wirePort+")")
	cmd.Flags().Lookup("udp").NoOptDefVal = usualAddress
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args...)
		if err != nil {
			return err
		}
		c, ctx, stop := clientFor(cmd, sys)
		defer stop()
		switch *udp {
		case "":
			return c.follow(ctx, channels)
		case usualAddress:
			return c.followUDP(ctx, "", channels)
		}
		return c.followUDP(ctx, *udp, channels)
	}
	return cmd
}

// usualAddress is the value of --udp without an address.
const usualAddress = "usual"

// messageHelp is the help of broadcast and send about their last arguments.
const messageHelp = "Without MESSAGE, or with -, the message is read from standard input, byte for byte.\n" +
	"Put -- before a message that begins with a hyphen."

func broadcastCommand(sys surroundings) *cobra.Command {
	return &cobra.Command{
		Use:     "broadcast CHANNEL[,CHANNEL] MESSAGE…",
		Short:   "Say something to everybody on channels",
		Long:    "Say something to everybody on channels.\n" + messageHelp,
		Example: "  watchtower broadcast 5 hello\n  watchtower broadcast 5,6 < picture.jpg",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			channels, err := parseIDs("a channel", args[0])
			if err != nil {
				return err
			}
			return sayCommand(cmd, sys, said{channels: channels}, args[1:])
		},
	}
}

func sendCommand(sys surroundings) *cobra.Command {
	return &cobra.Command{
		Use:     "send CHANNEL[,…] RECEIVER[,…] MESSAGE…",
		Short:   "Say something to some members of channels",
		Long:    "Say something to some members of channels, by their ids or names.\n" + messageHelp,
		Example: "  watchtower send 5 72 hello\n  watchtower send 5 valve1,valve2 open",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			channels, err := parseIDs("a channel", args[0])
			if err != nil {
				return err
			}
			receivers, err := parseReceivers(args[1])
			if err != nil {
				return err
			}
			return sayCommand(cmd, sys, said{channels: channels, receivers: receivers}, args[2:])
		},
	}
}

func sayCommand(cmd *cobra.Command, sys surroundings, s said, message []string) error {
	c, ctx, stop := clientFor(cmd, sys)
	defer stop()
	var err error
	if s.message, s.raw, err = c.readMessage(message); err != nil {
		return err
	}
	return c.say(ctx, s)
}
