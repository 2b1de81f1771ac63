package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/config"
)

// lookEvery is the least time between two looks at the files. A handshake looks at them.
const lookEvery = time.Second

// certificates are the certificates of the TLS listeners. A changed file, for example by
// certbot, is in force from the next handshake on. If changed files cannot be used, the
// earlier ones stay in force.
type certificates struct {
	files config.TLS
	log   *logrus.Logger

	mu     sync.Mutex
	config *tls.Config // in force
	seen   string      // the files' times and sizes when they were last read
	looked time.Time
}

// Check reads the files and directories that a configuration names, as New does. An error names
// the setting.
func Check(cfg config.Config) error {
	_, err := openPages(cfg)
	if err == nil {
		_, err = Maps(&cfg)
	}
	if cfg.TLS.On() {
		_, e := readCertificates(cfg.TLS)
		err = errors.Join(err, e)
	}
	return err
}

// loadCertificates reads the files. An error names the setting.
func loadCertificates(files config.TLS, log *logrus.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log, seen: stamp(files), looked: time.Now()}
	var err error
	c.config, err = readCertificates(files)
	return c, err
}

// server returns the configuration of a listener.
func (c *certificates) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

// current returns the configuration in force. It reads the files again if one has
// changed.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.looked) < lookEvery {
		return c.config
	}
	c.looked = now
	seen := stamp(c.files)
	if seen == c.seen {
		return c.config
	}
	c.seen = seen
	fresh, err := readCertificates(c.files)
	if err != nil {
		c.log.WithError(err).Error("changed TLS files not used: those from before stay in force")
		return c.config
	}
	c.config = fresh
	c.log.Info("changed TLS files in force")
	return c.config
}

// stamp returns a text that changes when a file's time or size changes.
func stamp(files config.TLS) (s string) {
	for _, name := range []string{files.Certificate, files.Key, files.ClientCA} {
		if info, err := os.Stat(name); err == nil {
			s += fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size(), "/")
		} else {
			s += "-/"
		}
	}
	return s
}

func readCertificates(files config.TLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate, tls.key: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if files.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.client_ca: %w", errors.New(files.ClientCA+" holds no certificate"))
	}
	if files.RequireClientCertificate {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}
