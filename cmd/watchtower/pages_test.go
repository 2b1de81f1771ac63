package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// endless are commands that go on until they are stopped.
var endless = regexp.MustCompile(`^watchtower (join|reply)\b`)

// Every command of the page works, one after the other.
func TestEveryCommandOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/cli.md")
	require.NoError(t, err)
	s := serveProgram(t, t.TempDir(), anyPort...)
	bin, folder := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(s.command().Path, filepath.Join(bin, "watchtower")))
	inFolder := "cd " + shellQuote(folder) + " && export PATH=" + shellQuote(bin) + ":$PATH && "
	ran := 0
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(m[1]) {
			line = strings.TrimSpace(line)
			ran++
			if endless.MatchString(line) && !strings.Contains(line, " -C ") {
				expect(t, s.shell(inFolder+"exec "+line), "following channel")
				continue
			}
			cmd := exec.Command("sh", "-c", inFolder+line)
			cmd.Env = s.command().Env
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s: %s", line, out)
		}
	}
	assert.Greater(t, ran, 15)
	for _, cmd := range rootCommand(newPlace(t).surroundings).Commands() {
		if !cmd.Hidden && cmd.Name() != "help" && cmd.Name() != "device-key" {
			assert.Regexp(t, `(?s)\b`+cmd.Name()+`\b`, string(page))
		}
	}
}
