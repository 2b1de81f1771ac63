package packaging

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// house is what Home Assistant documents of add-ons. A key's rule is a kind of value, a pattern,
// or the list of allowed values.
type house struct {
	Required   []string
	Keys       map[string]any
	Mounts     []string
	Port       string
	Element    string // of a schema
	Supervisor string // its address
}

// addOn is the add-on's configuration.
type addOn struct {
	Version, Watchdog string
	Arch              []string
	IngressPort       int `yaml:"ingress_port"`
	Ports             map[string]any
	Map               []struct{ Type string }
	Environment       map[string]string
	Options, Schema   map[string]any
}

func read[T any](t *testing.T, file string) (v T) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	if strings.HasSuffix(file, ".json") {
		require.NoError(t, json.Unmarshal(b, &v))
	} else {
		require.NoError(t, yaml.Unmarshal(b, &v))
	}
	return v
}

// fits reports whether a value is of a kind, fits a pattern, or is one of a list.
func fits(rule, value any) bool {
	if allowed, ok := rule.([]any); ok {
		values, many := value.([]any)
		if !many {
			values = []any{value}
		}
		for _, v := range values {
			if !slices.Contains(allowed, v) {
				return false
			}
		}
		return true
	}
	text, isText := value.(string)
	switch rule {
	case "string":
		return isText && text != ""
	case "boolean":
		_, ok := value.(bool)
		return ok
	case "integer":
		_, ok := value.(uint64)
		return ok
	case "list", "mounts":
		_, ok := value.([]any)
		return ok
	case "map", "ports", "strings":
		_, ok := value.(map[string]any)
		return ok
	}
	return isText && regexp.MustCompile(rule.(string)).MatchString(text)
}

// The add-on's configuration has the keys that Home Assistant documents, with values that it
// takes.
func TestTheAddOnIsAsHomeAssistantDocuments(t *testing.T) {
	t.Parallel()
	h := read[house](t, "testdata/homeassistant.json")
	keys := read[map[string]any](t, "homeassistant/config.yaml")
	for _, key := range h.Required {
		assert.Contains(t, keys, key)
	}
	for key, value := range keys {
		rule, known := h.Keys[key]
		if assert.True(t, known, "Home Assistant has no key %s", key) {
			assert.True(t, fits(rule, value), "%s: %v", key, value)
		}
	}
	a := read[addOn](t, "homeassistant/config.yaml")
	for port := range a.Ports {
		assert.Regexp(t, h.Port, port)
	}
	for _, m := range a.Map {
		assert.Contains(t, h.Mounts, m.Type)
	}
	assert.Equal(t, h.Supervisor, a.Environment["WATCHTOWER_HTTP_INGRESS"])
	assert.Contains(t, a.Ports, fmt.Sprintf("%d/tcp", a.IngressPort))
	elements(t, h.Element, "schema", a.Schema, 0)

	source, err := os.ReadFile("../gateway/announce.go")
	require.NoError(t, err)
	assert.Contains(t, string(source), fmt.Sprintf("const Version = %q", a.Version))
	docs, err := os.ReadFile("homeassistant/DOCS.md")
	require.NoError(t, err)
	assert.Contains(t, string(docs), "watchtower-"+a.Version+"-homeassistant.tar.gz")
}

// elements checks a schema's types, which may be nested two levels deep.
func elements(t *testing.T, pattern, path string, value any, depth int) {
	t.Helper()
	assert.LessOrEqual(t, depth, 3, path)
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			elements(t, pattern, path+"."+key, inner, depth+1)
		}
	case []any:
		require.Len(t, v, 1, path)
		_, list := v[0].([]any)
		assert.False(t, list, "%s: a list of lists", path)
		elements(t, pattern, path+"[]", v[0], depth)
	default:
		assert.Regexp(t, pattern, v, path)
	}
}

// Every option is a setting or a key of a channel, and the gateway takes the default ones. Every
// option and port has words for people.
func TestOptionsOfTheAddOnAreSettings(t *testing.T) {
	t.Parallel()
	a := read[addOn](t, "homeassistant/config.yaml")
	known := map[string]bool{"channels.channel": true, "channels.name": true, "channels.homeassistant": true, "channels.device": true, "channels.map": true}
	for _, s := range config.Settings() {
		known[s.Path] = true
	}
	words := read[struct {
		Configuration map[string]wording
		Network       map[string]string
	}](t, "homeassistant/translations/en.yaml")
	for option, schema := range a.Schema {
		areSettings(t, known, option, schema, words.Configuration[option])
	}
	for option := range a.Options {
		assert.Contains(t, a.Schema, option)
	}
	for port := range a.Ports {
		assert.NotEmpty(t, words.Network[port], port)
	}

	cfg := a.load(t)
	assert.Equal(t, config.Channel{Name: "Home", HomeAssistant: true}, cfg.Channels[5])
	assert.Equal(t, "/data", cfg.DataDir)
	assert.Empty(t, cfg.MQTT.Remote.URL)
}

// wording is what people read of an option, and of the options in it.
type wording struct {
	Name   string
	Fields map[string]wording
}

// areSettings checks the options of a schema. Those of a channel have their keys for words.
func areSettings(t *testing.T, known map[string]bool, path string, schema any, words wording) {
	t.Helper()
	if !strings.HasPrefix(path, "channels.") {
		assert.NotEmpty(t, words.Name, path)
	}
	if list, ok := schema.([]any); ok {
		schema = list[0]
	}
	nested, ok := schema.(map[string]any)
	if !ok {
		assert.True(t, known[path], "%s is no setting", path)
	}
	for key, inner := range nested {
		areSettings(t, known, path+"."+key, inner, words.Fields[key])
	}
}

// load is what the gateway reads of the options.
func (a addOn) load(t *testing.T) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "options.json")
	b, err := json.Marshal(a.Options)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b, 0o600))
	var environ []string
	for name, value := range a.Environment {
		environ = append(environ, name+"="+value)
	}
	cfg, warnings, err := config.Load(nil, environ, file)
	require.NoError(t, err)
	assert.Empty(t, warnings)
	return cfg
}
