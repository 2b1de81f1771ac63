package gateway_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	heading = regexp.MustCompile(`\(([a-zA-Z/-]+\.(?:md|go)), "([^"]+)"`)
	section = regexp.MustCompile(`.{0,12}section \d`)
	// What has numbered sections, and is not of this project.
	standard = regexp.MustCompile(`(RFC \d+|MQTT (3\.1\.1|5)|HTML), section \d$`)
)

// Every reference in a comment leads somewhere: to a heading that is there, or to the
// section of a standard.
func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	found := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		text := comments(string(b))
		for _, m := range heading.FindAllStringSubmatch(text, -1) {
			found++
			file, err := os.ReadFile(filepath.Join("..", m[1]))
			if assert.NoError(t, err, path) {
				assert.Regexp(t, `(?m)^(// )?#+ `+regexp.QuoteMeta(m[2])+`$`, string(file), "%s cites %s", path, m[0])
			}
		}
		for _, m := range section.FindAllString(text, -1) {
			found++
			assert.Regexp(t, standard, m, path)
		}
		return nil
	}))
	assert.Greater(t, found, 15)
}

// comments joins the lines of each comment.
func comments(source string) string {
	var all strings.Builder
	for line := range strings.Lines(source) {
		if _, comment, ok := strings.Cut(line, "// "); ok {
			all.WriteString(strings.TrimSuffix(comment, "\n") + " ")
		} else {
			all.WriteString("\n")
		}
	}
	return all.String()
}
