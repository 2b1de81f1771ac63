package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const withoutRoots = "WATCHTOWER_TEST_WITHOUT_ROOTS"

// Where the system has no authorities, as in a container, the program has its own.
func TestAuthoritiesWithoutThoseOfTheSystem(t *testing.T) {
	if os.Getenv(withoutRoots) == "" {
		self, err := os.Executable()
		require.NoError(t, err)
		again := exec.Command(self, "-test.run", "^"+t.Name()+"$")
		again.Env = append(os.Environ(), withoutRoots+"=yes", "SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR=/nowhere")
		out, err := again.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	tried := 0
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		require.NoError(t, err)
		_, err = certificate.Verify(x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		require.NoError(t, err, certificate.Subject)
		if tried++; tried == 3 {
			break
		}
	}
	assert.Equal(t, 3, tried)
}
