package gateway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// What is special to one protocol stands in its own package.
func TestTheHubKnowsNoProtocol(t *testing.T) {
	assert.Less(t, reflect.TypeFor[*bridge.Hub]().NumMethod(), 40, "what not every protocol does goes into a part of the hub (bridge/views.go)")

	protocol := regexp.MustCompile(`HTTP|Web|MQTT|UDP|TCP|Wire|Basic|Session|Frame|Callback`)
	files, err := parser.ParseDir(token.NewFileSet(), "../bridge", func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0)
	require.NoError(t, err)
	names := 0
	ast.Inspect(files["bridge"], func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt:
			return false
		case *ast.Ident:
			if n.IsExported() {
				names++
				assert.NotRegexp(t, protocol, n.Name, "an exported name with a protocol in it")
			}
		}
		return true
	})
	assert.Greater(t, names, 200)
}
