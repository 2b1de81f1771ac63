package config_test

import (
	"os"
	"path/filepath"
	"testing"

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
