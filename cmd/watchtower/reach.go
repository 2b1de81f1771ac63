package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
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

// addOperator defines the flags of every command of an operator.
func addOperator(f *pflag.FlagSet) {
	addReach(f)
	f.String("admin-key", "", "the gateway's admin key, which the list of processes shows (default: that of the one on this machine)")
	f.String("admin-key-file", "", "file with the gateway's admin key; -: standard input")
}

// readFlags reads how to reach the gateway: from a command's flags, or else from the context
// that -c names, or else from the environment (config.ClientVariables).
func (c *client) readFlags(cmd *cobra.Command) (err error) {
	f := cmd.Flags()
	_, c.command, _ = strings.Cut(cmd.CommandPath(), " ")
	text := func(name string) string {
		if flag := f.Lookup(name); flag != nil {
			return flag.Value.String()
		}
		return ""
	}
	var from savedGateway
	if text("context") != "" && text("url") != "" {
		return usagef("give one of --context and --url")
	}
	if name := cmp.Or(text("context"), c.getenv("WATCHTOWER_CONTEXT")); name != "" && text("url") == "" {
		_, all, err := c.contexts()
		if err != nil {
			return err
		}
		var found bool
		if from, found = all[name]; !found {
			return unknownContext(name, all)
		}
	}
	c.url = cmp.Or(text("url"), from.URL, c.getenv("WATCHTOWER_URL"))
	c.name = cmp.Or(text("name"), from.Name, c.getenv("WATCHTOWER_NAME"))
	c.caFile = cmp.Or(text("cafile"), from.CAFile, c.getenv("WATCHTOWER_CAFILE"))
	c.insecure, c.json = text("insecure") == "true" || from.Insecure, text("json") == "true"
	c.dataDir = text("data-dir")
	if f.Lookup("secret-key-file") != nil {
		if c.secretKey, err = c.secretKeyOf(f); err != nil {
			return err
		}
	}
	if c.givenAdminKey, err = c.secretFrom("admin-key-file", text("admin-key-file")); err != nil {
		return err
	}
	c.givenAdminKey = cmp.Or(text("admin-key"), c.givenAdminKey, from.AdminKey)
	c.token = cmp.Or(text("token"), from.Token, c.getenv("WATCHTOWER_TOKEN"))
	c.secretKey = cmp.Or(c.secretKey, from.SecretKey)
	return nil
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

// explainFailure says why a gateway was not reached: that it does not answer, that its
// certificate is not trusted, or that it speaks no TLS there.
func explainFailure(url string, err error) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	if errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &name) {
		return fmt.Errorf("%s has a certificate that is not trusted: %w (--cafile takes the gateway's own, --insecure takes any)", url, err)
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return fmt.Errorf("%s speaks no TLS: give --url with http://, or the port for https", url)
	}
	return unreachable{fmt.Errorf("%s does not answer: %w. Start the gateway there, or give another --url", url, err)}
}
