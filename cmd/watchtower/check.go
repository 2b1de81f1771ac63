package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"watchtower/config"
	"watchtower/gateway"
)

func checkCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Try what the gateway would use",
		Args:  cobra.NoArgs, // so that an unknown subcommand is an error
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(checkRemoteCommand(sys))
	return cmd
}

func checkRemoteCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remote",
		Short: "Try the broker of mqtt.remote.url: can the gateway use it, what does it do, which rules does it need",
		Long: "Connect to the broker of mqtt.remote.url as the gateway would, and as a device if\n" +
			"mqtt.remote.probe is set. Print first whether the gateway can use it, then what becomes of\n" +
			"each thing there, and the access rules by which nobody speaks as another. No gateway has\n" +
			"to run, and one that runs is not disturbed.\n" +
			"If the broker refuses the login, or cannot be used with these settings, the exit code is 1;\n" +
			"if it does not answer, 3.",
		Example: "  watchtower check remote --config gateway.yaml",
		Args:    cobra.NoArgs,
	}
	file := cmd.Flags().String("config", "", "YAML file with the settings")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := config.Load(nil, sys.environ, *file)
		if err != nil {
			return err
		}
		if cfg.MQTT.Remote.URL == "" {
			text := "mqtt.remote.url: is not set: there is no broker to try"
			if *file == "" {
				text += ". Name the gateway's configuration: --config FILE"
			}
			return errors.New(text)
		}
		r, err := gateway.CheckRemote(cmd.Context(), cfg)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "mqtt.remote.") {
				err = fmt.Errorf("mqtt.remote.url: %w", err)
			}
			if errors.Is(err, gateway.ErrRemoteAway) {
				return unreachable{err}
			}
			return err
		}
		if *asJSON {
			err = json.NewEncoder(sys.out).Encode(r)
		} else {
			err = printRemote(sys, r)
		}
		if err == nil && !r.Usable {
			err = errors.New("mqtt.remote: " + r.Why)
		}
		return err
	}
	return cmd
}

// printRemote prints whether the gateway can use a foreign broker, what that does, and the rules that it
// needs. Why it cannot be used is the command's error.
func printRemote(sys surroundings, r gateway.RemoteReport) error {
	if len(r.Rows) == 0 {
		return nil
	}
	verdict := "The gateway can use it with these settings"
	if !r.Usable {
		verdict = "The gateway cannot use it with these settings"
	}
	fmt.Fprintf(sys.out, "%s speaks MQTT %s. %s. What becomes of each thing there:\n\n", r.Broker, r.MQTT, verdict)
	w := tabwriter.NewWriter(sys.out, 0, 0, 2, ' ', 0)
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%s\t%s\n", row.What, row.Here)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, broker := range []string{"mosquitto", "EMQX", "RabbitMQ"} {
		fmt.Fprintf(sys.out, "\nRules for %s, where a device's user name is its id:\n\n%s", broker, r.Rules[broker])
	}
	return nil
}
