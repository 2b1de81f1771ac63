package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"watchtower/atomicfile"
)

// suffixFile is the file in the data directory that holds this installation's suffix. It
// makes the default name differ from that of another host with the same host name.
const suffixFile = "cli-suffix"

// nameFor chooses the name of the client's sender at a gateway, unless one was given: cli-,
// the host's name and this installation's suffix. The suffix is left out if an earlier
// version registered the name without it, or if the suffix cannot be kept.
func (c *client) nameFor(t target) {
	if c.name != "" {
		return
	}
	defer func() { c.name = c.name[:min(len(c.name), 64-len(c.role))] + c.role }()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	c.name = defaultName(host, "")
	dir, err := c.dir()
	if err != nil {
		return
	}
	if all, err := readIdentities(dir); err == nil {
		if _, earlier := all[t.url][c.name]; earlier {
			return
		}
	}
	suffix, err := installation(dir)
	if err != nil {
		fmt.Fprintf(c.err, "watchtower: speaking as %s, as any host of that name does: %s\n", c.name, describe(err))
		return
	}
	c.name = defaultName(host, suffix)
}

// installation returns the suffix of a data directory: four hexadecimal digits. The first
// call makes it. Commands that start at the same time get the same one.
func installation(dir string) (string, error) {
	path := filepath.Join(dir, suffixFile)
	if b, err := os.ReadFile(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return strings.TrimSpace(string(b)), err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "."+suffixFile+"-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	var fresh [2]byte
	_, _ = rand.Read(fresh[:]) // never fails
	_, err = f.WriteString(hex.EncodeToString(fresh[:]) + "\n")
	if err = errors.Join(err, atomicfile.ToOwner(f), f.Close()); err != nil {
		return "", err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		if err := os.Rename(f.Name(), path); err != nil { // a file system without links
			return "", err
		}
	}
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// defaultName turns a host's name into a valid name: up to 64 of A–Z a–z 0–9 _ . -
func defaultName(host, suffix string) string {
	name := "cli-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r) {
			return r
		}
		return '-'
	}, host)
	if suffix == "" {
		return name[:min(len(name), 64)]
	}
	return name[:min(len(name), 63-len(suffix))] + "-" + suffix
}
