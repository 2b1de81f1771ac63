package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// leastKey is the fewest characters of a key that causes no warning.
const leastKey = 12

// commonKeys are words that attackers try first. They are in small letters and have only
// letters: weakKey removes everything else from a key before it compares.
var commonKeys = []string{
	"abc", "abcdefghijkl", "abcdefghijklmnopqrstuvwxyz", "admin", "administrator", "arduino", "changeme", "changethis",
	"correcthorsebatterystaple", "default", "device", "esp", "espressif", "gateway", "guest", "hello", "helloworld",
	"homeassistant", "hunter", "iloveyou", "internetofthings", "key", "letmein", "login", "master", "mosquitto", "mqtt",
	"mykey", "mypassword", "mysecret", "mysecretkey", "nopassword", "passphrase", "password", "passwort", "public",
	"qwerty", "qwertyuiop", "qwertyuiopasdf", "raspberry", "raspberrypi", "root", "secret", "secretkey", "supersecret",
	"supersecretkey", "supersecretpassword", "test", "testkey", "testpassword", "testtest", "thisisasecret", "topsecret",
	"user", "watchtower", "watchtowerkey", "watchtowersecret", "welcome", "yoursecretkey",
}

// weakKey returns an error that says why a key is easy to guess, or nil. An empty key
// means that there is no key: it is not weak.
func weakKey(key string) error {
	n := utf8.RuneCountInString(key)
	switch {
	case key == "":
		return nil
	case n < leastKey:
		return fmt.Errorf("has %d characters: with fewer than %d it can be guessed", n, leastKey)
	case strings.HasPrefix(strings.Repeat("1234567890", 26), key), strings.HasPrefix(strings.Repeat("0123456789", 26), key):
		return errors.New("is a row of digits: it is among those that are tried first")
	case repeats(key):
		return errors.New("repeats itself: it is among those that are tried first")
	}
	word := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, key)
	if slices.Contains(commonKeys, word) && n-utf8.RuneCountInString(word) < leastKey || slices.Contains(commonKeys, half(word)) {
		return errors.New("is a common word: it is among those that are tried first")
	}
	return nil
}

// repeats reports whether a key is a shorter text repeated, fewer than leastKey bytes
// and at most half of the key.
func repeats(key string) bool {
	for n := 1; n <= min(len(key)/2, leastKey-1); n++ {
		if strings.HasPrefix(strings.Repeat(key[:n], len(key)/n+1), key) {
			return true
		}
	}
	return false
}

// half returns the first half of a word whose two halves are equal, else "".
func half(word string) string {
	if h := word[:len(word)/2]; h+h == word {
		return h
	}
	return ""
}

// Weak lists the keys of a configuration that are easy to guess. They are warnings and
// not errors: the owner may have chosen them on purpose.
func (c Config) Weak() (weak []Fault) {
	for _, k := range []struct{ path, key string }{{"secret_key", c.SecretKey}, {"wire.basic_key", c.Wire.BasicKey}, {"admin_key", c.AdminKey}} {
		if err := weakKey(k.key); err != nil {
			weak = append(weak, Fault{Path: k.path, Problem: err.Error()})
		}
	}
	return weak
}
