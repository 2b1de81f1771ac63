package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A fence with commands begins with sh, and a word that says what the test does with it.
var fenceWords = map[string]string{
	"":          "runs to its end",
	"gateway":   "starts the gateway, after the one before has ended",
	"stays":     "joins a channel, and runs until the page ends",
	"hears":     "the same, and shows all that is said on channel 5",
	"root":      "needs root, on a machine that it changes",
	"elsewhere": "needs a machine or a file of the reader",
	"asks":      "asks on a terminal",
	"long":      "takes too long for a test of all pages",
	"usage":     "says what may be written, and is not typed so",
}

// runs are the words of fences that are run.
var runs = []string{"", "gateway", "stays", "hears"}

// languages of fences without commands.
var languages = []string{"text", "json", "yaml", "cpp", "c", "js", "html", "python", "ini", "nginx"}

var (
	fence    = regexp.MustCompile("(?ms)^( *)```([^\n`]*)\n(.*?)^ *```$")
	inline   = regexp.MustCompile("`([^`]+)`")
	typed    = regexp.MustCompile(`(?m)(?:^|[|;&(] *|sudo +(?:-u +\w+ +)?)(?:\./|go run \./cmd/)?watchtower\b([^|;&)\n]*)`)
	asTyped  = regexp.MustCompile(`^\s*(?:watchtower|\./|curl|go|make|sudo|mosquitto_\w+|cc|python3|docker|podman) `)
	ofMake   = regexp.MustCompile(`^make ([a-z-]+)`)
	optional = strings.NewReplacer("[", "", "]", "", "…", "", `"`, "", "'", "")
)

// fenced is a fence of a page.
type fenced struct {
	language, word, code string
	line                 int
}

// runs reports whether the fence has commands that TestEveryCommandOfThePages runs.
func (f fenced) runs() bool { return f.language == "sh" && slices.Contains(runs, f.word) }

// pageAt is a page, read.
type pageAt struct {
	path   string
	prose  string // all but its fences
	fences []fenced
}

// runs counts the page's fences that are run.
func (p pageAt) runs() (n int) {
	for _, f := range p.fences {
		if f.runs() {
			n++
		}
	}
	return n
}

// pages are all pages of the project but the list of changes.
func pages(t *testing.T) (all []pageAt) {
	list, err := exec.Command("git", "-C", "../..", "ls-files", "--cached", "--others", "--exclude-standard", "*.md").Output()
	require.NoError(t, err)
	for _, path := range strings.Fields(string(list)) {
		if path == "CHANGELOG.md" {
			continue
		}
		all = append(all, pageOf(t, path))
	}
	require.Greater(t, len(all), 20)
	return all
}

func pageOf(t *testing.T, path string) pageAt {
	b, err := os.ReadFile("../../" + path)
	require.NoError(t, err)
	page, text, end := pageAt{path: path}, string(b), 0
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		part := func(i int) string { return text[m[2*i]:m[2*i+1]] }
		language, word, _ := strings.Cut(part(2), " ")
		code := strings.ReplaceAll("\n"+part(3), "\n"+part(1), "\n")[1:]
		page.fences = append(page.fences, fenced{language, word, code, strings.Count(text[:m[0]], "\n") + 1})
		page.prose += text[end:m[0]]
		end = m[1]
	}
	page.prose += text[end:]
	require.NotContains(t, page.prose, "```", "%s: a fence has no end", path)
	return page
}

