package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func healthCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask whether the gateway is alive; with --ready, whether it can do its work",
		Long: "Ask whether the gateway is alive; with --ready, whether it can do its work, which it\n" +
			"cannot while its disk is full. It needs no key. A container's health check runs it.",
		Args: cobra.NoArgs,
	}
	addReach(cmd.Flags())
	ready := cmd.Flags().Bool("ready", false, "whether it can do its work")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c := newClient(sys)
		if err := c.readFlags(cmd.Flags()); err != nil {
			return err
		}
		t, err := c.find()
		if err != nil {
			return err
		}
		path, what := "/healthz", "alive"
		if *ready {
			path, what = "/readyz", "ready"
		}
		if _, err := c.call(cmd.Context(), t, request{method: "GET", path: path}); err != nil {
			return err
		}
		if c.json {
			return json.NewEncoder(c.out).Encode(map[string]bool{what: true})
		}
		_, err = fmt.Fprintln(c.out, t.url, "is", what)
		return err
	}
	return cmd
}
