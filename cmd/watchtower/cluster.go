package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// shownCluster is the gateway's answer to GET /operator/cluster.
type shownCluster struct {
	Space  string         `json:"space"`
	Slot   int            `json:"slot"`
	Name   string         `json:"name"`
	Server string         `json:"server"`
	Fault  *string        `json:"fault"`
	Made   uint64         `json:"made"`
	Unsent uint64         `json:"unsent"`
	Others []otherGateway `json:"others"`
	Leases []lease        `json:"leases"`

	Sessions spaceSessions `json:"sessions"`
}

// spaceSessions are the MQTT sessions of a gateway, and how many have moved.
type spaceSessions struct {
	Here    int    `json:"here"`
	Waiting int    `json:"waiting"`
	Came    uint64 `json:"came"`
	Bare    uint64 `json:"bare"`
	Adopted uint64 `json:"adopted"`
	Given   uint64 `json:"given"`
}

// lease is what only one gateway does.
type lease struct {
	Name   string    `json:"name"`
	Slot   int       `json:"slot"`
	Holder string    `json:"holder"`
	Since  time.Time `json:"since"`
}

// otherGateway is another gateway in it.
type otherGateway struct {
	Slot     int       `json:"slot"`
	Name     string    `json:"name"`
	Up       bool      `json:"up"`
	Heard    time.Time `json:"heard"`
	Ahead    int64     `json:"clock_ahead_ms"`
	Behind   int       `json:"behind_bytes"`
	Waiting  int       `json:"waiting_bytes"`
	Messages uint64    `json:"messages"`
	Resent   uint64    `json:"resent"`
	Lost     uint64    `json:"lost"`
	Repeated uint64    `json:"repeated"`
}

func clusterCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Show the gateways that share their channels, as an operator",
		Long: "Show the gateway on this machine, or another with --url and --admin-key, among those\n" +
			"that share its channels: who is up, how far each is, whose clock differs, and what was\n" +
			"sent again, lost, or came twice. A gateway that is alone says so, with exit code 1.",
		Example: "  watchtower cluster --url http://attic:8080 --admin-key-file key.txt",
		Args:    cobra.NoArgs,
	}
	addOperator(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return signedIn(cmd, sys, func(ctx context.Context, o operator) error {
			var now shownCluster
			if err := o.ask(ctx, request{method: "GET", path: "/operator/cluster"}, nil, &now); err != nil {
				return err
			}
			if o.json {
				return json.NewEncoder(o.out).Encode(now)
			}
			return o.printCluster(now)
		})
	}
	return cmd
}

// printCluster prints a cluster as a table.
func (o operator) printCluster(now shownCluster) error {
	state := "connected to " + printableText(now.Server)
	if now.Fault != nil {
		state = printableText(*now.Fault)
	}
	fmt.Fprintf(o.out, "%s has slot %d of the space %s: %s\n", printableText(now.Name), now.Slot, printableText(now.Space), state)
	fmt.Fprintf(o.out, "messages and changes here: %d, never sent: %d\n", now.Made, now.Unsent)
	s := now.Sessions
	fmt.Fprintf(o.out, "MQTT sessions here: %d, waiting for their clients: %d, came from others: %d, without all that waited: %d, adopted: %d, given to others: %d\n",
		s.Here, s.Waiting, s.Came, s.Bare, s.Adopted, s.Given)
	if len(now.Others) == 0 {
		fmt.Fprintln(o.out, "no other gateway was heard yet")
		return o.printLeases(now.Leases)
	}
	fmt.Fprintln(o.out)
	table := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSLOT\tSTATE\tBEHIND\tCLOCK\tMESSAGES\tRESENT\tLOST\tREPEATED")
	for _, g := range now.Others {
		state := "up"
		if !g.Up {
			state = "silent since " + g.Heard.Local().Format(time.DateTime)
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%d B\t%+d ms\t%d\t%d\t%d\t%d\n",
			printableText(g.Name), g.Slot, state, g.Behind, g.Ahead, g.Messages, g.Resent, g.Lost, g.Repeated)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return o.printLeases(now.Leases)
}

// printLeases prints what only one gateway does, as a table. Leases of one kind, such as cb.7, are
// counted for each gateway.
func (o operator) printLeases(all []lease) error {
	if len(all) == 0 {
		return nil
	}
	type part struct{ kind, holder string }
	count, since := map[part]int{}, map[part]time.Time{}
	of := map[string]int{}
	var order []part
	for _, l := range all {
		kind, _, _ := strings.Cut(l.Name, ".")
		p := part{kind, cmp.Or(l.Holder, fmt.Sprint("slot ", l.Slot))}
		if count[p] == 0 {
			order = append(order, p)
		}
		count[p]++
		of[kind]++
		if l.Since.After(since[p]) {
			since[p] = l.Since
		}
	}
	fmt.Fprintln(o.out)
	table := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "LEASE\tHOLDER\tPART\tSINCE")
	for _, p := range order {
		fmt.Fprintf(table, "%s\t%s\t%d of %d\t%s\n", printableText(p.kind), printableText(p.holder), count[p], of[p.kind], since[p].Local().Format(time.DateTime))
	}
	return table.Flush()
}