// Every command in every page is run by TestEveryCommandOfThePages, or says by a word why not.
// Then at least the program knows it, with its flags.
func TestEveryCommandIsKnown(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	for _, page := range pages(t) {
		for _, f := range page.fences {
			if f.language != "sh" {
				assert.Contains(t, languages, f.language, "%s:%d: a fence says what it holds; commands are sh", page.path, f.line)
				assert.False(t, f.language == "text" && asTyped.MatchString(f.code), "%s:%d: commands are sh", page.path, f.line)
				continue
			}
			assert.Contains(t, slices.Collect(maps.Keys(fenceWords)), f.word, "%s:%d", page.path, f.line)
			if !f.runs() {
				knows(t, page.path, f.code)
			}
		}
		for _, m := range inline.FindAllStringSubmatch(page.prose, -1) {
			command := strings.Join(strings.Fields(m[1]), " ")
			knows(t, page.path, command)
			if m := ofMake.FindStringSubmatch(command); m != nil {
				assert.Contains(t, string(makefile), "\n"+m[1]+":", page.path)
			}
		}
	}
}

// knows checks that the program has the commands, and these their flags.
func knows(t *testing.T, path, text string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for _, m := range typed.FindAllStringSubmatch(text, -1) {
		words, _, _ := strings.Cut(m[1], " #")
		if !strings.HasPrefix(words, " ") || strings.HasPrefix(words, " @") {
			continue // the name of the user, a file, or the program alone
		}
		args := strings.Fields(optional.Replace(words))
		if args[0] == "COMMAND" {
			continue
		}
		root := rootCommand(newPlace(t).surroundings)
		root.InitDefaultCompletionCmd()
		cmd, rest, err := root.Find(args)
		if !assert.NoError(t, err, "%s: watchtower%s", path, words) {
			continue
		}
		if cmd == root && !strings.HasPrefix(args[0], "-") {
			assert.Fail(t, "no such command", "%s: watchtower%s", path, words)
		}
		for _, word := range rest {
			assert.True(t, hasFlag(cmd, word), "%s: watchtower%s: %s has no %s", path, words, cmd.Name(), word)
		}
	}
}

// hasFlag reports whether a word is no flag, or one that the command has.
func hasFlag(cmd *cobra.Command, word string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	if !strings.HasPrefix(word, "-") || name == "" || name == "help" {
		return true
	}
	if strings.HasPrefix(word, "--") {
		return cmd.Flag(name) != nil
	}
	return cmd.Flags().ShorthandLookup(name[:1]) != nil || cmd.InheritedFlags().ShorthandLookup(name[:1]) != nil
}

// An idea has a picture and ten lines, besides its commands: what it is in full stands elsewhere.
func TestAnIdeaIsTenLines(t *testing.T) {
	t.Parallel()
	ideas := 0
	for _, page := range pages(t) {
		if filepath.Dir(page.path) != "docs/ideas" {
			continue
		}
		ideas++
		lines, pictures := 0, 0
		for line := range strings.Lines(page.prose) {
			switch {
			case strings.HasPrefix(line, "!["):
				pictures++
			case strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "# "):
				lines++
			}
		}
		assert.LessOrEqual(t, lines, 10, page.path)
		assert.Equal(t, 1, pictures, page.path)
		assert.NotZero(t, page.runs(), page.path)
	}
	assert.Equal(t, 3, ideas)
}

// The command line's page names every command.
func TestTheCommandLineHasAPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/cli.md")
	require.NoError(t, err)
	for _, cmd := range rootCommand(newPlace(t).surroundings).Commands() {
		if !cmd.Hidden && cmd.Name() != "help" && cmd.Name() != "device-key" {
			assert.Regexp(t, `\b`+cmd.Name()+`\b`, string(page))
		}
	}
}

// named is a fence's first line if that is a comment with the name of a file, in a folder or not.
var named = regexp.MustCompile(`^(?:# |// |<!-- )((?:[a-z]+/)?[a-z0-9]+\.(yaml|py|html|mjs))(?: -->)?\n`)

// fileOf returns the name of the file that a fence shows; "": none. Its first line says it.
func fileOf(f fenced) string {
	m := named.FindStringSubmatch(f.code)
	if m == nil || f.language != map[string]string{"yaml": "yaml", "py": "python", "html": "html", "mjs": "js"}[m[2]] {
		return ""
	}
	return m[1]
}
