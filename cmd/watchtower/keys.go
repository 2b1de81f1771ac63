package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func adminKeyCommand(sys surroundings) *cobra.Command {
	return printKeyCommand(sys, "admin_key", (*client).localAdminKey, &cobra.Command{
		Use:   "admin-key",
		Short: "Print the key with which an operator signs in",
		Long: "Print the key with which an operator signs in to the gateway on this machine: the one\n" +
			"in force while it runs, generated or configured, else the generated one. It may do\n" +
			"everything; the secret key, which every device has, not.",
	})
}

func secretKeyCommand(sys surroundings) *cobra.Command {
	return printKeyCommand(sys, "secret_key", (*client).localSecretKey, &cobra.Command{
		Use:   "secret-key",
		Short: "Print the key with which devices and programs register",
		Long: "Print the secret key of the gateway on this machine, with which devices and programs\n" +
			"register: the one in force while it runs, generated or configured, else the generated\n" +
			"one. A device can have a key of its own instead: watchtower device key NAME.",
		Example: `  mosquitto_sub -u me -P "$(watchtower secret-key)" -t 'watchtower/channels/5/#'`,
	})
}

// printKeyCommand makes cmd print a key of the gateway on this machine. In JSON its name is field.
func printKeyCommand(sys surroundings, field string, read func(*client) (string, error), cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	dataDir := cmd.Flags().String("data-dir", "", "the data directory of the gateway on this machine")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		c := newClient(sys)
		c.dataDir = *dataDir
		key, err := read(c)
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(c.out).Encode(map[string]string{field: key})
		}
		_, err = fmt.Fprintln(c.out, key)
		return err
	}
	return cmd
}

// localAdminKey reads the operator's key of the gateway on this machine.
func (c *client) localAdminKey() (string, error) {
	return c.localKey("there is no admin key in %s: no gateway was started with this data directory (--data-dir%s), or its admin_key is configured and it does not run", runningAdminFile, adminKeyFile)
}

// localSecretKey reads the secret key of the gateway on this machine.
func (c *client) localSecretKey() (string, error) {
	key, err := c.localKey("there is no secret key in %s: no gateway was started with this data directory (--data-dir%s), or its secret_key is configured and it does not run", runningKeyFile, secretKeyFile)
	if err == nil && key == "" {
		return "", errors.New("the gateway is open: it has no secret key, everybody may register")
	}
	return key, err
}

// localKey reads the first of some files in the data directory that is there. Missing is the
// error if none is, with the directory and a hint at the service's.
func (c *client) localKey(missing string, files ...string) (string, error) {
	dir, err := c.dir()
	if err != nil {
		return "", fmt.Errorf("data_dir: %w", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case err == nil:
			return strings.TrimRight(string(b), "\r\n"), nil
		case errors.Is(err, os.ErrPermission):
			return "", fmt.Errorf("%w: only root and the gateway's user may read it: sudo", err)
		case !errors.Is(err, os.ErrNotExist):
			return "", err
		}
	}
	hint := ""
	if c.serviceElsewhere(dir) {
		hint = "; that of the service is " + c.service
	}
	return "", fmt.Errorf(missing, dir, hint)
}
