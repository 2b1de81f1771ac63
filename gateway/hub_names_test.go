package gateway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// Names of one protocol stand in its own package only.
func TestTheHubKnowsNoProtocol(t *testing.T) {
	t.Parallel()
	assert.Less(t, reflect.TypeFor[*bridge.Hub]().NumMethod(), 40, "what not every protocol does goes into a part of the hub (bridge/views.go)")

	protocol := regexp.MustCompile(`HTTP|Web|MQTT|UDP|TCP|Wire|Basic|Session|Frame|Callback`)
	files, err := filepath.Glob("../bridge/*.go")
	require.NoError(t, err)
	names := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
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
	}
	assert.Greater(t, names, 200)
}
