package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/device"
)

const keyOfTheVectors = "319155101a72601f8164b4cfe93c20a2"

func TestDeviceKey(t *testing.T) {
	code, out, _ := program(t, "device-key", "--secret-key", "correct horse battery staple")
	assert.Zero(t, code)
	assert.Regexp(t, "^"+keyOfTheVectors+`\nconst unsigned char device_key\[16\] PROGMEM = \{0x31, 0x91, .*, 0xa2\};\n$`, out)
	_, out, _ = program(t, "device-key", "--json", "--secret-key", "correct horse battery staple")
	assert.JSONEq(t, `{"device_key":"`+keyOfTheVectors+`"}`, out)
	code, _, err := program(t, "device-key")
	assert.Equal(t, exitUnreachable, code)
	assert.Contains(t, err, "no gateway runs")
}

func TestJoinOverUDP(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), slices.Clone(anyPort)...)
	udp := regexp.MustCompile(`(?m)^  UDP +(\S+)$`).FindStringSubmatch(s.banner)[1]
	bin := s.command().Path
	out := s.shell(bin + " join --udp=" + udp + " 5 2>&1")
	expect(t, out, "following channel 5 at udp "+udp)
	raw := s.shell(bin + " join --json --name lamp --udp=" + udp + " 5 2>&1")
	expect(t, raw, "following")
	for range s.shell(bin + " broadcast 5 'all your base'") {
	}
	expect(t, out, "all your base")
	expect(t, raw, `"channel":5,`)
	found := s.shell(bin + " join --udp --name found 5 2>&1")
	expect(t, found, "following channel 5 at udp "+udp+" as found (") // its port is not 3033
	for range s.shell(bin + " broadcast 5 --name kitchen 'dinner is ready'") {
	}
	expect(t, found, "#5 kitchen (") // frames have no names: it asks the gateway for them
	expect(t, raw, "dinner is ready")
	wrong := s.shell(bin + " join --udp=" + udp + " 5 --secret-key wrong 2>&1")
	expect(t, wrong, "no answer of "+udp+" over UDP yet: it does not run there, or has another secret key; trying on for 8s")
	expect(t, wrong, "does not answer over UDP")
	expect(t, s.shell(bin+" join --udp="+udp+" 0 2>&1"), "a channel must be")
	expect(t, s.shell(bin+" join --name 'not a name' --udp="+udp+" 5 2>&1"), "malformed")
	s.end(syscall.SIGTERM)
}

// Where devices need keys of their own, a person is one with the key of a name.
func TestJoinWithAnOwnKey(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--wire-device-keys", "required")...)
	udp := regexp.MustCompile(`(?m)^  UDP +(\S+)$`).FindStringSubmatch(s.banner)[1]
	program := s.command().Path
	expect(t, s.shell(program+" join --name lamp --udp 5 2>&1"), "key of its own, or every device needs one (error 9): give it by --device-key-file")
	out := s.shell(program + " device key lamp | " + program + " join --name lamp --device-key-file - --udp=" + udp + " 5")
	expect(t, out, "following channel 5 at udp "+udp)
	require.Zero(t, s.run("", "broadcast", "5", "all your base").code)
	expect(t, out, "all your base")
	for args, want := range map[string]string{
		"join 5 --udp --device-key-file -":             "--device-key-file needs --name",
		"join 5 --udp --device-key-file - --name lamp": "must have 32 hexadecimal digits",
		"join 5 --device-key-file - --name lamp":       "--device-key-file is for --udp",
	} {
		got := s.run("abc\n", strings.Fields(args)...)
		assert.Equal(t, exitUsage, got.code, args)
		assert.Contains(t, got.err, want, args)
	}
}

func TestWhatADeviceHearsIsShown(t *testing.T) {
	for want, m := range map[string]device.Message{
		`"text"`:      {Hint: device.Text, Data: []byte("text")},
		`{"on":true}`: {Hint: device.JSON, Data: []byte(`{"on":true}`)},
		`"{"`:         {Hint: device.JSON, Data: []byte(`{`)},
		`"/w=="`:      {Data: []byte{255}},
	} {
		b, err := json.Marshal(shown(m, "", time.Unix(0, 0)))
		require.NoError(t, err)
		assert.Contains(t, string(b), `"message":`+want)
	}
}
