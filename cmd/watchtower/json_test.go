package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every command that prints an answer prints it as JSON, too.
func TestEveryCommandThatPrintsHasJSON(t *testing.T) {
	t.Parallel()
	without := []string{"watchtower", "watchtower serve", "watchtower help", "watchtower completion bash", "watchtower completion zsh", "watchtower completion fish", "watchtower completion powershell"}
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		for _, below := range cmd.Commands() {
			look(below)
		}
		if !cmd.HasSubCommands() && !slices.Contains(without, cmd.CommandPath()) {
			assert.NotNil(t, cmd.Flag("json"), cmd.CommandPath())
		}
	}
	root := rootCommand(system())
	root.InitDefaultCompletionCmd()
	look(root)
}

func TestConfigurationAsJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) string {
		file := filepath.Join(dir, "w.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	var told struct {
		File             string
		Faults, Warnings []string
		Settings         []struct {
			Setting, Value, From string
			Line                 int
			Secret, Set          bool
		}
	}
	file := write("log: {level: debug}\nsecret_key: hunter22222\n")
	code, out, err := program(t, "config", "check", file, "--json")
	require.Zero(t, code, err)
	require.NoError(t, json.Unmarshal([]byte(out), &told))
	assert.Equal(t, file, told.File)
	assert.Empty(t, told.Faults)

	code, out, err = program(t, "config", "print", "--config", file, "--json")
	require.Zero(t, code, err)
	assert.NotContains(t, out, "hunter22222")
	require.NoError(t, json.Unmarshal([]byte(out), &told))
	found := 0
	for _, s := range told.Settings {
		switch s.Setting {
		case "log.level":
			assert.Equal(t, "debug file 1", strings.Join([]string{s.Value, s.From, string(rune('0' + s.Line))}, " "))
			found++
		case "secret_key":
			assert.True(t, s.Secret && s.Set && s.Value == "")
			found++
		}
	}
	assert.Equal(t, 2, found)

	code, out, err = program(t, "config", "check", write("upd: {}\nopen: 5\n"), "--json")
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "2 faults")
	require.NoError(t, json.Unmarshal([]byte(out), &told))
	assert.Len(t, told.Faults, 2)
}

// A check looks at the directory of pages, as the start does.
func TestACheckLooksAtThePages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "w.yaml")
	check := func(pages string) (int, string) {
		require.NoError(t, os.WriteFile(file, []byte("http: {pages: '"+pages+"'}\n"), 0o600))
		code, _, err := program(t, "config", "check", file)
		return code, err
	}
	code, err := check(filepath.Join(dir, "none"))
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "http.pages: there is no directory")
	code, err = check(dir)
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "which everybody could read then", "the configuration itself is in it")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "pages"), 0o755))
	code, err = check(filepath.Join(dir, "pages"))
	assert.Zero(t, code, err)
}
