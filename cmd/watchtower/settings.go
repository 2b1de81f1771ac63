package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"watchtower/config"
	"watchtower/gateway"
)

// loadConfig returns the effective configuration.
func loadConfig(flags *pflag.FlagSet, sys surroundings) (config.Config, []config.Warning, error) {
	file, err := flags.GetString("config")
	if err != nil {
		return config.Config{}, nil, err
	}
	if file == "" {
		file = sys.getenv(config.FileVariable)
	}
	return config.Load(flags, sys.environ, file)
}

func configCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or print a configuration",
		Args:  cobra.NoArgs, // so that an unknown subcommand is an error
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(checkConfigCommand(sys), printConfigCommand(sys))
	return cmd
}

func checkConfigCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check {FILE | --config FILE}",
		Short: "Check a configuration file, apart from flags and the environment",
		Long: "Check a configuration file, apart from flags and the environment: its settings, and the\n" +
			"certificates and the directory of pages that it names.",
		Example: "  watchtower config check gateway.yaml",
		Args:    cobra.MaximumNArgs(1),
	}
	named := cmd.Flags().String("config", "", "the file, as other commands take it")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file := *named
		if len(args) == 1 && file != "" || len(args) == 0 && file == "" {
			return usagef("give one file, as FILE or by --config")
		}
		if len(args) == 1 {
			file = args[0]
		}
		// From the environment it takes only what the default data directory
		// depends on.
		environ := []string{"HOME=" + sys.getenv("HOME"), "STATE_DIRECTORY=" + sys.getenv("STATE_DIRECTORY")}
		c, _, err := config.Load(nil, environ, file)
		if err == nil {
			err = gateway.Check(c)
		}
		warnings := []string{}
		if err == nil {
			for _, weak := range c.Weak() {
				warnings = append(warnings, weak.Error())
			}
		}
		if *asJSON {
			answer := map[string]any{"file": file, "faults": append([]string{}, config.Texts(err)...), "warnings": warnings}
			return cmp.Or(err, json.NewEncoder(cmd.OutOrStdout()).Encode(answer))
		}
		if err != nil {
			return err
		}
		for _, weak := range warnings {
			fmt.Fprintf(sys.err, "watchtower: warning: %s\n", weak)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: no faults\n", file)
		return err
	}
	return cmd
}

func printConfigCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration as a file",
		Args:  cobra.NoArgs,
	}
	secrets := cmd.Flags().Bool("secrets", false, "print secrets, too")
	asJSON := cmd.Flags().Bool("json", false, "print JSON: each setting as a flag takes it, and where it is from; no secrets, channels and users")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, warnings, err := loadConfig(cmd.Flags(), sys)
		if err != nil {
			return err
		}
		for _, w := range warnings {
			fmt.Fprintf(sys.err, "watchtower: %s is no setting%s\n", w.Variable, meant(w))
		}
		switch {
		case *asJSON && *secrets:
			return usagef("--json prints no secrets: leave one of --json and --secrets out")
		case *asJSON:
			return printValues(cmd.OutOrStdout(), c)
		}
		_, err = cmd.OutOrStdout().Write(c.YAML(*secrets))
		return err
	}
	addSettings(cmd.Flags())
	return cmd
}

// printValues prints each setting as JSON.
func printValues(out io.Writer, c config.Config) error {
	type shown struct {
		Setting string `json:"setting"`
		Value   string `json:"value"`
		Secret  bool   `json:"secret,omitempty"`
		Set     bool   `json:"set"`
		From    string `json:"from"`
		Line    int    `json:"line,omitempty"` // in the file
	}
	list := []shown{}
	for _, v := range c.Values() {
		list = append(list, shown{v.Path, v.Text, v.Secret, v.Set, v.From, v.Line})
	}
	return json.NewEncoder(out).Encode(map[string]any{"settings": list})
}

func meant(w config.Warning) string {
	if w.Nearest == "" {
		return ""
	}
	return ", " + w.Nearest + " is"
}
