// Package atomicfile puts files in place at once: whoever reads one finds the old one or
// the new one, whole, also after a power cut.
package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Write puts what write writes in place of the file at path, for its owner only (mode
// 0600). With an error the file is as it was.
func Write(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), Pattern(filepath.Base(path)))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already where all went well
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// WriteText does the same with a text.
func WriteText(path, text string) error {
	return Write(path, func(to io.Writer) error { _, err := io.WriteString(to, text); return err })
}

// Pattern matches the names of files that a write which was cut short leaves.
func Pattern(name string) string { return "." + name + "-*" }

// SyncDir makes the names in a directory survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
