// Package backup makes one file of all that a gateway keeps on disk, and puts it back.
//
// The file is a tar archive: manifest.json, which says how long each of the others is
// and what its SHA-256 is, and then those. It is checked whole before anything is
// replaced, and what is replaced is kept under another name. A process that is killed
// at any moment leaves the directory as it was or, once Finish was called, as it is to
// be.
// What is in the files it leaves to those that keep them.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"time"
)

// The format of the archive, and the bounds of what is read of one.
const (
	format        = 1
	manifestName  = "manifest.json"
	manifestBytes = 64 << 10
)

// Manifest says what is in a backup.
type Manifest struct {
	Format  int       `json:"watchtower_backup"`
	Version string    `json:"version"` // of the program
	Gateway string    `json:"gateway"` // its id
	Made    time.Time `json:"made"`
	Files   []Entry   `json:"files"`
}

// Entry is a file of a backup.
type Entry struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Copies are files that have been copied, to be sent as a backup.
type Copies struct {
	manifest Manifest
	files    []*os.File
	text     []byte // the manifest's
}

// copyPattern is the name of a copy: Finish removes those that were left.
const copyPattern = ".watchtower-backup-*"

// NewCopies begins a backup.
func NewCopies(version, gateway string) *Copies {
	return &Copies{manifest: Manifest{Format: format, Version: version, Gateway: gateway, Made: time.Now().UTC().Truncate(time.Second)}}
}

// Add copies what write writes into a file in dir, which nobody else sees.
func (c *Copies) Add(dir, name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(dir, copyPattern) // mode 0600
	if err != nil {
		return err
	}
	c.files = append(c.files, f)
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(f, sum)}
	if err := write(counted); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	c.manifest.Files = append(c.manifest.Files, Entry{name, counted.n, hex.EncodeToString(sum.Sum(nil))})
	c.text, err = json.MarshalIndent(c.manifest, "", "  ")
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// Name is what a person would call the backup.
func (c *Copies) Name() string {
	return fmt.Sprintf("watchtower-%s-%s.tar", c.manifest.Gateway, c.manifest.Made.Format("20060102-150405"))
}

// Bytes is how long the backup is.
func (c *Copies) Bytes() int64 {
	const block = 512
	n := int64(2 * block) // the end
	for _, size := range append([]int64{int64(len(c.text))}, sizes(c.manifest.Files)...) {
		n += block + (size+block-1)/block*block
	}
	return n
}

func sizes(files []Entry) (all []int64) {
	for _, f := range files {
		all = append(all, f.Bytes)
	}
	return all
}

// Write writes the backup.
func (c *Copies) Write(w io.Writer) error {
	t := tar.NewWriter(w)
	if err := c.entry(t, manifestName, int64(len(c.text)), bytes.NewReader(c.text)); err != nil {
		return err
	}
	for i, f := range c.manifest.Files {
		if _, err := c.files[i].Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := c.entry(t, f.Name, f.Bytes, c.files[i]); err != nil {
			return err
		}
	}
	return t.Close()
}

func (c *Copies) entry(t *tar.Writer, name string, size int64, from io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: c.manifest.Made, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := io.Copy(t, from)
	return err
}

// Close removes the copies.
func (c *Copies) Close() {
	for _, f := range c.files {
		f.Close()
		os.Remove(f.Name())
	}
}

// Verify reads a backup to its end, and says what is wrong with it.
func Verify(r io.Reader) (Manifest, error) {
	return read(r, nil, func(Entry) (io.WriteCloser, error) { return nopCloser{io.Discard}, nil })
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// ErrBroken is in the error where a backup is none, or not as it was made.
var ErrBroken = errors.New("the backup is damaged, cut, or none")

// read reads a backup to its end, and writes each file to where open says, once accept
// has taken the manifest.
func read(r io.Reader, accept func(Manifest) error, open func(Entry) (io.WriteCloser, error)) (Manifest, error) {
	var m Manifest
	t := tar.NewReader(r)
	head, err := t.Next()
	if err != nil || head.Name != manifestName || head.Size > manifestBytes {
		return m, fmt.Errorf("%w: it does not begin with %s", ErrBroken, manifestName)
	}
	text, err := io.ReadAll(t)
	if err != nil || json.Unmarshal(text, &m) != nil || m.Format < 1 {
		return m, fmt.Errorf("%w: its %s makes no sense", ErrBroken, manifestName)
	}
	if m.Format > format {
		return m, fmt.Errorf("a newer version of Watchtower made the backup (its format is %d, this one knows %d): restore it by that version", m.Format, format)
	}
	if accept != nil {
		if err := accept(m); err != nil {
			return m, err
		}
	}
	for _, e := range m.Files {
		head, err := t.Next()
		if err != nil || head.Name != e.Name || head.Size != e.Bytes {
			return m, fmt.Errorf("%w: %s is missing", ErrBroken, e.Name)
		}
		w, err := open(e)
		if err != nil {
			return m, err
		}
		sum := sha256.New()
		err = copyInto(w, sum, t)
		if err = errors.Join(err, w.Close()); err != nil {
			return m, fmt.Errorf("%s: %w", e.Name, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != e.SHA256 {
			return m, fmt.Errorf("%w: %s is not as it was", ErrBroken, e.Name)
		}
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("%w: it does not end where it is to", ErrBroken)
	}
	_, err = io.Copy(io.Discard, r)
	return m, err
}

// copyInto tells a backup that is cut from a disk that is full.
func copyInto(w io.Writer, sum hash.Hash, from io.Reader) error {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		sum.Write(b[:n])
		if _, failed := w.Write(b[:n]); failed != nil {
			return failed
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
}

// names are the names in a backup that are allowed, so that none leads elsewhere.
func names(allowed []string) func(Manifest) error {
	return func(m Manifest) error {
		for i, e := range m.Files {
			if !slices.Contains(allowed, e.Name) || slices.ContainsFunc(m.Files[:i], func(o Entry) bool { return o.Name == e.Name }) {
				return fmt.Errorf("%w: nobody knows its file %q", ErrBroken, e.Name)
			}
		}
		return nil
	}
}
