package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/gateway"
)

var oddWords = []string{"plain", "/a/b-c_1.2", "with space", "it's", `back\slash`, `"double"`, "$HOME", "`id`", "a!b", "*", "~", "", "ü", "new\nline", "'", "!!", "#", "a;b", "[::1]"}

func TestShellQuote(t *testing.T) {
	for _, shell := range []string{"sh", "bash"} {
		for _, word := range oddWords {
			out, err := exec.Command(shell, "-c", "printf %s "+shellQuote(word)).CombinedOutput()
			require.NoError(t, err)
			assert.Equal(t, word, string(out))
			out, err = exec.Command(shell, "-c", `printf %s "$(printf '%s.' `+shellQuote(word)+`)"`).CombinedOutput()
			require.NoError(t, err)
			assert.Equal(t, word+".", string(out), "inside of a substitution")
		}
	}
	assert.Equal(t, "/a/b-c_1.2", shellQuote("/a/b-c_1.2"), "what needs no quotes has none")
}

// The programs that the banner calls, told to print what they were given.
const (
	fakeMosquitto = `#!/bin/sh
for a; do printf '<%s>' "$a"; done`
	fakeProgram = `#!/bin/sh
case "$1" in
secret-key) cat "$3/gateway.key" ;;
*) for a; do printf '<%s>' "$a"; done ;;
esac`
	fakeCurl = `#!/bin/sh
case "$*" in
*register*) printf '%s\n' "$4" >"$(dirname "$0")/body"; printf '{"id":4294967295,"token":"wt_\\"id\\":1"}' ;;
*) for a; do printf '<%s>' "$a"; done ;;
esac`
)

func TestCommandsWorkWhenCopied(t *testing.T) {
	for _, key := range []string{"abc", `k"e\y $(id) 'q' !`, ""} {
		for _, odd := range []string{"plain", "it's an odd $dir!"} {
			root := t.TempDir()
			dir := filepath.Join(root, odd)
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, runningKeyFile), []byte(key), 0o600))
			bin := filepath.Join(root, "bin")
			require.NoError(t, os.Mkdir(bin, 0o700))
			for name, script := range map[string]string{"curl": fakeCurl, "mosquitto_sub": fakeMosquitto, "my program": fakeProgram} {
				require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700))
			}
			b := banner{
				at: listening("http", "[::]:9000", "mqtt", "127.0.0.1:1884"), dataDir: dir, key: key,
				baseTopic: "my home's/wt", program: shellQuote(filepath.Join(bin, "my program")),
			}
			shell := func(command string) string {
				cmd := exec.Command("sh", "-c", command)
				cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s: %s", command, out)
				return string(out)
			}
			try := b.try()
			require.Len(t, try, 3)
			login := ""
			body := `{}`
			if key != "" {
				login = "<-u><watchtower><-P><" + key + ">"
				body = `{"secret_key":"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"}`
			}
			assert.Equal(t, "<-h><127.0.0.1><-p><1884>"+login+"<-v><-t><my home's/wt/channels/5/#>", shell(try[0]))
			assert.Equal(t, "<-N><http://localhost:9000/channels/join?channels=5&sender=4294967295>", shell(try[1]))
			sent, err := os.ReadFile(filepath.Join(bin, "body"))
			require.NoError(t, err)
			assert.Equal(t, body+"\n", string(sent))
			assert.Equal(t, "<broadcast><--data-dir><"+dir+"><5><hello>", shell(try[2]))
			for _, command := range try {
				assert.NotContains(t, command, "\n")
			}
		}
	}
}

// listening is a gateway's ports, by key and address.
func listening(at ...string) (all gateway.Listening) {
	for i := 0; i < len(at); i += 2 {
		p := gateway.Port{Key: at[i], Name: strings.ToUpper(at[i]), URL: at[i] == "http" || at[i] == "mqtt"}
		all = append(all, gateway.Bound{Port: p, Flag: at[i], Address: at[i+1]})
	}
	return all
}

func TestBanner(t *testing.T) {
	b := banner{
		at:    listening("http", "[::]:8080", "mqtt", "0.0.0.0:1883", "udp", "192.168.1.5:3033", "tcp", "[::1]:3033"),
		hosts: []string{"attic.local", "192.168.1.5"}, name: "attic", dataDir: "/d", key: "abc", generated: true, admin: "xyz", adminNew: true, console: true, baseTopic: "watchtower", program: "watchtower", findsDir: true,
	}
	var out bytes.Buffer
	require.NoError(t, b.write(&out))
	assert.Equal(t, `Watchtower gateway attic

  HTTP            http://localhost:8080
  MQTT            mqtt://localhost:1883
  UDP             192.168.1.5:3033
  TCP             [::1]:3033
  other devices   write this for localhost: attic.local, 192.168.1.5
  console         http://localhost:8080/  (in a browser, with the admin key)
  listens for     the whole network; for this machine alone: --http 127.0.0.1:8080 --mqtt 127.0.0.1:1883
  data directory  /d
  secret key      abc  (generated; kept in /d/secret.key)
  admin key       xyz  (generated; kept in /d/admin.key)

Try, each in another terminal:

  mosquitto_sub -h localhost -p 1883 -u watchtower -P "$(watchtower secret-key)" -v -t 'watchtower/channels/5/#'
  curl -N "http://localhost:8080/channels/join?channels=5&sender=$(curl -s http://localhost:8080/register -d "{\"secret_key\":\"$(watchtower secret-key)\"}" | grep -o '"id":[0-9]*' | cut -d: -f2)"
  watchtower broadcast 5 "hello"

`, out.String())
}

func TestKeyIsShownOnlyWhenItIsNew(t *testing.T) {
	b := banner{dataDir: "/my dir", key: "hunter2", program: "watchtower"}
	assert.Equal(t, "not shown; to see it: watchtower secret-key --data-dir '/my dir'", b.keyRow())
	b.ownKey = true
	assert.Equal(t, "as configured (secret_key)", b.keyRow())
	b.key = ""
	assert.Contains(t, b.keyRow(), "open")
}

func TestWhatIsOffIsReplaced(t *testing.T) {
	b := banner{dataDir: "/d", baseTopic: "w", program: "watchtower", findsDir: true}
	assert.Empty(t, b.try())
	b.at = listening("mqtt", "[::]:1883")
	assert.Equal(t, []string{
		"mosquitto_sub -h localhost -p 1883 -v -t 'w/channels/5/#'",
		`mosquitto_pub -h localhost -p 1883 -t w/channels/5/broadcast -m "hello"`,
	}, b.try())
	b.at = listening("http", "[::]:80")
	try := b.try()
	require.Len(t, try, 3)
	assert.Equal(t, "watchtower join 5", try[0])
	assert.Equal(t, `watchtower broadcast 5 "hello"`, try[2])
}
