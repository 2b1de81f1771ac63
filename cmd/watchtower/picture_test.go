package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

var update = flag.Bool("update", false, "record the pictures of docs/ideas anew")

// film is the picture of a page: what is typed in which terminal, one step after the other.
type film struct {
	page    string
	gateway string
	before  string // is typed before, and not shown
	windows []harness.Window
	steps   []step
}

// step is typed in a window, once that or another one shows a text.
type step struct {
	in    int
	typed string
	then  string // what the window shows before the next step
}

const irssi = `irssi --connect=localhost --nick=anna --password="$(./watchtower secret-key)"`

// films are the pictures in docs/pictures, by their names.
var films = map[string]film{
	"chat": {
		page: "docs/ideas/chat.md", gateway: "./watchtower --irc :6667",
		windows: []harness.Window{{Title: "anna"}, {Title: "otto", X: 560}, {Title: "kitchen", X: 560, Y: 234}},
		steps: []step{
			{1, "./watchtower chat 5 --name otto", "otto"},
			{0, irssi, "messages since the start"},
			{0, "/join #5", "otto"},
			{1, "is it warm in there?", "is it warm in there?"},
			{2, `./watchtower broadcast 5 "21.5 °C" --name kitchen`, "sent"},
			{0, "it is. I open the valve", "anna> it is. I open the valve"},
			{1, "", "anna: it is. I open the valve"},
		},
	},
	"launch": {
		page: "docs/ideas/launch.md", gateway: "./watchtower --config examples/launch/launch.yaml",
		before:  `for name in ann bob; do ./watchtower broadcast 5 "I am $name" --name $name; ./watchtower senders protect $name; done`,
		windows: []harness.Window{{Title: "pad"}, {Title: "ann", Y: 200}, {Title: "bob", X: 510, Y: 200}},
		steps: []step{
			{0, "./watchtower join 9 --name pad", "Ctrl-C ends"},
			{1, "./watchtower broadcast 9 go --name ann", "1 of 2"},
			{2, "./watchtower broadcast 9 go --name bob", "sent"},
			{0, "", "bob ("},
		},
	},
}

// toRead is the time between two steps, for whoever watches.
const toRead = time.Second

// size is how many columns and rows a window of a film has.
var size = map[string][2]int{
	"anna": {67, 23}, "otto": {60, 11}, "kitchen": {60, 9},
	"pad": {124, 9}, "ann": {60, 7}, "bob": {60, 7},
}

// The pictures of the ideas' pages are recordings of what the pages say. With -update they are
// recorded anew: real programs, in real terminals, with a network of their own.
func TestThePictures(t *testing.T) {
	for name, f := range films {
		t.Run(name, func(t *testing.T) {
			file := "../../docs/pictures/" + name + ".svg"
			if harness.Unshared() {
				require.NoError(t, os.WriteFile(file, f.record(t), 0o644)) //nolint:gosec // for everybody
				return
			}
			if *update {
				harness.Unshare(t, nil, builtAt+"="+builds(t))
			}
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Less(t, len(b), 60_000)
			for d := xml.NewDecoder(strings.NewReader(string(b))); ; {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
			}
			page, err := os.ReadFile("../../" + f.page)
			require.NoError(t, err)
			assert.Contains(t, string(page), "](../pictures/"+name+".svg)")
			for _, s := range f.steps {
				if strings.HasPrefix(s.typed, "./watchtower") || strings.HasPrefix(s.typed, "irssi") {
					assert.Contains(t, string(page), "\n"+s.typed+"\n")
				}
			}
			assert.Contains(t, string(page), "\n"+f.gateway+"\n")
			assert.Contains(t, string(b), f.steps[len(f.steps)-1].then)
		})
	}
}

// record makes the picture, with the ports that the commands have.
func (f film) record(t *testing.T) []byte {
	r := newReader(t, f.page, os.Getenv(builtAt))
	r.starts(f.gateway)
	if f.before != "" {
		r.types(f.before).waits(t)
	}
	env := append(environ(r.home), "PS1=$ ", "PATH="+r.bin+":"+os.Getenv("PATH"), "WATCHTOWER_MDNS=false")
	for i := range f.windows {
		w := &f.windows[i]
		w.Terminal = harness.InTerminal(t, size[w.Title][0], size[w.Title][1], env, "sh", "-c", "cd "+r.folder+" && exec sh -i")
		w.Shows("$")
	}
	at, typed, late, next := 0, false, time.Now().Add(2*patient), time.Now()
	film := harness.Record(f.windows, func() bool {
		if at == len(f.steps) || time.Now().After(late) {
			return true
		}
		if time.Now().Before(next) {
			return false
		}
		s := f.steps[at]
		if !typed && s.typed != "" {
			f.windows[s.in].Enter(s.typed)
		}
		if typed = true; strings.Contains(f.windows[s.in].Screen(), s.then) {
			at, typed, next = at+1, false, time.Now().Add(toRead)
		}
		return at == len(f.steps)
	})
	require.Len(t, f.steps, at, "step %d does not come to its end", at)
	return film.SVG()
}
