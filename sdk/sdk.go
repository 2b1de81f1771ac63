// Package sdk has the programming interfaces for other languages that the gateway serves:
// the JavaScript module for pages, and its types. The Python module beside it is for people
// to copy. docs/sdk.md describes both.
package sdk

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"

	"watchtower/static"
)

//go:embed js
var files embed.FS

// Handlers returns what serves the module and its types, by path.
func Handlers() (map[string]http.Handler, error) {
	js, err := fs.Sub(files, "js")
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	served, err := static.New(js, nil)
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	return map[string]http.Handler{"/watchtower.js": served, "/watchtower.d.ts": served}, nil
}
