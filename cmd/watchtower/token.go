package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// pageToken is a short token, in the gateway's answer.
type pageToken struct {
	Token    string    `json:"token"`
	Expires  time.Time `json:"expires"`
	Scope    string    `json:"scope"`
	Channels []uint32  `json:"channels"`
}

func tokenCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token CHANNEL…",
		Short: "Print a short token for a page: it may hear channels for a while",
		Long: "Print a short token for a page. It may hear these channels, and with --speak say something\n" +
			"there, as the sender --name. It is over after --ttl, or once that sender gets a new token.",
		Example: "  watchtower token 5 --name wall\n  watchtower token 5,6 --name wall --speak --ttl 1h",
		Args:    cobra.MinimumNArgs(1),

		ValidArgsFunction: completeChannels(sys),
	}
	speak := cmd.Flags().Bool("speak", false, "it may say something too")
	ttl := cmd.Flags().Duration("ttl", 24*time.Hour, "for how long it counts; a day at most")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args...)
		if err != nil {
			return err
		}
		if *ttl < time.Second {
			return usagef("--ttl must be a second at least, is %s", *ttl)
		}
		c, ctx, stop, err := clientFor(cmd, sys)
		if err != nil {
			return err
		}
		defer stop()
		scope := "hear"
		if *speak {
			scope = "hear+speak"
		}
		asks, err := json.Marshal(map[string]any{"channels": channels, "ttl": int(ttl.Seconds()), "scope": scope})
		if err != nil {
			return err
		}
		var got pageToken
		err = c.as(ctx, func(t target, id identity) error {
			answer, err := c.call(ctx, t, request{method: "POST", path: "/tokens", contentType: "application/json", token: id.Token, body: asks})
			if err != nil {
				return err
			}
			return json.Unmarshal(answer, &got)
		})
		if err != nil {
			return err
		}
		if c.json {
			return json.NewEncoder(c.out).Encode(got)
		}
		_, err = fmt.Fprintln(c.out, printableText(got.Token))
		return err
	}
	return cmd
}
