// Garden opens the valves of a garden to music. A conductor reads a score, a MIDI file whose tracks
// are named after valves, and opens each valve while its track has a note. The valves are Arduinos
// with the sketch Garden of the library in arduino/, or this program in their place.
//
//	go run ./examples/garden valve rose
//	go run ./examples/garden conduct examples/garden/valkyries.mid
//
// What is said on the channel is text:
//
//	tap open 3   the conductor: open, for 3 seconds at most; said again while the note lasts
//	tap open     Home Assistant: open, for 10 minutes at most
//	tap close    both
//	describe     both: say who you are, and how
//	{"tap":"open","soil":41}   a valve, after each of these, and when its soil has changed
//
// So nobody has to close a valve: one that hears nothing closes by itself.
//
//	valve.go    a valve             score.go    the MIDI file, read
//	tap.go      when it is open     compose.go  the MIDI file, made
//	session.go  its way to the      conduct.go  the conductor, until it plays
//	mqtt.go     gateway, by each    play.go     the conductor, while it plays
//	basic.go    protocol            player.go   what it knows of a valve
//	                                gateway.go  its way to the gateway
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const usage = `usage: garden valve NAME          is a valve, until Ctrl-C
       garden conduct SCORE       opens valves as a MIDI file says
       garden compose FILE        writes the example's MIDI file
-h after one of them lists its options`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "garden:", err)
		stop()
		os.Exit(1)
	}
}

// run executes a command, and ends with ctx.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("says nothing to do\n%s", usage)
	}
	switch args[0] {
	case "valve":
		return runValve(ctx, args[1:], out)
	case "conduct":
		return runConduct(ctx, args[1:], out)
	case "compose":
		return runCompose(args[1:])
	}
	return fmt.Errorf("%q is no command\n%s", args[0], usage)
}

// parse reads a command's options, and its one argument, which what names.
func parse(flags *flag.FlagSet, args []string, what string) (string, error) {
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	if flags.NArg() != 1 {
		return "", fmt.Errorf("%s wants one %s, after its options", flags.Name(), what)
	}
	return flags.Arg(0), nil
}

// secretKey returns the key that was given, else that of the gateway on this machine, which it
// writes beside its state while it runs. Without either the gateway may be an open one.
func secretKey(given string) string {
	if given != "" {
		return given
	}
	if key := os.Getenv("WATCHTOWER_SECRET_KEY"); key != "" {
		return key
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	key, err := os.ReadFile(filepath.Join(home, ".local", "state", "watchtower", "gateway.key"))
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(key), "\r\n")
}
