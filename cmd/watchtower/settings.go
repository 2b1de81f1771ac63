package main

import (
	"fmt"

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
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file, apart from flags and the environment",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// From the environment it takes only what the default data directory
			// depends on.
			environ := []string{"HOME=" + sys.getenv("HOME"), "STATE_DIRECTORY=" + sys.getenv("STATE_DIRECTORY")}
			c, _, err := config.Load(nil, environ, args[0])
			if err != nil {
				return err
			}
			if err := gateway.Check(c); err != nil {
				return err
			}
			for _, weak := range c.Weak() {
				fmt.Fprintf(sys.err, "watchtower: warning: %s\n", weak)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: no faults\n", args[0])
			return err
		},
	}
	printed := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration as a file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, warnings, err := loadConfig(cmd.Flags(), sys)
			if err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintf(sys.err, "watchtower: %s is no setting%s\n", w.Variable, meant(w))
			}
			secrets, err := cmd.Flags().GetBool("secrets")
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(c.YAML(secrets))
			return err
		},
	}
	addSettings(printed.Flags())
	printed.Flags().Bool("secrets", false, "print secrets, too")
	cmd.AddCommand(check, printed)
	return cmd
}

func meant(w config.Warning) string {
	if w.Nearest == "" {
		return ""
	}
	return ", " + w.Nearest + " is"
}
