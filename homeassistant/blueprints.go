package homeassistant

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"

	"watchtower/static"
)

//go:embed blueprints
var files embed.FS

// Handlers returns what serves the blueprints, which Home Assistant imports by their address,
// by path.
func Handlers() (map[string]http.Handler, error) {
	blueprints, err := fs.Sub(files, "blueprints")
	if err != nil {
		return nil, fmt.Errorf("homeassistant: %w", err)
	}
	served, err := static.New(blueprints, nil)
	if err != nil {
		return nil, fmt.Errorf("homeassistant: %w", err)
	}
	return map[string]http.Handler{"/homeassistant/alarm_when_two_agree.yaml": http.StripPrefix("/homeassistant", served)}, nil
}
