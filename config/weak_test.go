package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/config"
)

func TestWeakKeys(t *testing.T) {
	weak := func(key string) []config.Fault {
		c := config.Default()
		c.SecretKey = key
		return c.Weak()
	}
	for _, key := range []string{
		"x", "hunter22", "elevenchars", "ääääää", "password1234", "Watchtower-2026", "passwordpassword", "secret-secret!",
		"123456789012", "0123456789012", "aaaaaaaaaaaaaaa", "abcabcabcabc", "correct horse battery staple", "P A S S W O R D 1",
		"homeassistant", "0000000000000000",
	} {
		assert.NotEmpty(t, weak(key), key)
	}
	for _, key := range []string{
		"", "k3wq7zn2xv4b5tja6m2q", "correct horse battery", "key-8c1f0a77e2b94d60", "password hygiene matters", "längerer Schlüssel",
	} {
		assert.Empty(t, weak(key), key)
	}
	c := config.Default()
	assert.Empty(t, c.Weak())
	c.SecretKey, c.Wire.BasicKey, c.AdminKey = "short", "shorter", "k3wq7zn2xv4b5tja6m2q"
	found := c.Weak()
	assert.Len(t, found, 2)
	assert.Equal(t, "secret_key: has 5 characters: with fewer than 12 it can be guessed", found[0].Error())
	assert.Equal(t, "wire.basic_key", found[1].Path)
}
