package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// A channel may be a device of its own in Home Assistant only if Home Assistant sees it.
func TestAChannelThatIsADevice(t *testing.T) {
	load := func(yaml string) (config.Config, error) {
		file := filepath.Join(t.TempDir(), "w.yaml")
		require.NoError(t, os.WriteFile(file, []byte(yaml), 0o600))
		c, _, err := config.Load(nil, []string{"HOME=/"}, file)
		return c, err
	}
	c, err := load("channels: {5: {name: Watering, homeassistant: true, device: true}}")
	require.NoError(t, err)
	assert.Equal(t, config.Channel{Name: "Watering", HomeAssistant: true, Device: true}, c.Channels[5])
	_, err = load("channels: {5: {name: Watering, device: true}}")
	require.Error(t, err)
	assert.Contains(t, err.Error(), "channels.5.device")
	assert.Contains(t, err.Error(), "needs homeassistant: true")
}

// Channels may be a list too, as forms of other programs make it, and the file may be JSON.
func TestChannelsAsAList(t *testing.T) {
	load := func(text string) (config.Config, error) {
		file := filepath.Join(t.TempDir(), "options.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		c, _, err := config.Load(nil, []string{"HOME=/"}, file)
		return c, err
	}
	c, err := load("{\n  \"channels\": [\n    {\"channel\": 5, \"name\": \"Watering\", \"homeassistant\": true},\n    {\"channel\": 4294967295, \"name\": \"Last\"}\n  ],\n  \"log\": {\"level\": \"debug\"},\n  \"tls\": {}\n}\n")
	require.NoError(t, err)
	assert.Equal(t, map[uint32]config.Channel{5: {Name: "Watering", HomeAssistant: true}, 4294967295: {Name: "Last"}}, c.Channels)
	assert.Equal(t, "debug", c.Log.Level)
	c, err = load("{}")
	require.NoError(t, err)
	assert.Empty(t, c.Channels)

	for text, fault := range map[string]string{
		`{"channels": [{"name": "x"}]}`:                                            "channels.channel: is missing",
		`{"channels": [{"channel": 0, "name": "x"}]}`:                              "channels.channel: ",
		`{"channels": [{"channel": 5}]}`:                                           "channels.5.name: is missing",
		`{"channels": [{"channel": 5, "name": "x"}, {"channel": 5, "name": "y"}]}`: "channels.5: is there twice",
		`{"channels": [{"channel": 5, "name": "x", "nam": "y"}]}`:                  "channels.5.nam: unknown key",
		`{"channels": ["five"]}`:                                                   "channels: must hold keys and values",
		`{"channels": {"5": {"channel": 5, "name": "x"}}}`:                         "channels",
	} {
		_, err := load(text)
		if assert.Error(t, err, text) {
			assert.Contains(t, err.Error(), fault, text)
		}
	}
}

// A channel may want more than one to say the same. It needs no name.
func TestAChannelThatWantsMoreThanOne(t *testing.T) {
	load := func(yaml string) (config.Config, error) {
		file := filepath.Join(t.TempDir(), "w.yaml")
		require.NoError(t, os.WriteFile(file, []byte(yaml), 0o600))
		c, _, err := config.Load(nil, []string{"HOME=/"}, file)
		return c, err
	}
	c, err := load("channels: {9: {name: launch, confirm: 2}, 10: {confirm: 255, within: 24h, unprotected: true}}")
	require.NoError(t, err)
	require.NoError(t, c.Validate())
	assert.Equal(t, map[uint32]config.Channel{
		9: {Name: "launch", Confirm: 2, Within: 30 * time.Second}, 10: {Confirm: 255, Within: 24 * time.Hour, Unprotected: true},
	}, c.Channels)
	again, err := load(string(c.YAML(true)))
	require.NoError(t, err)
	assert.Equal(t, c.Channels, again.Channels)

	for yaml, fault := range map[string]string{
		"{confirm: 1}":                            "channels.9.confirm: must be 2 to 255, is 1",
		"{confirm: 256}":                          "channels.9.confirm: must be 2 to 255, is 256",
		"{confirm: two}":                          "channels.9.confirm",
		"{name: x, within: 30s}":                  "channels.9.confirm: is missing",
		"{name: x, unprotected: true}":            "channels.9.confirm: is missing",
		"{confirm: 2, within: 999ms}":             "channels.9.within: must be 1s to 24h, is 999ms",
		"{confirm: 2, within: 25h}":               "channels.9.within: must be 1s to 24h, is 25h",
		"{within: 30s}":                           "channels.9.name: is missing",
		"{confirm: 2, homeassistant: true}":       "channels.9.name: is missing",
		"{name: x, confirm: 2, unprotectd: true}": "did you mean unprotected?",
	} {
		_, err := load("channels: {9: " + yaml + "}")
		require.Error(t, err, yaml)
		assert.Contains(t, err.Error(), fault)
	}
}
