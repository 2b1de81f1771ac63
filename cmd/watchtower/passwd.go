package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/term"
)

// passwordBytes is the most bytes of a password that bcrypt takes.
const passwordBytes = 72

func passwdCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "passwd",
		Short: "Hash a password for a user of the configuration",
		Long: "Hash a password for a user of the configuration. It is asked for, or read from\n" +
			"standard input, one line. The hash goes into the configuration file:\n\n" +
			"  users:\n    guest:\n      password_hash: \"$2a$…\"\n      acl: [read home/#]\n",
		Args: cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		password, err := readPassword(sys)
		if err != nil {
			return err
		}
		hash, err := hashPassword(password)
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"password_hash": hash})
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
		return err
	}
	return cmd
}

func hashPassword(password string) (string, error) {
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case len(password) > passwordBytes:
		return "", fmt.Errorf("the password has %d bytes, at most %d are looked at: choose a shorter one", len(password), passwordBytes)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	return string(hash), err
}

// readPassword asks for a password twice, without showing it, if standard input is a
// terminal. Else it reads one line from standard input.
func readPassword(sys surroundings) (string, error) {
	if f, ok := sys.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return askTwice(f, sys.err)
	}
	line, err := bufio.NewReader(io.LimitReader(sys.in, 1<<16)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// askTwice asks twice. The terminal's echo stays off all the time, so that what is typed
// too early is not shown either.
func askTwice(f *os.File, to io.Writer) (string, error) {
	before, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(int(f.Fd()), before) }()
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{f, to}, "")
	first, err := t.ReadPassword("Password: ")
	if err != nil {
		return "", errors.New("no password was given")
	}
	again, err := t.ReadPassword("Again: ")
	if err != nil || first != again {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}
