package console_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write web/vendor from testdata/node/node_modules")

// The libraries of others that the page uses, by their files in npm's packages.
var vendored = []struct{ module, file, as string }{
	{"preact", "dist/preact.mjs", "preact.js"},
	{"preact", "hooks/dist/hooks.mjs", "hooks.js"},
	{"htm", "dist/htm.mjs", "htm.js"},
	{"lean-qr", "nano.mjs", "lean-qr.js"},
}

const modules = "../testdata/node/node_modules"

var sourceMap = regexp.MustCompile(`\n?//# sourceMappingURL=.*\s*$`)

// record says where a file is from.
type record struct {
	File      string `json:"file"`
	Package   string `json:"package"`
	Version   string `json:"version"`
	Licence   string `json:"licence"`
	From      string `json:"from"`
	Integrity string `json:"integrity"` // of npm's archive
	SHA256    string `json:"sha256"`    // of the file here
}

func TestLibrariesAreThoseOfNPM(t *testing.T) {
	var lock struct {
		Packages map[string]struct{ Integrity string }
	}
	readJSON(t, "../testdata/node/package-lock.json", &lock)
	want := map[string]string{}
	var records []record
	var licences strings.Builder
	for _, v := range vendored {
		var p struct{ Version, License string }
		readJSON(t, filepath.Join(modules, v.module, "package.json"), &p)
		// A page without an import map has no bare names. That is all that is changed.
		text := strings.Replace(read(t, filepath.Join(modules, v.module, v.file)), `from"preact"`, `from"./preact.js"`, 1)
		want[v.as] = sourceMap.ReplaceAllString(text, "\n")
		sum := sha256.Sum256([]byte(want[v.as]))
		records = append(records, record{v.as, v.module, p.Version, p.License, v.file, lock.Packages["node_modules/"+v.module].Integrity, hex.EncodeToString(sum[:])})
		if head := fmt.Sprintf("== %s %s, %s\n\n", v.module, p.Version, p.License); !strings.Contains(licences.String(), head) {
			licences.WriteString(head + strings.TrimSpace(read(t, filepath.Join(modules, v.module, "LICENSE"))) + "\n\n")
		}
	}
	versions, err := json.MarshalIndent(records, "", "  ")
	require.NoError(t, err)
	want["versions.json"], want["LICENSES.txt"] = string(versions)+"\n", licences.String()
	for name, text := range want {
		file := filepath.Join("web/vendor", name)
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		}
		assert.True(t, text == read(t, file), "%s is not npm's: go test ./console -run NPM -update", file)
	}
	there, err := os.ReadDir("web/vendor")
	require.NoError(t, err)
	assert.Len(t, there, len(want))
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(read(t, file)), v), file)
}
