// Package backup copies everything that a gateway keeps on disk into one file, and
// restores it.
//
// The file is a tar archive. Its first entry, manifest.json, has the length and SHA-256
// of each other entry. A restore checks the whole archive before it replaces anything,
// and keeps replaced files under other names. If it is killed at any moment, the
// directory is unchanged or, after the next Finish, restored. The package does not know
// what the files mean.
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

// The format of the archive, the name of its first entry, and the most bytes of that.
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

// Copies are the copied files of a backup that is being made.
type Copies struct {
	manifest Manifest
	files    []*os.File
	text     []byte // the manifest as JSON
}

// copyPattern matches the names of copies. Finish removes copies that a killed process
// left.
const copyPattern = ".watchtower-backup-*"

// NewCopies begins a backup.
func NewCopies(version, gateway string) *Copies {
	return &Copies{manifest: Manifest{Format: format, Version: version, Gateway: gateway, Made: time.Now().UTC().Truncate(time.Second)}}
}

// Add adds a file to the backup. It copies what write writes into a temporary file in dir
// that only the owner can read.
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

// Name returns a file name for the backup, with the gateway's id and the time.
func (c *Copies) Name() string {
	return fmt.Sprintf("watchtower-%s-%s.tar", c.manifest.Gateway, c.manifest.Made.Format("20060102-150405"))
}

// Bytes returns the length of the archive in bytes.
func (c *Copies) Bytes() int64 {
	const block = 512
	n := int64(2 * block) // the archive ends with two empty blocks
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

// Write writes the archive.
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

// Close removes the temporary files.
func (c *Copies) Close() {
	for _, f := range c.files {
		f.Close()
		os.Remove(f.Name())
	}
}

// Verify reads a whole backup and returns an error if anything is wrong with it.
func Verify(r io.Reader) (Manifest, error) {
	return read(r, nil, func(Entry) (io.WriteCloser, error) { return nopCloser{io.Discard}, nil })
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// ErrBroken is in the error if a file is no backup, or a damaged one.
var ErrBroken = errors.New("the backup is damaged, cut, or none")

// read reads a whole backup and checks it. It first calls accept with the manifest, and
// stops at its error. Then it writes each file to the writer that open returns.
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

// copyInto copies from to w and sum. Only an error of from is an ErrBroken: the backup is
// cut. An error of w means, for example, that the disk is full.
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

// names returns a check that a backup has only allowed names, each once, so that no file
// is written elsewhere.
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
