package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"watchtower/config"
	"watchtower/gateway"
)

// ownKey is the key of a device, in the gateway's answers to operators.
type ownKey struct {
	Name       string `json:"name"`
	Generation int    `json:"generation"`
	Hex        string `json:"hex"`
	C          string `json:"c"`
}

// keysStatus is what the gateway says of all such keys.
type keysStatus struct {
	Mode          string         `json:"mode"`
	Sessions      map[string]int `json:"sessions"`
	PreviousUntil *time.Time     `json:"previous_until,omitempty"`
	Revoked       map[string]int `json:"revoked"`
}

func deviceCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Show, revoke and rotate the keys of devices that speak session frames",
		Long: "Show, revoke and rotate the keys of devices that speak session frames, as an\n" +
			"operator of the gateway on this machine, or of another with --url and --admin-key.\n" +
			"Each device has a key of its own, made from its name and the gateway's master.",
		Args: cobra.NoArgs, // so that an unknown subcommand is an error
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	addOperator(f)
	cmd.AddCommand(keyCommand(sys), revokeCommand(sys), rotateCommand(sys), devicesCommand(sys))
	return cmd
}

func keyCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key NAME",
		Short: "Print the key of a device: in hexadecimal, as C, and on a terminal as a QR code",
		Long: "Print the key of a device: in hexadecimal, for programs; as C, for a sketch; and on a\n" +
			"terminal as a QR code of the hexadecimal digits, for a label or a phone.\n" +
			"Who has it can be that device, and no other. The gateway may be stopped: then the\n" +
			"key is made from its data directory.",
		Example: "  watchtower device key lamp",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: completeSenders(sys, ofDevices),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := newClient(sys)
		if err := c.readFlags(cmd); err != nil {
			return err
		}
		key, stopped, err := c.keyOfStopped(args[0])
		if !stopped {
			err = signedIn(cmd, sys, func(ctx context.Context, o operator) error {
				return o.ask(ctx, request{method: "GET", path: devicePath(args[0], "key")}, nil, &key)
			})
			var refused *refusal
			if err != nil && !errors.As(err, &refused) { // it may have been killed, and left its address
				if kept, stopped, failed := c.keyOf(args[0]); stopped {
					key, err = kept, failed
				}
			}
		}
		if err != nil {
			return err
		}
		return c.printKey(key)
	}
	return cmd
}

func devicePath(name, what string) string {
	return "/operator/devices/" + url.PathEscape(name) + "/" + what
}

// keyOfStopped returns the key of a device from the data directory of the gateway on this
// machine. Stopped is false if it runs, or another gateway is meant.
func (c *client) keyOfStopped(name string) (key ownKey, stopped bool, err error) {
	dir, err := c.dir()
	if c.url != "" || err != nil {
		return key, false, nil
	}
	if _, err := readLocal(dir); !errors.Is(err, os.ErrNotExist) {
		return key, false, nil
	}
	return c.keyOf(name)
}

// keyOf does the same whether or not the gateway has said that it runs.
func (c *client) keyOf(name string) (key ownKey, stopped bool, err error) {
	dir, err := c.dir()
	if c.url != "" || err != nil {
		return key, false, nil
	}
	log := logrus.New()
	log.SetOutput(c.err)
	log.SetLevel(logrus.WarnLevel)
	k, generation, err := gateway.DeviceKey(dir, name, log)
	if errors.Is(err, gateway.ErrInUse) {
		return key, false, nil
	}
	return ownKey{name, int(generation), k.Hex(), k.C()}, true, err
}

func (c *client) printKey(k ownKey) error {
	if c.json {
		return json.NewEncoder(c.out).Encode(map[string]any{"name": k.Name, "generation": k.Generation, "device_key": k.Hex})
	}
	if _, err := fmt.Fprintf(c.out, "%s\n%s\n", printableText(k.Hex), printableText(k.C)); err != nil {
		return err
	}
	if !isTerminal(c.out) {
		return nil
	}
	code, err := qrCode(k.Hex)
	if err == nil {
		_, err = fmt.Fprint(c.out, code)
	}
	return err
}

