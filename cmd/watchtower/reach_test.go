package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheEnvironmentSaysWhereTheGatewayIs(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.environ = append(p.environ, "WATCHTOWER_URL="+f.URL, "WATCHTOWER_SECRET_KEY=key", "WATCHTOWER_NAME=lamp")
	code, out, errText := p.run("register")
	require.Zero(t, code, errText)
	assert.Contains(t, out, "name  lamp\n")
	code, _, errText = p.run("register", "--url", "http://127.0.0.1:1")
	assert.Equal(t, exitUnreachable, code)
	assert.Contains(t, errText, "http://127.0.0.1:1 does not answer", "a flag counts for more")
}

func TestHTTPSWithACertificateOfItsOwn(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	secure := httptest.NewUnstartedServer(f.Config.Handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, block, 0o600))
	channels := func(more ...string) (int, string) {
		code, _, errText := p.run(append([]string{"channels", "--secret-key", "key"}, more...)...)
		return code, errText
	}
	code, errText := channels("--url", secure.URL)
	assert.Equal(t, exitError, code)
	assert.Contains(t, errText, "has a certificate that is not trusted")
	assert.Contains(t, errText, "--cafile takes the gateway's own")
	code, errText = channels("--url", strings.Replace(f.URL, "http", "https", 1))
	assert.Equal(t, exitError, code)
	assert.Contains(t, errText, "speaks no TLS: give --url with http://")
	for _, how := range [][]string{{"--cafile", ca}, {"--insecure"}} {
		code, errText = channels(append(how, "--url", secure.URL)...)
		assert.Zero(t, code, "%s: %s", how, errText)
	}
	code, errText = channels("--url", strings.Replace(secure.URL, "https", "http", 1))
	assert.Equal(t, exitError, code)
	assert.Contains(t, errText, "this port speaks TLS: give --url with https://")
	require.NoError(t, os.WriteFile(ca, []byte("no certificate"), 0o600))
	code, errText = channels("--url", secure.URL, "--cafile", ca)
	assert.Equal(t, exitError, code)
	assert.Contains(t, errText, "holds no certificate in PEM")
}

func TestAnAnswerThatDoesNotArriveIsAnError(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	for _, args := range [][]string{{"version"}, {"--help"}, {"broadcast", "5", "x"}, {"register"}} {
		var errText strings.Builder
		code := run(args, surroundings{in: strings.NewReader(""), out: full, err: &errText, environ: p.environ})
		assert.Equal(t, exitError, code, args)
		assert.Contains(t, errText.String(), "no space left on device", args)
	}
}

func TestNothingIsSaidOfATerminalThatIsNone(t *testing.T) {
	code, _, errText := program(t, "broadcast", "5") // standard input is /dev/null
	assert.Equal(t, exitUsage, code)
	assert.NotContains(t, errText, "terminal")
}

// Who does not find the gateway is told of the service's directory, but only where there is a
// service, and no other directory was named.
func TestTheServiceIsNamedWhereThereIsOne(t *testing.T) {
	p := newPlace(t)
	p.environ = []string{"HOME=" + p.dir}
	says := func(want string, args ...string) {
		t.Helper()
		code, _, err := p.run(args...)
		assert.Equal(t, exitUnreachable, code)
		assert.Contains(t, err, want)
		assert.Equal(t, want != "start one (watchtower serve)", strings.Contains(err, "/srv/state"), err)
	}
	const start = "start one (watchtower serve)"
	says(start, "health")
	p.service = "/srv/state"
	says("That of the service is /srv/state: sudo -u watchtower watchtower … --data-dir /srv/state", "health")
	says("That of the service is /srv/state", "members", "5")
	says(start, "health", "--data-dir", p.dir)
	p.environ = append(p.environ, "WATCHTOWER_DATA_DIR="+p.dir)
	says(start, "health")

	code, out, err := newPlace(t).run("health", "--url", "127.0.0.1:1")
	assert.Equal(t, exitUnreachable, code, out)
	assert.NotContains(t, err, "data")
}

// A directory of another user is no riddle.
func TestADirectoryOfAnotherUser(t *testing.T) {
	err := newClient(newPlace(t).surroundings).noLocal("/srv", &os.PathError{Op: "open", Path: "/srv/gateway.url", Err: os.ErrPermission})
	assert.ErrorContains(t, err, "open /srv/gateway.url: permission denied: ask as the user whose directory it is (sudo -u), or give --url")
}
