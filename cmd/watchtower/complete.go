package main

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeTimeout is how long a shell waits for the gateway when somebody presses Tab.
const completeTimeout = 2 * time.Second

type completer func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// completeChannels completes the numbers of channels.
func completeChannels(sys surroundings) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return complete(cmd, sys, func(ctx context.Context, s speaker) (found []string) {
			channels, _ := s.channels(ctx) // nothing is offered then
			for _, channel := range channels {
				found = append(found, strconv.FormatUint(uint64(channel), 10))
			}
			return found
		})
	}
}

// completeMembers completes the number of a channel, and then the names of its members.
func completeMembers(sys surroundings) completer {
	channels := completeChannels(sys)
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return channels(cmd, args, begun)
		}
		joined, err := parseIDs("a channel", args[0])
		if err != nil || len(args) > 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, sys, func(ctx context.Context, s speaker) (found []string) {
			list, _ := s.members(ctx, joined[0])
			for _, m := range list.Members {
				if m.Name != "" {
					found = append(found, printableText(m.Name))
				}
			}
			return found
		})
	}
}

// The senders whose names are offered.
func ofAll(listedSender) bool       { return true }
func ofDevices(s listedSender) bool { return s.OwnKey || s.Key != "" }

// namesMost is the most names that a shell is offered.
const namesMost = 200

// completeSenders completes the name of a sender, for operators.
func completeSenders(sys surroundings, which func(listedSender) bool) completer {
	return func(cmd *cobra.Command, args []string, begun string) (found []string, _ cobra.ShellCompDirective) {
		c := newClient(sys)
		if len(args) > 0 || c.readFlags(cmd) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
		defer cancel()
		o, err := c.signIn(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer o.signOut(ctx)
		_ = o.pages(ctx, url.Values{"find": {begun}}, func(s listedSender) bool { // an error offers nothing
			if s.Name != "" && strings.HasPrefix(s.Name, begun) && which(s) {
				found = append(found, printableText(s.Name))
			}
			return len(found) < namesMost
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeWords completes the value of a flag that is one of some words.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// completeContexts completes the name of a context.
func completeContexts(sys surroundings) completer {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		_, all, err := sys.contexts()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Sorted(maps.Keys(all)), cobra.ShellCompDirectiveNoFileComp
	}
}

// complete asks the gateway, if it can be reached without a word to the user.
func complete(cmd *cobra.Command, sys surroundings, ask func(context.Context, speaker) []string) (found []string, _ cobra.ShellCompDirective) {
	c := newClient(sys)
	ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
	defer cancel()
	if c.readFlags(cmd) == nil {
		_ = c.as(ctx, func(t target, id identity) error { // an error offers nothing
			found = ask(ctx, speaker{c, t, id})
			return nil
		})
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