func revokeCommand(sys surroundings) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME",
		Short: "Make a device's key count no more; device key then prints its next one",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: completeSenders(sys, ofDevices),
		RunE: func(cmd *cobra.Command, args []string) error {
			return signedIn(cmd, sys, func(ctx context.Context, o operator) error {
				var done struct {
					Name       string `json:"name"`
					Generation int    `json:"generation"`
					Ended      int    `json:"ended"`
				}
				if err := o.ask(ctx, request{method: "POST", path: devicePath(args[0], "revoke")}, nil, &done); err != nil {
					return err
				}
				if o.json {
					return json.NewEncoder(o.out).Encode(done)
				}
				_, err := fmt.Fprintf(o.out, "the key of %s counts no more, %d sessions ended; device key %s prints the next one\n",
					printableText(done.Name), done.Ended, printableText(done.Name))
				return err
			})
		},
	}
}

func rotateCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make a new master: every device needs its new key until a date",
		Long: "Make a new master, from which device key makes every device's new key. The keys of\n" +
			"the master before count until a date; those of an earlier one end at once.",
		Example: "  watchtower device rotate --until 30d\n  watchtower device rotate --until 2026-12-31",
		Args:    cobra.NoArgs,
	}
	until := cmd.Flags().String("until", "30d", "how long the present keys count on: a time such as 30d, or a date; 0s: no longer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		at, err := parseUntil(*until, time.Now())
		if err != nil {
			return err
		}
		return signedIn(cmd, sys, func(ctx context.Context, o operator) error {
			var now keysStatus
			body := map[string]string{"until": at.UTC().Format(time.RFC3339)}
			if err := o.ask(ctx, request{method: "POST", path: "/operator/device-keys/rotate"}, body, &now); err != nil {
				return err
			}
			if o.json {
				return json.NewEncoder(o.out).Encode(now)
			}
			_, err := fmt.Fprintf(o.out, "there is a new master; %s\n", now.overlap())
			return err
		})
	}
	return cmd
}

// parseUntil reads a time from now, a date or a moment.
func parseUntil(text string, now time.Time) (time.Time, error) {
	if d, err := config.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(d), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usagef("--until must be a time such as 30d, or a date such as 2026-12-31, is %q", text)
}

// overlap says how long the keys of the master before count.
func (k keysStatus) overlap() string {
	if k.PreviousUntil == nil {
		return "no keys of an earlier master count"
	}
	return "keys of the earlier master count until " + k.PreviousUntil.Local().Format(time.DateTime)
}

// listedDevice is a device in the list.
type listedDevice struct {
	listedSender
	Generation int `json:"generation"`
}

func devicesCommand(sys surroundings) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List devices that have a session or a key of their own, and which key they use",
		Long: "List devices that have a session or a key of their own.\n" +
			"STATE is here (it is connected) or away. KEY is what let it in: its own key, the previous\n" +
			"one, from before device rotate, or the shared one. GENERATION is how often its key was\n" +
			"revoked, SEEN when it was last heard of, or reached. The last line says whether keys of\n" +
			"their own are required, accepted or off (wire.device_keys).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return signedIn(cmd, sys, func(ctx context.Context, o operator) error {
				var now keysStatus
				if err := o.ask(ctx, request{method: "GET", path: "/operator/device-keys"}, nil, &now); err != nil {
					return err
				}
				list := []listedDevice{}
				err := o.pages(ctx, url.Values{}, func(s listedSender) bool {
					if s.OwnKey || s.Key != "" {
						list = append(list, listedDevice{s, now.Revoked[s.Name]})
					}
					return true
				})
				if err != nil {
					return err
				}
				return o.printDevices(now, list)
			})
		},
	}
}

func (o operator) printDevices(now keysStatus, list []listedDevice) error {
	if o.json {
		return json.NewEncoder(o.out).Encode(struct {
			keysStatus
			Devices []listedDevice `json:"devices"`
		}{now, list})
	}
	table := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tSTATE\tKEY\tGENERATION\tSEEN")
	for _, d := range list {
		name, seen, key := "-", "never", d.Key
		if d.Name != "" {
			name = printableText(d.Name)
		}
		if d.Seen != nil {
			seen = d.Seen.Local().Format(time.DateTime)
		}
		if key == "" { // it is away, and needs it
			key = "own"
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%d\t%s\n", d.ID, name, printableText(d.State), printableText(key), d.Generation, seen)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var sessions []string
	for _, kind := range slices.Sorted(maps.Keys(now.Sessions)) {
		sessions = append(sessions, fmt.Sprintf("%s %d", printableText(kind), now.Sessions[kind]))
	}
	_, err := fmt.Fprintf(o.out, "\nkeys of their own: %s; sessions: %s; %s\n", printableText(now.Mode), strings.Join(sessions, ", "), now.overlap())
	return err
}
