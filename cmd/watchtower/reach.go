package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/pflag"
)

// addReach defines the flags of every command that talks to a gateway.
func addReach(f *pflag.FlagSet) {
	f.String("url", "", "the gateway's URL (default: the one on this machine)")
	f.String("data-dir", "", "the data directory of the gateway on this machine")
	f.String("cafile", "", "file of certificates (PEM) to trust for https, as of a gateway that made its own")
	f.Bool("insecure", false, "take any certificate: whoever is on the way may read and change all")
	f.Bool("json", false, "print JSON")
}

// readFlags reads how to reach the gateway: from a command's flags, or else from the
// environment (config.ClientVariables).
func (c *client) readFlags(f *pflag.FlagSet) {
	text := func(name string) string {
		if flag := f.Lookup(name); flag != nil {
			return flag.Value.String()
		}
		return ""
	}
	or := func(value, variable string) string {
		if value == "" {
			return c.getenv(variable)
		}
		return value
	}
	c.url, c.name = or(text("url"), "WATCHTOWER_URL"), or(text("name"), "WATCHTOWER_NAME")
	c.caFile = or(text("cafile"), "WATCHTOWER_CAFILE")
	c.secretKey, c.dataDir = text("secret-key"), text("data-dir")
	c.insecure, c.json = text("insecure") == "true", text("json") == "true"
}

// secure sets up how certificates are checked, as the flags say.
func (c *client) secure() error {
	if c.caFile == "" && !c.insecure || c.http.Transport != nil {
		return nil
	}
	trust := &tls.Config{InsecureSkipVerify: c.insecure} //nolint:gosec // only with --insecure
	if c.caFile != "" {
		b, err := os.ReadFile(c.caFile)
		if err != nil {
			return fmt.Errorf("--cafile: %w", err)
		}
		if trust.RootCAs = x509.NewCertPool(); !trust.RootCAs.AppendCertsFromPEM(b) {
			return fmt.Errorf("--cafile: %s holds no certificate in PEM", c.caFile)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trust
	c.http.Transport = transport
	return nil
}

// explainTLS adds a hint to the error of a certificate that is not trusted.
func explainTLS(err error) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	if errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &name) {
		return fmt.Errorf("%w (--cafile takes the gateway's own certificate, --insecure takes any)", err)
	}
	return err
}
