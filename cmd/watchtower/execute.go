package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// execHelp is the help of --exec.
const execHelp = "command to run for each message, one after the other: the payload is its standard input, and " +
	"WATCHTOWER_CHANNEL, _SENDER, _SENDER_NAME, _ID and _TYPE are in its environment"

// execGrace is how long a command has to end after Ctrl-C, before it is killed.
const execGrace = 2 * time.Second

// execute runs a shell's command for a message. What it prints goes to out.
func (c *client) execute(ctx context.Context, command string, m message, out io.Writer) error {
	shell, flag := "sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd", "/C"
	}
	cmd := exec.CommandContext(ctx, shell, flag, command)
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	cmd.Env = append(slices.Clone(c.environ), "WATCHTOWER_CHANNEL="+number(m.Channel), "WATCHTOWER_SENDER="+number(m.Sender),
		"WATCHTOWER_SENDER_NAME="+m.Name, "WATCHTOWER_ID="+m.ID, "WATCHTOWER_TYPE="+m.Type)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(m.payload()), out, c.err
	cmd.Cancel = func() error { return interrupt(cmd.Process) }
	cmd.WaitDelay = execGrace
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// complain tells of an error that ends nothing.
func (c *client) complain(err error) {
	if err != nil {
		fmt.Fprintf(c.err, "watchtower: %s\n", describe(err))
	}
}
