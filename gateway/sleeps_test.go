package gateway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Tests wait for conditions, and not for time. Five may sleep: what they look at has the
// second as its unit, or nothing happens in it. Loops that look again and again do not
// count, nor do tests whose time is synctest's.
func TestFewTestsSleep(t *testing.T) {
	t.Parallel()
	files, sleeps := token.NewFileSet(), []string{}
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "node_modules":
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			if i.Path.Value == `"testing/synctest"` {
				return nil
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ForStmt, *ast.RangeStmt:
				return false
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Sleep" {
					sleeps = append(sleeps, files.Position(n.Pos()).String())
				}
			}
			return true
		})
		return nil
	}))
	assert.LessOrEqual(t, len(sleeps), 5, strings.Join(sleeps, "\n"))
}
