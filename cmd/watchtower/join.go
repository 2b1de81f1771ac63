package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"watchtower/config"
)

func joinCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "join CHANNEL…",
		Short: "Join channels and follow what is said there",
		Long: "Join channels and follow what is said there, over HTTP. With --udp it is a device\n" +
			"that speaks session frames, without a name unless --name gives one.",
		Example: "  watchtower join 5,6\n  watchtower join 5 -C 1 -W 10 --format '%n %p'\n  watchtower join 5 --exec 'espeak --stdin'\n" +
			"  watchtower join --udp 5\n  watchtower join --udp=gateway.lan:3033 --secret-key KEY 5",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeChannels(sys),
	}
	f := cmd.Flags()
	udp := f.String("udp", "", "join over UDP, at host:port (default: that of the gateway on this machine, else the gateway's host, port "+wirePort+")")
	f.Lookup("udp").NoOptDefVal = usualAddress
	keyFile := f.String("device-key-file", "", "file with the own key of --name for --udp, as device key prints it; -: standard input")
	since := f.String("since", "", "earlier messages first: those after a message's id, of an age such as 10m, or all that are kept")
	var e ending
	e.add(f, "0s")
	var o output
	o.add(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		channels, err := parseIDs("a channel", args...)
		if err != nil {
			return err
		}
		c, ctx, stop, err := clientFor(cmd, sys)
		if err != nil {
			return err
		}
		defer stop()
		each, err := o.open(ctx, c)
		if err != nil {
			return err
		}
		return e.run(ctx, func(ctx context.Context, count func(error) error) error {
			if *udp == "" && *keyFile != "" {
				return usagef("--device-key-file is for --udp")
			}
			if *udp == "" {
				return c.follow(ctx, hearing{channels: channels, since: *since, raw: o.format == "json"}, func(_ speaker, m message) error {
					if m.Content == nil { // a gap or an end, as JSON
						return each(m)
					}
					return count(each(m))
				})
			}
			own, err := c.ownKey(*keyFile)
			if err != nil {
				return err
			}
			if *since != "" {
				return usagef("--since works over HTTP only, without --udp")
			}
			if *udp == usualAddress {
				*udp = ""
			}
			return c.followUDP(ctx, *udp, own, channels, func(m message) error { return count(each(m)) })
		})
	}
	return cmd
}

// usualAddress is the value of --udp without an address.
const usualAddress = "usual"

// ending says when a command has heard enough.
type ending struct {
	count  int
	within string
}

func (e *ending) add(f *pflag.FlagSet, within string) {
	f.IntVarP(&e.count, "count", "C", 0, "end after so many messages")
	e.addWithin(f, within)
}

func (e *ending) addWithin(f *pflag.FlagSet, within string) {
	f.StringVarP(&e.within, "within", "W", within, "end after this time in all: seconds, or a time such as 5m; 0: never")
}

// run runs f until it ends, the time is over, or f's function count was called often
// enough. Count passes an error on. Fewer messages than wanted in time are an error, tooFew.
func (e *ending) run(ctx context.Context, f func(ctx context.Context, count func(error) error) error) error {
	if e.count < 0 {
		return usagef("--count must not be negative, is %d", e.count)
	}
	within, err := parseSeconds("--within", e.within)
	if err != nil {
		return err
	}
	limited := ctx
	if within > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	heard := 0
	err = f(limited, func(err error) error {
		if heard++; err == nil && heard == e.count {
			return errEnough
		}
		return err
	})
	late := limited.Err() != nil && ctx.Err() == nil
	if late && heard < e.count && (err == nil || errors.Is(err, context.DeadlineExceeded)) {
		return tooFew{heard: heard, wanted: e.count}
	}
	if errors.Is(err, errEnough) || late && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// parseSeconds reads a time: a number of seconds, or such as 5m.
func parseSeconds(flag, text string) (time.Duration, error) {
	if d, err := config.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	if d, err := config.ParseDuration(text + "s"); err == nil && d >= 0 {
		return d, nil
	}
	return 0, usagef("%s must be a number of seconds, or a time such as 5m; is %q", flag, text)
}

// output is what is done with messages.
type output struct{ format, exec string }

func (o *output) add(f *pflag.FlagSet) {
	f.StringVarP(&o.format, "format", "F", "", formatHelp)
	f.StringVar(&o.exec, "exec", "", execHelp)
}

// open returns what is to be called for each message. A command that fails is told of, and
// the next message comes.
func (o *output) open(ctx context.Context, c *client) (func(message) error, error) {
	if o.exec != "" {
		if o.format != "" || c.json {
			return nil, usagef("--exec prints what the command prints: leave --format and --json out")
		}
		return func(m message) error { c.complain(c.execute(ctx, o.exec, m, c.out)); return nil }, nil
	}
	if c.json {
		if o.format != "" && o.format != "json" {
			return nil, usagef("--json is --format json: give one of them")
		}
		o.format = "json"
	}
	how, err := parseFormat(o.format, isTerminal(c.out))
	if err != nil {
		return nil, err
	}
	return how.print(c.out), nil
}
