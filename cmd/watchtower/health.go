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
			"or the foreign broker, it is ready, and --ready says so. It needs no key. A container's\n" +
			"health check runs it.",
		Args: cobra.NoArgs,
	}
	addReach(cmd.Flags())
	ready := cmd.Flags().Bool("ready", false, "whether it can do its work")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c := newClient(sys)
		if err := c.readFlags(cmd); err != nil {
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
			Cluster string `json:"cluster_fault"`
			Remote  string `json:"remote_fault"`
		}
		_ = json.Unmarshal(b, &answer) // an older gateway's has no such fields
		shown, faults := map[string]any{what: true}, ""
		for _, f := range []struct{ key, text, words string }{
			{"cluster_fault", answer.Cluster, "apart from the other gateways"}, {"remote_fault", answer.Remote, "without the foreign broker"},
		} {
			if f.text != "" {
				shown[f.key] = f.text
				faults += fmt.Sprintf(", but %s: %s", f.words, printableText(f.text))
			}
		}
		if c.json {
			return json.NewEncoder(c.out).Encode(shown)
		}
		if faults != "" {
			_, err = fmt.Fprintf(c.out, "%s is %s%s\n", t.url, what, faults)
			return err
		}
		_, err = fmt.Fprintln(c.out, t.url, "is", what)
		return err
	}
	return cmd
}
