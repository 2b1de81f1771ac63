package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// listedSender is a sender in the gateway's answers to operators.
type listedSender struct {
	ID        uint32     `json:"id"`
	Name      string     `json:"name,omitempty"`
	Via       []string   `json:"via"`
	State     string     `json:"state"`
	Seen      *time.Time `json:"seen,omitempty"`
	Channels  int        `json:"channels"`
	Protected bool       `json:"protected"`
	Approved  bool       `json:"approved,omitempty"`
	Held      bool       `json:"held"`
	Remote    bool       `json:"remote,omitempty"` // it is a client of the foreign broker
	OwnKey    bool       `json:"own_key"`
	Key       string     `json:"key,omitempty"`
}

func sendersCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "senders",
		Short: "List, rename, protect and forget senders, as an operator",
		Long: "List, rename, protect and forget senders, as an operator of the gateway on this\n" +
			"machine, or of another with --url and --admin-key. SENDER is an id or a name.\n" +
			"Without a command it lists them.",
		Args: cobra.NoArgs, // so that an unknown subcommand is an error
		RunE: func(cmd *cobra.Command, _ []string) error { return listSenders(cmd, sys, url.Values{}) },
	}
	f := cmd.PersistentFlags()
	addOperator(f)
	cmd.AddCommand(
		listCommand(sys),
		senderCommand(sys, "show SENDER", "Show one sender", 1, func(_ context.Context, o operator, s listedSender, _ string) error {
			return o.print([]listedSender{s}, true)
		}),
		senderCommand(sys, "rename SENDER NAME", "Give a sender another name; the old one is free", 2,
			func(ctx context.Context, o operator, s listedSender, name string) error {
				return o.change(ctx, s, map[string]any{"name": name})
			}),
		protectCommand(sys),
		senderCommand(sys, "forget SENDER", "Delete a sender: it is disconnected, its token stops, its name is free", 1,
			func(ctx context.Context, o operator, s listedSender, _ string) error {
				if err := o.ask(ctx, request{method: "DELETE", path: s.path()}, nil, nil); err != nil {
					return err
				}
				if o.json {
					return json.NewEncoder(o.out).Encode(map[string]uint32{"forgotten": s.ID})
				}
				_, err := fmt.Fprintf(o.out, "%d is forgotten\n", s.ID)
				return err
			}),
		senderCommand(sys, "token SENDER", "Give a sender a new token, and print it; the earlier one stops", 1,
			func(ctx context.Context, o operator, s listedSender, _ string) error {
				var given struct {
					Token string `json:"token"`
				}
				if err := o.ask(ctx, request{method: "POST", path: s.path() + "/token"}, nil, &given); err != nil {
					return err
				}
				if o.json {
					return json.NewEncoder(o.out).Encode(given)
				}
				_, err := fmt.Fprintln(o.out, printableText(given.Token))
				return err
			}),
	)
	return cmd
}

func listCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the senders",
		Long: "List the senders. STATE is here (it is connected) or away. VIA is by what it is connected,\n" +
			"or reached while it is away: a callback, or an MQTT session that waits. SEEN is when it was\n" +
			"last heard of, or reached.",
		Example: "  watchtower senders list --state here --via udp",
		Args:    cobra.NoArgs,
	}
	find := cmd.Flags().String("find", "", "only those with this in their name or id")
	via := cmd.Flags().String("via", "", "only those on udp, tcp, http, mqtt, callback or remote")
	state := cmd.Flags().String("state", "", "only those that are here, or away")
	completeWords(cmd, "via", "udp", "tcp", "http", "mqtt", "irc", "callback", "remote")
	completeWords(cmd, "state", "here", "away")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		for name, value := range map[string]string{"find": *find, "via": *via, "state": *state} {
			if value != "" {
				query.Set(name, value)
			}
		}
		return listSenders(cmd, sys, query)
	}
	return cmd
}

// listSenders prints the senders that a query selects.
func listSenders(cmd *cobra.Command, sys surroundings, query url.Values) error {
	return signedIn(cmd, sys, func(ctx context.Context, o operator) error {
		all, filtered := []listedSender{}, len(query) > 0
		if err := o.pages(ctx, query, func(s listedSender) bool { all = append(all, s); return true }); err != nil {
			return err
		}
		if len(all) == 0 && !filtered && !o.json {
			fmt.Fprintln(o.err, "watchtower: nobody has registered yet")
			return nil
		}
		return o.print(all, false)
	})
}

