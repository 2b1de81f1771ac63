//go:build !race

package gateway_test

import (
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	heading   = regexp.MustCompile(`(?m)^#+ (.*?)\s*$`)
	link      = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	inText    = regexp.MustCompile("`([a-z_]+(?:/[A-Za-z0-9_.-]+)+\\.(?:go|md|yaml|sh))`")
	goComment = regexp.MustCompile(`(?m)//.*$`)
	section   = regexp.MustCompile(`(docs/[a-zA-Z-]+\.md)(?:, "([^"]+)")?`)
	goFile    = regexp.MustCompile(`[\w/]*\w\.go\b`)
	numbered  = regexp.MustCompile(`(?i)(.{0,40})\bsections? \d`)
	standard  = regexp.MustCompile(`RFC|MQTT|HTML`)
)

// Files and sections that a comment or a document refers to exist.
func TestReferencesLeadSomewhere(t *testing.T) {
	t.Parallel()
	list, err := exec.Command("git", "-C", "..", "ls-files", "--cached", "--others", "--exclude-standard").Output()
	require.NoError(t, err)
	files := strings.Fields(string(list))
	read := func(f string) string {
		b, err := os.ReadFile("../" + f)
		require.NoError(t, err)
		return string(b)
	}
	there := func(from, f string) {
		t.Helper()
		assert.True(t, slices.ContainsFunc(files, func(x string) bool { return x == f || strings.HasPrefix(x, strings.TrimSuffix(f, "/")+"/") }), "%s refers to %s", from, f)
	}
	checked := 0
	for _, f := range files {
		switch {
		case strings.HasSuffix(f, ".md") && f != "CHANGELOG.md":
			text := read(f)
			for _, m := range inText.FindAllStringSubmatch(text, -1) {
				there(f, m[1])
				checked++
			}
			for _, m := range link.FindAllStringSubmatch(text, -1) {
				there(f, path.Join(path.Dir(f), m[1]))
				checked++
			}
		case strings.HasSuffix(f, ".go"):
			comments := strings.Join(goComment.FindAllString(read(f), -1), " ")
			comments = regexp.MustCompile(`\s+//\s*`).ReplaceAllString(comments, " ")
			for _, m := range section.FindAllStringSubmatch(comments, -1) {
				there(f, m[1])
				if m[2] != "" {
					has := slices.ContainsFunc(heading.FindAllStringSubmatch(read(m[1]), -1), func(h []string) bool { return h[1] == m[2] })
					assert.True(t, has, "%s refers to %s, %q", f, m[1], m[2])
				}
				checked++
			}
			for _, m := range numbered.FindAllStringSubmatch(comments, -1) {
				assert.Regexp(t, standard, m[1], "%s: a section of what? No document here has numbers", f)
				checked++
			}
			for _, name := range goFile.FindAllString(comments, -1) {
				if !strings.Contains(name, "/") {
					name = path.Join(path.Dir(f), name)
				}
				there(f, name)
				checked++
			}
		}
	}
	assert.Greater(t, checked, 250)
}
