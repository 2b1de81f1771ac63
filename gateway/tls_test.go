package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// authority is a certificate authority in a directory of its own.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.sign("ca", template, template, a.key)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name+".pem") }

func (a *authority) sign(name string, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	a.write(name, "CERTIFICATE", der)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return cert
}

// write puts a file in the place of another in one step, as certbot does.
func (a *authority) write(name, kind string, der []byte) {
	next := a.path(name) + ".next"
	require.NoError(a.t, os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	require.NoError(a.t, os.Rename(next, a.path(name)))
}

// issue writes a certificate for 127.0.0.1 and hosts, and its key, and returns its
// serial number.
func (a *authority) issue(name string, hosts ...string) int64 {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	a.write(name+".key", "EC PRIVATE KEY", der)
	a.last++
	a.sign(name, &x509.Certificate{
		SerialNumber: big.NewInt(1000 + a.last), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key)
	return 1000 + a.last
}

func (a *authority) config(c *config.Config) {
	c.TLS.Certificate, c.TLS.Key = a.path("server"), a.path("server.key")
	c.HTTP.TLSListen, c.MQTT.TLSListen, c.IRC.TLSListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
}

// served connects, and returns the serial number of the server's certificate.
func (a *authority) served(addr string, client ...tls.Certificate) (int64, error) {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, Certificates: client})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("G\r\n\r\n")) // neither MQTT nor HTTP: it ends
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		if _, err = conn.Read(make([]byte, 1)); err != nil && err.Error() == "EOF" {
			err = nil
		}
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), err
}

func tlsTurnedOff(t *testing.T, protocol string) {
	a := newAuthority(t)
	a.issue("server")
	r := start(t, func(c *config.Config) {
		a.config(c)
		*map[string]*string{"http": &c.HTTP.TLSListen, "mqtt": &c.MQTT.TLSListen, "irc": &c.IRC.TLSListen}[protocol] = ""
	})
	assert.Equal(t, protocol == "http", r.at.HTTPS == "")
	assert.Equal(t, protocol == "mqtt", r.at.MQTTS == "")
	assert.Equal(t, protocol == "irc", r.at.IRCS == "")
}

func testCertificate(t *testing.T) {
	a := newAuthority(t)
	first := a.issue("server")
	r := start(t, func(c *config.Config) {
		a.config(c)
		c.HTTP.Listen, c.MQTT.Listen = "", "" // TLS alone will do
	})
	assert.Equal(t, `{"status":"ok"}`+"\n", run(t, program(t, "curl"), "-sS", "--cacert", a.path("ca"), "https://"+r.at.HTTPS+"/healthz"))
	host, port, err := net.SplitHostPort(r.at.MQTTS)
	require.NoError(t, err)
	login := []string{"-h", host, "-p", port, "-u", "x", "-P", key, "--cafile", a.path("ca"), "-t", "own/x", "-q", "1"}
	run(t, program(t, "mosquitto_pub"), append(login, "-r", "-m", "kept")...)
	assert.Equal(t, "kept\n", run(t, program(t, "mosquitto_sub"), append(login, "-C", "1", "-W", "15")...))
	assert.Error(t, exec.Command(program(t, "mosquitto_pub"), "-h", host, "-p", port, "-u", "x", "-P", key, "-t", "own/x", "-m", "in clear").Run())

	for _, addr := range []string{r.at.HTTPS, r.at.MQTTS} {
		serial, err := a.served(addr)
		require.NoError(t, err)
		assert.Equal(t, first, serial)
	}
	second := a.issue("server")
	for _, addr := range []string{r.at.HTTPS, r.at.MQTTS} {
		eventually(t, "the new one is used", func() bool { serial, err := a.served(addr); return err == nil && serial == second })
	}
	require.NoError(t, os.WriteFile(a.path("server"), []byte("half a"), 0o600))
	eventually(t, "it is found, by who connects", func() bool {
		serial, err := a.served(r.at.MQTTS)
		require.NoError(t, err)
		require.Equal(t, second, serial, "what cannot be read changes nothing")
		return strings.Contains(r.log.String(), "changed TLS files not used")
	})
	serial, err := a.served(r.at.MQTTS)
	require.NoError(t, err)
	assert.Equal(t, second, serial, "nor afterwards")
}

func testClientCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	for _, x := range []*authority{a, stranger} {
		x.issue("server")
		x.issue("client")
	}
	load := func(x *authority) tls.Certificate {
		cert, err := tls.LoadX509KeyPair(x.path("client"), x.path("client.key"))
		require.NoError(t, err)
		return cert
	}
	for _, required := range []bool{false, true} {
		r := start(t, func(c *config.Config) {
			a.config(c)
			c.TLS.ClientCA, c.TLS.RequireClientCertificate = a.path("ca"), required
		})
		for _, addr := range []string{r.at.HTTPS, r.at.MQTTS} {
			_, err := a.served(addr, load(a))
			require.NoError(t, err)
			_, err = a.served(addr)
			assert.Equal(t, required, err != nil, "without one: %v", err)
			_, err = a.served(addr, load(stranger))
			assert.Error(t, err)
		}
	}
}
