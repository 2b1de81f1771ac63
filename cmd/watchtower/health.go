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
			"cannot while its disk is full. While it does not reach the other gateways of its space,\n" +
			"it is ready, and --ready says so. It needs no key. A container's health check runs it.",
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
		b, err := c.call(cmd.Context(), t, request{method: "GET", path: path})
		if err != nil {
			return err
		}
		var answer struct {
			ClusterFault string `json:"cluster_fault"`
		}
		_ = json.Unmarshal(b, &answer) // an older gateway's has no such field
		if c.json {
			shown := map[string]any{what: true}
			if answer.ClusterFault != "" {
				shown["cluster_fault"] = answer.ClusterFault
			}
			return json.NewEncoder(c.out).Encode(shown)
		}
		if answer.ClusterFault != "" {
			_, err = fmt.Fprintf(c.out, "%s is %s, but apart from the other gateways: %s\n", t.url, what, printableText(answer.ClusterFault))
			return err
		}
		_, err = fmt.Fprintln(c.out, t.url, "is", what)
		return err
	}
	return cmd
}
