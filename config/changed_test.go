package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/config"
)

func TestChanged(t *testing.T) {
	a, b := config.Default(), config.Default()
	a.Channels = map[uint32]config.Channel{5: {Name: "five"}, 6: {Name: "six"}}
	b.Channels = map[uint32]config.Channel{5: {Name: "five"}, 6: {Name: "Six"}, 7: {Name: "seven"}}
	a.Users = map[string]config.User{"same": {ACL: []config.Rule{{Access: "read", Topic: "x"}}}, "role": {}, "gone": {}}
	b.Users = map[string]config.User{"same": {ACL: []config.Rule{{Access: "read", Topic: "x"}}}, "role": {Role: "look"}}
	b.Log.Level, b.Callbacks.Allow, b.SecretKey = "debug", []string{"a.lan"}, "hunter22"
	assert.Equal(t, []string{"secret_key", "callbacks.allow", "log.level", "channels.6", "channels.7", "users.gone", "users.role"}, config.Changed(&a, &b))
	assert.Empty(t, config.Changed(&b, &b))
}
