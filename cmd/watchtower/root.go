package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"watchtower/config"
	"watchtower/gateway"
)

// The exit codes, as docs/cli.md tells them. What was done, and a clean stop, is 0.
const (
	exitError       = 1 // refused, or failed
	exitUsage       = 2
	exitUnreachable = 3   // the gateway does not answer
	exitTooFew      = 4   // fewer messages came in time than were wanted
	exitInterrupted = 130 // a second signal, as a shell reports SIGINT
)

// serviceState is where packaging/systemd/watchtower.service keeps its state.
const serviceState = "/var/lib/watchtower"

// surroundings are the parts of the system that a command uses.
type surroundings struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
	exit     func(code int) // ends the program at once, without a clean stop
	service  string         // the data directory of the packages' service; "": there is no service here
}

func system() surroundings {
	sys := surroundings{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(), exit: os.Exit}
	if _, err := os.Stat(serviceState); err == nil {
		sys.service = serviceState
	}
	return sys
}

func (s surroundings) getenv(name string) string {
	for _, e := range s.environ {
		if key, value, _ := strings.Cut(e, "="); key == name {
			return value
		}
	}
	return ""
}

// usageError is a command line that cannot be understood.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// run executes a command line and returns the exit code.
func run(args []string, sys surroundings) int {
	understood := false
	out := &printer{to: sys.out}
	sys.out = out
	root := rootCommand(sys)
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil && out.err == nil {
		return 0
	}
	if err == nil {
		fmt.Fprintf(sys.err, "watchtower: standard output: %s\n", describe(out.err))
		return exitError
	}
	var usage usageError
	if !understood || errors.As(err, &usage) {
		text := strings.Join(strings.Fields(err.Error()), " ") // joins the lines of cobra's suggestions
		fmt.Fprintf(sys.err, "watchtower: %s (%s --help says more)\n", text, cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(sys.err, "watchtower: %s\n", describe(err))
	return exitCode(err)
}

func exitCode(err error) int {
	switch {
	case errors.As(err, new(unreachable)):
		return exitUnreachable
	case errors.As(err, new(tooFew)):
		return exitTooFew
	}
	return exitError
}

// printer is standard output. It keeps the first error, so that a command whose output did
// not arrive fails.
type printer struct {
	to  io.Writer
	err error
}

func (p *printer) Write(b []byte) (int, error) {
	n, err := p.to.Write(b)
	if p.err == nil {
		p.err = err
	}
	return n, err
}

// describe returns an error's text on one line. If a configuration has several faults,
// each has its own line.
func describe(err error) string {
	var faults config.Faults
	if errors.As(err, &faults) && len(faults) > 1 {
		return fmt.Sprintf("the configuration has %d faults:\n  %s", len(faults), strings.ReplaceAll(faults.Error(), "\n", "\n  "))
	}
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

func rootCommand(sys surroundings) *cobra.Command {
	root := &cobra.Command{
		Use:   "watchtower",
		Short: "A gateway by which devices on UDP, TCP, HTTP and MQTT reach each other",
		Long: "A gateway by which devices on UDP, TCP, HTTP and MQTT reach each other.\n" +
			"Without a command it serves.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(sys.in)
	root.SetOut(sys.out)
	root.SetErr(sys.err)
	root.PersistentFlags().StringP("context", "c", "", "the gateway to speak to, as watchtower context add keeps it")
	contexts := completeContexts(sys)
	_ = root.RegisterFlagCompletionFunc("context", func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return contexts(cmd, nil, begun) // whatever stands before the flag
	}) // the flag is there
	serve := serveCommand(sys)
	addSettings(root.Flags())
	showOnly(root.Flags(), "http", "udp", "tcp", "mqtt", "secret-key", "open", "data-dir", "allow-callbacks", "config", "log-level", "log-format")
	version := root.Flags().BoolP("version", "v", false, "version for watchtower")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *version { // cobra's own has a template, and with text/template the program has 2.5 MB more
			_, err := fmt.Fprintln(sys.out, "watchtower", gateway.Version)
			return err
		}
		return serve.RunE(cmd, args)
	}
	root.Long += " watchtower serve --help lists every setting."
	root.SetHelpCommand(helpCommand(root))
	root.AddCommand(serve, findCommand(sys), configCommand(sys), mapCommand(sys), checkCommand(sys), passwdCommand(sys), benchCommand(sys), versionCommand())
	root.AddCommand(clientCommands(sys)...)
	addManual(root)
	root.AddCommand(healthCommand(sys), kickCommand(sys), clusterCommand(sys), contextCommand(sys), secretKeyCommand(sys), adminKeyCommand(sys), sendersCommand(sys), deviceCommand(sys), backupCommand(sys), restoreCommand(sys))
	return root
}

// addSettings defines the flags of all settings, and the one for the file.
func addSettings(flags *pflag.FlagSet) {
	flags.SortFlags = false
	config.AddFlags(flags)
	flags.String("config", "", "YAML file with settings")
}

// showOnly hides all other flags from help. They still work.
func showOnly(flags *pflag.FlagSet, names ...string) {
	shown := map[string]bool{}
	for _, name := range names {
		shown[name] = true
	}
	flags.VisitAll(func(f *pflag.Flag) { f.Hidden = !shown[f.Name] })
}

// helpCommand is like cobra's, but returns an error for an unknown command.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) (found []string, _ cobra.ShellCompDirective) {
			if about, rest, err := root.Find(args); err == nil && len(rest) == 0 {
				for _, cmd := range about.Commands() {
					if cmd.IsAvailableCommand() && strings.HasPrefix(cmd.Name(), begun) {
						found = append(found, cmd.Name())
					}
				}
			}
			return found, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return usageError{err.Error()}
			}
			if len(rest) > 0 {
				return usagef("unknown command %q for %q", rest[0], cmd.CommandPath())
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version, its commit, and the Go that built it", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		commit, changed, module := "unknown", false, ""
		if built, ok := debug.ReadBuildInfo(); ok {
			if v := built.Main.Version; v != "" && v != "(devel)" {
				module = built.Main.Path + "@" + v
			}
			for _, s := range built.Settings {
				switch s.Key {
				case "vcs.revision":
					commit = s.Value
				case "vcs.modified":
					changed = s.Value == "true"
				}
			}
		}
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{
				"version": gateway.Version, "commit": commit, "changed": changed, "module": module, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			})
		}
		if changed {
			commit += ", with changes"
		}
		made := "commit " + commit
		if commit == "unknown" && module != "" { // go install of a version
			made = module
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "watchtower %s (%s, %s %s/%s)\n", gateway.Version, made, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	return cmd
}
