//go:build !race

// With the race detector a password takes seconds.

package main

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"watchtower/internal/harness"
)

func TestPasswd(t *testing.T) {
	for in, wrong := range map[string]string{
		"open sesame\n":                "",
		"no line break":                "",
		"windows\r\n":                  "",
		strings.Repeat("x", 72) + "\n": "",
		"\n":                           "the password is empty",
		"":                             "the password is empty",
		strings.Repeat("x", 73) + "\n": "has 73 bytes, at most 72",
		strings.Repeat("x", 1<<17):     "at most 72",
		"first line\nsecond line\n":    "",
		"  blanks are part of it   \n": "",
		"pässwörd with a snowman: ☃\n": "",
	} {
		var out, errOut bytes.Buffer
		code := run([]string{"passwd"}, surroundings{in: strings.NewReader(in), out: &out, err: &errOut})
		if wrong != "" {
			assert.Equal(t, exitError, code)
			assert.Contains(t, errOut.String(), wrong)
			assert.Empty(t, out.String())
			continue
		}
		require.Equal(t, 0, code, errOut.String())
		hash, ended := strings.CutSuffix(out.String(), "\n")
		require.True(t, ended)
		line, _, _ := strings.Cut(in, "\n")
		require.NoError(t, bcrypt.CompareHashAndPassword([]byte(hash), []byte(strings.TrimRight(line, "\r"))), "%q", in)
	}
}

// At a terminal, which script(1) makes, the password is asked for twice and not
// shown.
func TestPasswdAtATerminal(t *testing.T) {
	path := harness.Program(t, "cmd/watchtower")
	for again, want := range map[string]string{"hunter2": "$2a$", "hunter3": "the two passwords differ"} {
		cmd := exec.Command("script", "-qec", path+" passwd", "/dev/null")
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var shown strings.Builder
		answers := map[string]string{"Password: ": "hunter2\n", "Again: ": again + "\n"}
		for r := bufio.NewReader(out); ; {
			b, err := r.ReadByte()
			if err != nil {
				break
			}
			shown.WriteByte(b)
			for prompt, answer := range answers {
				if strings.HasSuffix(shown.String(), prompt) {
					_, err := in.Write([]byte(answer))
					require.NoError(t, err)
				}
			}
		}
		err = cmd.Wait()
		assert.Equal(t, again == "hunter2", err == nil, shown.String())
		assert.Contains(t, shown.String(), want)
		assert.NotContains(t, shown.String(), "hunter")
	}
}
