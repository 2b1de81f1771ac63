package gateway_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
)

// shownSetting is a setting as GET /operator/settings shows it.
type shownSetting struct {
	Name, From, Default, Help string
	Value                     *string
	Line                      int
	Secret, Needs_Restart     bool
	Set                       *bool
}

// Each setting is shown with where its value comes from, before and after a reload.
func TestSettingsAreShown(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("history:\n  messages: 7\nlog:\n  level: debug\n")
	environ := []string{
		"WATCHTOWER_SECRET_KEY=" + key, "WATCHTOWER_ADMIN_KEY=" + adminKey, "WATCHTOWER_DATA_DIR=" + t.TempDir(), "WATCHTOWER_HTTP_LISTEN=127.0.0.1:0",
		"WATCHTOWER_UDP_LISTEN=", "WATCHTOWER_TCP_LISTEN=", "WATCHTOWER_MQTT_LISTEN=",
	}
	read := func() (config.Config, error) {
		c, _, err := config.Load(nil, environ, file)
		return c, err
	}
	cfg, err := read()
	require.NoError(t, err)
	r := startWithOptions(t, cfg, []gateway.Option{gateway.From(read)})
	token := r.asAdmin()
	all := func() map[string]shownSetting {
		status, answer := r.operate(token, "GET /operator/settings", "")
		require.Equal(t, 200, status)
		assert.NotContains(t, answer, key)
		assert.NotContains(t, answer, adminKey)
		var got struct {
			Settings []shownSetting
			File     string
		}
		require.NoError(t, json.Unmarshal([]byte(answer), &got))
		assert.Equal(t, file, got.File)
		list := map[string]shownSetting{}
		for _, s := range got.Settings {
			list[s.Name] = s
		}
		assert.Len(t, list, len(config.Settings()))
		return list
	}
	before := all()
	messages := before["history.messages"]
	assert.Equal(t, []any{"7", "file", 2, "100", true}, []any{*messages.Value, messages.From, messages.Line, messages.Default, messages.Needs_Restart})
	assert.Equal(t, "environment", before["http.listen"].From)
	assert.Equal(t, "default", before["mqtt.base_topic"].From)
	assert.Equal(t, "watchtower", *before["mqtt.base_topic"].Value)
	level := before["log.level"]
	assert.Equal(t, []any{"debug", "file", 4, false}, []any{*level.Value, level.From, level.Line, level.Needs_Restart})
	assert.Nil(t, before["secret_key"].Value)
	assert.True(t, before["secret_key"].Secret)
	assert.True(t, *before["secret_key"].Set)
	assert.False(t, *before["wire.basic_key"].Set)

	write("history:\n  messages: 9\n")
	status, answer := r.operate(token, "POST /operator/reload", "")
	require.Equal(t, 200, status, answer)
	after := all()
	assert.Equal(t, "7", *after["history.messages"].Value, "what is in force")
	assert.Equal(t, "default", after["log.level"].From)
}

func TestTheDeviceKeyIsShown(t *testing.T) {
	t.Parallel()
	r := startWith(t, office(t))
	status, answer := r.operate(r.asAdmin(), "GET /operator/device-key?name=lamp", "")
	require.Equal(t, 200, status, answer)
	k := deviceKey(key)
	assert.JSONEq(t, fmt.Sprintf(`{"name":"lamp","hex":"%x","c":%q}`, k[:], k.C()), answer)
	assert.Contains(t, answer, "const unsigned char device_key[16] PROGMEM = {0x")
	assert.Contains(t, r.log.String(), "operator was shown the device key")
	assert.NotContains(t, r.log.String(), k.Hex())
}
