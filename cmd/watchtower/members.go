package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// member is one of a channel, in the gateway's answers.
type member struct {
	ID   uint32 `json:"id"`
	Name string `json:"name,omitempty"`
	Via  string `json:"via"`
}

// memberList is a channel's members, of which 256 are listed.
type memberList struct {
	Count   int      `json:"count"`
	Members []member `json:"members"`
}

func membersCommand(sys surroundings) *cobra.Command {
	return &cobra.Command{
		Use:     "members CHANNEL",
		Short:   "List who has joined a channel",
		Example: "  watchtower members 5",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: completeChannels(sys),
		RunE: func(cmd *cobra.Command, args []string) error {
			channels, err := parseIDs("a channel", args[0])
			if err != nil {
				return err
			}
			if len(channels) > 1 {
				return usagef("members lists one channel, is %q", args[0])
			}
			c, ctx, stop, err := clientFor(cmd, sys)
			if err != nil {
				return err
			}
			defer stop()
			var list memberList
			err = c.as(ctx, func(t target, id identity) (err error) {
				list, err = speaker{c, t, id}.members(ctx, channels[0])
				return err
			})
			if err != nil {
				return err
			}
			if c.json {
				return json.NewEncoder(c.out).Encode(list)
			}
			return c.printMembers(list)
		},
	}
}

// members asks who is on a channel. Only members may ask: so the speaker is one for that
// moment, if it is not, and leaves itself out.
func (s speaker) members(ctx context.Context, channel uint32) (memberList, error) {
	list, err := s.askMembers(ctx, channel)
	if !refused(err, 400) {
		return list, err
	}
	membership, err := s.visit(ctx, s.at, s.as, []uint32{channel}, hears{most: askLongest})
	if err != nil {
		return list, err
	}
	defer membership.close()
	list, err = s.askMembers(ctx, channel)
	list.Count--
	list.Members = slices.DeleteFunc(list.Members, func(m member) bool { return m.ID == s.as.ID })
	return list, err
}

func (s speaker) askMembers(ctx context.Context, channel uint32) (list memberList, err error) {
	answer, err := s.call(ctx, s.at, request{
		method: "GET", path: "/channels/" + strconv.FormatUint(uint64(channel), 10) + "/members", token: s.as.Token,
		query: url.Values{"sender": {strconv.FormatUint(uint64(s.as.ID), 10)}},
	})
	if err != nil {
		return list, err
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return list, fmt.Errorf("the gateway's list of members is none: %w", err)
	}
	return list, nil
}

func (c *client) printMembers(list memberList) error {
	if len(list.Members) == 0 {
		fmt.Fprintln(c.err, "watchtower: nobody has joined this channel")
		return nil
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tVIA")
	for _, m := range list.Members {
		name := "-"
		if m.Name != "" {
			name = printableText(m.Name)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", m.ID, name, printableText(m.Via))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if more := list.Count - len(list.Members); more > 0 {
		fmt.Fprintf(c.err, "watchtower: and %d more\n", more)
	}
	return nil
}

func kickCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kick CHANNEL SENDER",
		Short: "Make a sender leave a channel, as an operator; it may come back",
		Long: "Make a sender leave a channel, as an operator of the gateway on this machine, or of\n" +
			"another with --url and --admin-key. SENDER is an id or a name. It may join again.",
		Example: "  watchtower kick 5 lamp",
		Args:    cobra.ExactArgs(2),

		ValidArgsFunction: completeMembers(sys),
	}
	addOperator(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args[0])
		if err != nil {
			return err
		}
		return signedIn(cmd, sys, func(ctx context.Context, o operator) error {
			s, err := o.sender(ctx, args[1])
			if err != nil {
				return err
			}
			for _, channel := range channels {
				path := fmt.Sprintf("/operator/channels/%d/members/%d", channel, s.ID)
				if err := o.ask(ctx, request{method: "DELETE", path: path}, nil, nil); err != nil {
					return err
				}
			}
			if o.json {
				return json.NewEncoder(o.out).Encode(map[string]any{"id": s.ID, "left": channels})
			}
			_, err = fmt.Fprintf(o.out, "%d has left channel %s\n", s.ID, idList(channels))
			return err
		})
	}
	return cmd
}
