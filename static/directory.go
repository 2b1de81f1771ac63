package static

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Directory serves the files of a directory as they are at each request. The directory may be
// replaced by another of its name meanwhile. It may be used by many goroutines at once.
type Directory struct{ path string }

// OpenDirectory returns the handler of a directory, by its path. The directory has to exist and
// to be readable. No part of secret, files and directories that nobody may read, may be inside
// of it; empty paths there are skipped.
func OpenDirectory(dir string, secret ...string) (*Directory, error) {
	root, err := os.OpenRoot(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no directory %s: make it", dir)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be served: %w", dir, err)
	}
	defer func() { _ = root.Close() }() // it was only read
	if _, err := fs.ReadDir(root.FS(), "."); err != nil {
		return nil, fmt.Errorf("%s cannot be served: %w", dir, err)
	}
	for _, s := range secret {
		if s != "" && within(dir, s) {
			return nil, fmt.Errorf("%s holds %s, which everybody could read then: serve another directory", dir, s)
		}
	}
	return &Directory{dir}, nil
}

// within reports whether a path leads into a directory, or to it. Names that do not exist lead
// nowhere.
func within(dir, name string) bool {
	top, err := os.Stat(dir)
	if err != nil {
		return false
	}
	at, err := filepath.EvalSymlinks(name)
	if err == nil {
		at, err = filepath.Abs(at)
	}
	for err == nil {
		if info, err := os.Stat(at); err == nil && os.SameFile(info, top) {
			return true
		}
		up := filepath.Dir(at)
		if up == at {
			break
		}
		at = up
	}
	return false
}

// Serve answers with the file of a name such as css/main.css; the empty name, and one that ends
// with a slash, is the index.html there. A directory's name without a slash is redirected to
// the one with it. Serve reports whether there is such a file; if not, nothing is written. Names
// that begin with a dot, at any level, are no files here, nor is what a symbolic link finds
// outside of the directory, nor what is no regular file.
func (d *Directory) Serve(w http.ResponseWriter, r *http.Request, name string) bool {
	name, folder := strings.CutSuffix(name, "/")
	folder = folder || name == ""
	if name == "" {
		name = "."
	}
	local, err := filepath.Localize(name)
	if err != nil || strings.HasPrefix(name, ".") && name != "." || strings.Contains(name, "/.") {
		return false
	}
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return false
	}
	defer func() { _ = root.Close() }() // it was only read
	info, err := root.Stat(local)
	switch {
	case err != nil || folder && !info.IsDir():
		return false
	case info.IsDir() && !folder:
		if at, err := root.Stat(filepath.Join(local, index)); err != nil || !at.Mode().IsRegular() {
			return false
		}
		to := (&url.URL{Path: path.Base(name) + "/"}).String()
		if r.URL.RawQuery != "" {
			to += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", to) // relative: a proxy may have cut off the begin of the path
		w.WriteHeader(http.StatusMovedPermanently)
		return true
	case folder:
		local = filepath.Join(local, index)
	}
	return send(w, r, root, local)
}

// send answers with a regular file of a root, and reports whether there is one.
func send(w http.ResponseWriter, r *http.Request, root *os.Root, local string) bool {
	info, err := root.Stat(local)
	if err != nil || !info.Mode().IsRegular() { // to open a pipe would wait
		return false
	}
	file, err := root.Open(local)
	if err != nil {
		return false
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	h := w.Header()
	if t, known := types[strings.ToLower(filepath.Ext(local))]; known {
		h.Set("Content-Type", t) // else ServeContent finds it
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache") // a browser asks by ETag each time, so a changed file shows at once
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	http.ServeContent(w, r, filepath.Base(local), info.ModTime(), file)
	return true
}
