package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

var update = flag.Bool("update", false, "record the picture of docs/ideas/garden.md anew")

const (
	picture   = "../../docs/pictures/garden.svg"
	page      = "../../docs/ideas/garden.md"
	recording = "GARDEN_TEST_RECORDING"
)

// commands are what is typed, in each terminal.
var commands = map[string]string{
	"rose":      "go run ./examples/garden valve rose",
	"fern":      "go run ./examples/garden valve -over tcp fern",
	"lily":      "go run ./examples/garden valve -over mqtt lily",
	"conductor": "go run ./examples/garden conduct examples/garden/valkyries.mid",
}

// The picture of the page is a recording of what the page says. With -update it is recorded anew:
// real programs, in real terminals, with a network of their own.
func TestThePicture(t *testing.T) {
	if os.Getenv(recording) != "" {
		record(t)
		return
	}
	if *update {
		harness.Unshare(t, nil, recording+"=1")
	}
	b, err := os.ReadFile(picture)
	require.NoError(t, err)
	assert.Less(t, len(b), 60_000)
	for d := xml.NewDecoder(strings.NewReader(string(b))); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	said, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(said), "](../pictures/garden.svg)")
	for name, command := range commands {
		assert.Contains(t, string(said), "\n"+command+"\n")
		assert.Contains(t, string(b), "$ "+command)
		assert.Contains(t, string(b), name)
	}
	assert.Regexp(t, `>10 of 10 notes opened their valve, at most \d ms late<`, string(b))
}

// record makes the picture, with the ports that the commands have.
func record(t *testing.T) {
	env := []string{"PS1=$ "}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOTOOLCHAIN"} {
		value, err := exec.Command("go", "env", name).Output()
		require.NoError(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	home := t.TempDir()
	env = append(env, "HOME="+home)
	g := &garden{T: t, place: place{":8080", ":3033", ":1883", filepath.Join(home, ".local", "state", "watchtower")}}
	g.start()
	t.Cleanup(g.kill)
	windows := []harness.Window{{Title: "conductor", X: 0, Y: 0}, {Title: "rose", X: 590}, {Title: "fern", X: 590}, {Title: "lily", X: 590}}
	y := 0
	for i := range windows {
		w := &windows[i]
		columns, rows := 52, map[string]int{"rose": 12, "fern": 8, "lily": 12, "conductor": 37}[w.Title]
		if i == 0 {
			columns = 70
		} else {
			w.Y = y
		}
		w.Terminal = harness.InTerminal(t, columns, rows, env, "sh", "-c", "cd ../.. && exec sh -i")
		w.Shows("$")
		if _, height := w.Size(); i > 0 {
			y += height + 10
		}
	}
	typed := map[string]bool{}
	enter := func(w harness.Window) {
		if !typed[w.Title] {
			typed[w.Title] = true
			w.Enter(commands[w.Title])
		}
	}
	played := regexp.MustCompile(`(?m)^soil: .*\n\$`)
	film := harness.Record(windows, func() bool {
		for _, w := range windows[1:] { // one valve after the other, and then the conductor
			enter(w)
			if !strings.Contains(w.Screen(), w.Title+": connected") {
				return false
			}
		}
		enter(windows[0])
		return played.MatchString(windows[0].Screen())
	})
	require.NoError(t, os.WriteFile(picture, film.SVG(), 0o644)) //nolint:gosec // for everybody
}
