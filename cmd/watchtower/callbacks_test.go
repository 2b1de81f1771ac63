package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// nodeCallback writes the server of the page for web developers into a file, which listens at an
// address and calls a gateway.
func nodeCallback(t *testing.T, gateway, address string) (file string) {
	for _, page := range pages(t) {
		for _, f := range page.fences {
			if page.path != "docs/for-web-developers.md" || fileOf(f) != "callback.mjs" {
				continue
			}
			code := f.code
			_, port, _ := strings.Cut(address, ":")
			for from, to := range map[string]string{"http://localhost:8080": gateway, "listen(9000,": "listen(" + port + ",", "127.0.0.1:9000": address} {
				require.Equal(t, 1, strings.Count(code, from), from)
				code = strings.Replace(code, from, to, 1)
			}
			file = filepath.Join(t.TempDir(), "callback.mjs")
			require.NoError(t, os.WriteFile(file, []byte(code), 0o600))
		}
	}
	require.NotEmpty(t, file)
	return file
}

// The receivers of callbacks in the pages print what is said, believe only the gateway, and leave
// the channel when they are stopped, also after they were stopped before.
func TestReceiversOfCallbacksLeave(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--allow-callbacks", "127.0.0.1")...)
	gateway, key := s.file("gateway.url"), s.file("secret.key")
	for name, start := range map[string]func(address string) string{
		"node-callback": func(address string) string {
			return "export WATCHTOWER_SECRET_KEY=" + key + "; exec node " + nodeCallback(t, gateway, address)
		},
		"callback-example": func(address string) string {
			return "exec " + harness.Program(t, "examples/callback") + " -gateway " + gateway + " -key " + key + " -listen " + address
		},
	} {
		address := harness.FreeAddress(t)
		for range 2 {
			receiver := s.shell("echo pid $$; " + start(address))
			pid := strings.TrimPrefix(<-receiver, "pid ")
			expect(t, receiver, "channel 5")
			require.Contains(t, s.run("", "members", "5").out, name)
			require.Zero(t, s.run("", "broadcast", "5", "to "+name).code)
			expect(t, receiver, "to "+name)

			forged, err := http.NewRequest("POST", "http://"+address+"/", strings.NewReader(`{"channel":5,"sender":1,"message":"forged"}`))
			require.NoError(t, err)
			forged.Close = true
			for _, header := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
				answer, err := http.DefaultClient.Do(forged)
				require.NoError(t, err)
				assert.NoError(t, answer.Body.Close())
				assert.Equal(t, http.StatusUnauthorized, answer.StatusCode, name)
				forged.Body, _ = forged.GetBody()
				forged.Header.Set(header, "v1,bm8=")
			}

			require.NotZero(t, pid)
			for range s.shell("kill -INT " + pid) {
			}
			for _, line := range all(receiver) {
				assert.NotContains(t, line, "forged", name)
			}
			assert.NotRegexp(t, regexp.QuoteMeta(name), s.run("", "members", "5").out, "it has left")
		}
	}
}
