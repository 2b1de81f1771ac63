// Package atomicfile replaces files atomically: a reader finds the whole old file or the
// whole new one, also after a power cut.
package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Write replaces the file at path by what write writes. Only the owner may read it (mode
// 0600). If write, the sync or the rename fails, the old file is unchanged.
func Write(path string, write func(io.Writer) error) error {
	return replace(path, func(f *os.File) error { return write(f) })
}

func replace(path string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), Pattern(filepath.Base(path)))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after success the name is gone already
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// WriteText replaces the file at path by a text, as Write does.
func WriteText(path, text string) error {
	return Write(path, func(to io.Writer) error { _, err := io.WriteString(to, text); return err })
}

// WriteOwned replaces the file at path by a text, as Write does. If root does so, the file belongs
// to whom its directory belongs.
func WriteOwned(path, text string) error {
	return replace(path, func(f *os.File) error {
		_, err := f.WriteString(text)
		return errors.Join(err, ToOwner(f))
	})
}

// Pattern returns the pattern of temporary files that an interrupted Write of a file
// with this name leaves.
func Pattern(name string) string { return "." + name + "-*" }

// SyncDir syncs a directory, so that new names in it survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
