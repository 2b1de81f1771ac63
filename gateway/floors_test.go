//go:build !race

package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// floors are the packages whose package comment lists their files from top to bottom: a file
// uses what is declared below it. An arrow goes from a file to another whose function, type, constant,
// variable or method it uses. At most so many arrows may climb.
var floors = map[string]int{"callback": 8, "http": 14, "mqtt": 14}

var listedFile = regexp.MustCompile(`(?m)^//\t(\w+\.go)\s`)

func TestFilesStandInFloors(t *testing.T) {
	t.Parallel()
	for name, most := range floors {
		p, exports := listPackage(t, name)
		doc, err := os.ReadFile(filepath.Join(p.Dir, "doc.go"))
		require.NoError(t, err)
		floor := map[string]int{}
		for i, m := range listedFile.FindAllStringSubmatch(string(doc), -1) {
			floor[m[1]] = i
		}
		for _, f := range p.GoFiles {
			assert.True(t, f == "doc.go" || has(floor, f), "%s/doc.go does not list %s", name, f)
		}
		var climb []string
		for a, names := range arrows(t, p, exports) {
			if has(floor, a.from) && has(floor, a.to) && floor[a.from] > floor[a.to] {
				climb = append(climb, fmt.Sprintf("%s uses %v of %s", a.from, names, a.to))
			}
		}
		slices.Sort(climb)
		assert.LessOrEqual(t, len(climb), most, "%s: %q", name, climb)
		t.Logf("%s: %d arrows climb", name, len(climb))
	}
}

func has[V any](m map[string]V, key string) bool { _, ok := m[key]; return ok }

type goPackage struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// listPackage returns a package of ours, and the files with what each of those that it needs exports.
func listPackage(t *testing.T, name string) (p goPackage, exports map[string]string) {
	out, err := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles", "../"+name).Output()
	require.NoError(t, err)
	exports = map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		p = goPackage{}
		require.NoError(t, d.Decode(&p))
		exports[p.ImportPath] = p.Export
	}
	return p, exports // it comes after what it needs
}

type arrow struct{ from, to string }

// arrows returns which file uses what of which other file.
func arrows(t *testing.T, p goPackage, exports map[string]string) map[arrow][]string {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, f := range p.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, f), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	this, err := (&types.Config{Importer: importer.ForCompiler(fset, "gc", open)}).Check(p.ImportPath, fset, files, info)
	require.NoError(t, err)
	all := map[arrow][]string{}
	for ident, o := range info.Uses {
		if f, ok := o.(*types.Func); ok {
			o = f.Origin()
		} else if o.Parent() != this.Scope() {
			continue // a field, a local name, another package's
		}
		if o.Pkg() != this {
			continue
		}
		a := arrow{filepath.Base(fset.Position(ident.Pos()).Filename), filepath.Base(fset.Position(o.Pos()).Filename)}
		if a.from != a.to && !slices.Contains(all[a], o.Name()) {
			all[a] = append(all[a], o.Name())
		}
	}
	return all
}
