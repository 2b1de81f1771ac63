package gateway

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"watchtower/config"
)

// The files beside the store. The last two are there while the gateway runs,
// for the command line's own client.
const (
	keyFile        = "secret.key" // the generated key; not written where one is configured
	runningURLFile = "gateway.url"
	runningKeyFile = "gateway.key" // the key in force; empty: the gateway is open
)

type secrets struct {
	key          string // empty: the gateway is open
	generatedNow bool
	generation   uint64 // how often the key was changed
	idKey        []byte // from which the ids of names are made
}

// loadSecrets finds the secret key: as configured, none if the gateway is open,
// else the one that the first start generated.
func loadSecrets(cfg config.Config) (secrets, error) {
	switch {
	case cfg.Open:
		return secrets{}, nil
	case cfg.SecretKey != "":
		return secrets{key: cfg.SecretKey}, nil
	}
	path := filepath.Join(cfg.DataDir, keyFile)
	b, err := os.ReadFile(path)
	if err == nil {
		key := strings.TrimSpace(string(b))
		if key == "" {
			return secrets{}, fmt.Errorf("data_dir: %s is empty: write a key into it, or remove it to have one generated", path)
		}
		return secrets{key: key}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return secrets{}, fmt.Errorf("data_dir: %w", err)
	}
	key := generateKey()
	if err := writePrivate(path, key+"\n"); err != nil {
		return secrets{}, fmt.Errorf("data_dir: %w", err)
	}
	return secrets{key: key, generatedNow: true}, nil
}

// generateKey returns 100 random bits in letters and digits that are easy to
// type and to tell apart.
func generateKey() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))[:20]
}

// randomKey returns 256 random bits, from which other secrets are made.
func randomKey() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return b
}

// writePrivate puts a file that only its owner may read in place at once: it is
// whole or not there, also after a power cut.
func writePrivate(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already where all went well
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
