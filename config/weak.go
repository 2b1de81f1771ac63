package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// leastKey is how many characters a key has that draws no warning.
const leastKey = 12

// commonKeys are words that are tried first, in small letters, without what stands
// around and between them.
var commonKeys = []string{
	"abc", "abcdefghijkl", "abcdefghijklmnopqrstuvwxyz", "admin", "administrator", "arduino", "changeme", "changethis",
	"correcthorsebatterystaple", "default", "device", "esp", "espressif", "gateway", "guest", "hello", "helloworld",
	"homeassistant", "hunter", "iloveyou", "internetofthings", "key", "letmein", "login", "master", "mosquitto", "mqtt",
	"mykey", "mypassword", "mysecret", "mysecretkey", "nopassword", "passphrase", "password", "passwort", "public",
	"qwerty", "qwertyuiop", "qwertyuiopasdf", "raspberry", "raspberrypi", "root", "secret", "secretkey", "supersecret",
	"supersecretkey", "supersecretpassword", "test", "testkey", "testpassword", "testtest", "thisisasecret", "topsecret",
	"user", "watchtower", "watchtowerkey", "watchtowersecret", "welcome", "yoursecretkey",
}

// weakKey says why a key is easy to guess, or nil. A key that is empty is none.
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

// repeats reports whether a key is a shorter one, up to half of it, again and again.
func repeats(key string) bool {
	for n := 1; n <= min(len(key)/2, leastKey-1); n++ {
		if strings.HasPrefix(strings.Repeat(key[:n], len(key)/n+1), key) {
			return true
		}
	}
	return false
}

// half is the word that stands twice, or "".
func half(word string) string {
	if h := word[:len(word)/2]; h+h == word {
		return h
	}
	return ""
}

// Weak lists the keys of a configuration that are easy to guess. They are no
// faults: who has them may know what he does.
func (c Config) Weak() (weak []Fault) {
	for _, k := range []struct{ path, key string }{{"secret_key", c.SecretKey}, {"wire.basic_key", c.Wire.BasicKey}, {"admin_key", c.AdminKey}} {
		if err := weakKey(k.key); err != nil {
			weak = append(weak, Fault{Path: k.path, Problem: err.Error()})
		}
	}
	return weak
}