func protectCommand(sys surroundings) *cobra.Command {
	var off *bool
	cmd := senderCommand(sys, "protect SENDER", "Give a sender's name again only against its token", 1,
		func(ctx context.Context, o operator, s listedSender, _ string) error {
			return o.change(ctx, s, map[string]any{"protected": !*off})
		})
	off = cmd.Flags().Bool("off", false, "give it to whoever has the secret key, as before")
	return cmd
}

// senderCommand returns a command whose first argument is a sender. Do gets that sender and
// the last argument.
func senderCommand(sys surroundings, use, short string, args int, do func(ctx context.Context, o operator, s listedSender, more string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(args),

		ValidArgsFunction: completeSenders(sys, ofAll),
		RunE: func(cmd *cobra.Command, args []string) error {
			return signedIn(cmd, sys, func(ctx context.Context, o operator) error {
				s, err := o.sender(ctx, args[0])
				if err != nil {
					return err
				}
				return do(ctx, o, s, args[len(args)-1])
			})
		},
	}
}

func (s listedSender) path() string {
	return "/operator/senders/" + strconv.FormatUint(uint64(s.ID), 10)
}

// pages calls each for every sender that the query selects, until each returns false.
func (o operator) pages(ctx context.Context, query url.Values, each func(listedSender) bool) error {
	query.Set("limit", "500")
	for {
		var page struct {
			Senders []listedSender
			Next    uint32
		}
		if err := o.ask(ctx, request{method: "GET", path: "/operator/senders", query: query}, nil, &page); err != nil {
			return err
		}
		for _, s := range page.Senders {
			if !each(s) {
				return nil
			}
		}
		if page.Next == 0 {
			return nil
		}
		query.Set("from", strconv.FormatUint(uint64(page.Next), 10))
	}
}

// sender finds a sender by its id, or else by its name.
func (o operator) sender(ctx context.Context, which string) (found listedSender, err error) {
	_, notNumber := strconv.ParseUint(which, 10, 32)
	err = o.pages(ctx, url.Values{"find": {which}}, func(s listedSender) bool {
		if s.Name == which && notNumber != nil || strconv.FormatUint(uint64(s.ID), 10) == which {
			found = s
		}
		return found.ID == 0
	})
	if err == nil && found.ID == 0 {
		err = fmt.Errorf("there is no sender %s: watchtower senders list shows them", printableText(which))
	}
	return found, err
}

func (o operator) change(ctx context.Context, s listedSender, what map[string]any) error {
	var after listedSender
	if err := o.ask(ctx, request{method: "PATCH", path: s.path()}, what, &after); err != nil {
		return err
	}
	return o.print([]listedSender{after}, true)
}

// print prints senders as a table, or as JSON: a list, or only the one.
func (o operator) print(senders []listedSender, one bool) error {
	switch {
	case o.json && one:
		return json.NewEncoder(o.out).Encode(senders[0])
	case o.json:
		return json.NewEncoder(o.out).Encode(map[string]any{"senders": senders})
	case len(senders) == 0:
		fmt.Fprintln(o.err, "watchtower: there are no such senders")
		return nil
	}
	table := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	remotes := slices.ContainsFunc(senders, func(s listedSender) bool { return s.Remote }) // most gateways have none
	last := map[bool]string{true: "\tREMOTE"}[remotes]
	fmt.Fprintln(table, "ID\tNAME\tSTATE\tVIA\tCHANNELS\tSEEN\tPROTECTED"+last)
	for _, s := range senders {
		name, seen, protected, via := "-", "never", "no", "-"
		if s.Name != "" {
			name = printableText(s.Name)
		}
		if s.Seen != nil {
			seen = s.Seen.Local().Format(time.DateTime)
		}
		if s.Protected {
			protected = "yes"
		}
		remote := ""
		if remotes {
			remote = map[bool]string{true: "\tyes", false: "\tno"}[s.Remote]
		}
		if len(s.Via) > 0 {
			via = printableText(strings.Join(s.Via, ","))
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%d\t%s\t%s%s\n", s.ID, name, printableText(s.State), via, s.Channels, seen, protected, remote)
	}
	return table.Flush()
}
