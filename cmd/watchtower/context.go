package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"watchtower/atomicfile"
)

// savedGateway is a gateway as a context keeps it, and how to speak there.
type savedGateway struct {
	URL       string `json:"url"`
	SecretKey string `json:"secret_key,omitempty"`
	Token     string `json:"token,omitempty"`
	AdminKey  string `json:"admin_key,omitempty"`
	Name      string `json:"name,omitempty"`
	CAFile    string `json:"cafile,omitempty"`
	Insecure  bool   `json:"insecure,omitempty"`
}

// contextsFile is where the contexts are, below the user's directory of configurations.
const contextsFile = "watchtower/contexts.json"

func contextCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Keep gateways under names, for -c",
		Long: "Keep gateways under names, for -c: how they are reached, and the keys for them.\n" +
			"They are in contexts.json in the user's directory of configurations, which only\n" +
			"its owner may read.",
		Args: cobra.NoArgs, // so that an unknown subcommand is an error
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(addContextCommand(sys), listContextsCommand(sys), removeContextCommand(sys))
	return cmd
}

func addContextCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "add NAME URL",
		Short:   "Keep a gateway, or replace it",
		Example: "  watchtower context add home http://gateway.lan:8080 --secret-key-file key.txt\n  watchtower -c home join 5",
		Args:    cobra.ExactArgs(2),
	}
	f := cmd.Flags()
	addKey(f)
	token := f.String("token-file", "", "file with the token of the sender to speak as; -: standard input")
	admin := f.String("admin-key-file", "", "file with the gateway's admin key; -: standard input")
	name := f.String("name", "", "name to speak by")
	ca := f.String("cafile", "", "file of certificates (PEM) to trust for https")
	insecure := f.Bool("insecure", false, "take any certificate: whoever is on the way may read and change all")
	asJSON := f.Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" || strings.ContainsAny(args[0], " \t\n") {
			return usagef("a context's name must be a word, is %q", args[0])
		}
		url, err := cleanURL(args[1])
		if err != nil {
			return usageError{strings.Replace(err.Error(), "--url", "URL", 1)}
		}
		p := savedGateway{URL: url, Name: *name, Insecure: *insecure}
		if *ca != "" {
			if p.CAFile, err = filepath.Abs(*ca); err != nil {
				return fmt.Errorf("--cafile: %w", err)
			}
		}
		if p.SecretKey, err = sys.secretKeyOf(f); err != nil {
			return err
		}
		if p.Token, err = sys.secretFrom("token-file", *token); err != nil {
			return err
		}
		if p.AdminKey, err = sys.secretFrom("admin-key-file", *admin); err != nil {
			return err
		}
		path, all, err := sys.contexts()
		if err != nil {
			return err
		}
		all[args[0]] = p
		if err := writeContexts(path, all); err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(sys.out).Encode(map[string]string{"context": args[0], "url": p.URL})
		}
		_, err = fmt.Fprintf(sys.out, "watchtower -c %s … is %s\n", shellQuote(args[0]), p.URL)
		return err
	}
	return cmd
}

func listContextsCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the contexts, without their secrets", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		_, all, err := sys.contexts()
		if err != nil {
			return err
		}
		type shown struct {
			Context string `json:"context"`
			URL     string `json:"url"`
			Name    string `json:"name,omitempty"`
		}
		list := []shown{}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			list = append(list, shown{name, all[name].URL, all[name].Name})
		}
		if *asJSON {
			return json.NewEncoder(sys.out).Encode(map[string]any{"contexts": list})
		}
		if len(list) == 0 {
			fmt.Fprintln(sys.err, "watchtower: there are no contexts: watchtower context add NAME URL makes one")
			return nil
		}
		table := tabwriter.NewWriter(sys.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "CONTEXT\tURL\tNAME")
		for _, s := range list {
			fmt.Fprintf(table, "%s\t%s\t%s\n", printableText(s.Context), printableText(s.URL), printableText(s.Name))
		}
		return table.Flush()
	}
	return cmd
}

func removeContextCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME", Short: "Forget a context", Args: cobra.ExactArgs(1), ValidArgsFunction: completeContexts(sys)}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		path, all, err := sys.contexts()
		if err != nil {
			return err
		}
		if _, found := all[args[0]]; !found {
			return unknownContext(args[0], all)
		}
		delete(all, args[0])
		if err := writeContexts(path, all); err != nil || !*asJSON {
			return err
		}
		return json.NewEncoder(sys.out).Encode(map[string]string{"removed": args[0]})
	}
	return cmd
}

func unknownContext(name string, all map[string]savedGateway) error {
	if len(all) == 0 {
		return fmt.Errorf("there is no context %s: watchtower context add makes one", printableText(name))
	}
	return fmt.Errorf("there is no context %s, there are %s", printableText(name), strings.Join(slices.Sorted(maps.Keys(all)), ", "))
}

// contexts reads the contexts, and returns the file that has them.
func (s surroundings) contexts() (path string, all map[string]savedGateway, err error) {
	dir := s.getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := s.getenv("HOME")
		if home == "" {
			if dir, err = os.UserConfigDir(); err != nil {
				return "", nil, fmt.Errorf("contexts: %w", err)
			}
		} else {
			dir = filepath.Join(home, ".config")
		}
	}
	path, all = filepath.Join(dir, contextsFile), map[string]savedGateway{}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return path, all, nil
	}
	if err != nil {
		return path, nil, fmt.Errorf("contexts: %w", err)
	}
	if err := json.Unmarshal(b, &all); err != nil || all == nil {
		return path, nil, fmt.Errorf("%s is damaged: remove it, and add its contexts again", path)
	}
	return path, all, nil
}

// writeContexts replaces the file at once. Only its owner can read it.
func writeContexts(path string, all map[string]savedGateway) error {
	b, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = atomicfile.WriteText(path, string(b)+"\n")
	}
	if err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	return nil
}

// addKey defines the flags of the secret key.
func addKey(f *pflag.FlagSet) {
	f.String("secret-key", "", "the gateway's secret key, which the list of processes shows (default: that of the one on this machine)")
	f.String("secret-key-file", "", "file with the gateway's secret key; -: standard input")
}

// secretKeyOf returns the secret key of the flags that addKey defined; empty: none.
func (s surroundings) secretKeyOf(f *pflag.FlagSet) (string, error) {
	key, file := f.Lookup("secret-key").Value.String(), f.Lookup("secret-key-file").Value.String()
	if key != "" && file != "" {
		return "", usagef("give one of --secret-key and --secret-key-file")
	}
	if key != "" {
		return key, nil
	}
	return s.secretFrom("secret-key-file", file)
}

// secretBytes is the most bytes of a file with a secret.
const secretBytes = 4096

// secretFrom reads a secret from a file, or standard input: its first line. An empty name
// of the file is no secret.
func (s surroundings) secretFrom(flag, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	in, where := s.in, "standard input"
	if file != "-" {
		where = file
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("--%s: %w", flag, err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, secretBytes))
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", usagef("--%s: %s has no secret in its first line", flag, where)
	}
	return line, nil
}
