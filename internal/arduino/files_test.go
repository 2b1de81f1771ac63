package arduino_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/gateway"
)

// libraryFile returns a file of the library.
func libraryFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "arduino", name))
	require.NoError(t, err)
	return string(b)
}

// What the Arduino IDE, PlatformIO and ESP-IDF are told has all that they ask for, and says the
// gateway's version.
func TestLibraryFiles(t *testing.T) {
	t.Parallel()
	properties := map[string]string{}
	for line := range strings.Lines(libraryFile(t, "library.properties")) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		require.True(t, ok, line)
		properties[name] = value
	}
	for _, name := range []string{"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"} {
		assert.NotEmpty(t, properties[name], "the Arduino IDE does not take a library without %s", name)
	}
	var manifest struct {
		Name, Version string
		Headers       []string
	}
	require.NoError(t, json.Unmarshal([]byte(libraryFile(t, "library.json")), &manifest))
	assert.Equal(t, gateway.Version, properties["version"])
	assert.Equal(t, gateway.Version, manifest.Version)
	assert.Contains(t, libraryFile(t, "idf_component.yml"), `version: "`+gateway.Version+`"`)
	assert.Equal(t, properties["name"], manifest.Name)
	for _, h := range append(manifest.Headers, properties["includes"]) {
		assert.FileExists(t, filepath.Join(src, h))
	}
}

// The Arduino IDE colours each function of the class, and each code.
func TestKeywords(t *testing.T) {
	t.Parallel()
	keywords := libraryFile(t, "keywords.txt")
	header := libraryFile(t, "src/WatchtowerSession.h")
	_, class, ok := strings.Cut(header, "class Watchtower {\npublic:\n")
	require.True(t, ok)
	class, _, ok = strings.Cut(class, "private:")
	require.True(t, ok)
	names := regexp.MustCompile(`(?m)^\t(?:template <[^>]*> )?(?:bool|void|uint8_t) (\w+)\(`).FindAllStringSubmatch(class, -1)
	require.Greater(t, len(names), 8)
	for _, m := range names {
		assert.Regexp(t, `(?m)^`+m[1]+`\tKEYWORD2$`, keywords)
	}
	readme := libraryFile(t, "README.md")
	codes := regexp.MustCompile("`(WT_[A-Z_]+)` \\d").FindAllStringSubmatch(readme, -1)
	require.Greater(t, len(codes), 8)
	for _, m := range codes {
		assert.Regexp(t, `(?m)^`+m[1]+`\tLITERAL1$`, keywords)
	}
}
