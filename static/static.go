// Package static serves files to browsers. Directory serves those of a directory as they are.
// Files serves those that are built into the program: each with its media type, an ETag by its
// content, and a gzip copy where that is smaller. It reads the files once, when it is made, and
// compresses each once, when somebody asks for it. The package knows no path of the gateway: its
// caller mounts it, and strips the prefix. Writing deadlines, CORS and logs are its caller's too.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// index is the file for the empty path.
const index = "index.html"

// types are the media types by the end of a file's name. The system's own table differs from
// one machine to another.
var types = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".json": "application/json",
	".png":  "image/png",
	".svg":  "image/svg+xml",
	".ts":   "text/plain; charset=utf-8", // browsers do not run TypeScript
	".txt":  "text/plain; charset=utf-8",
	".yaml": "application/yaml", // RFC 9512
}

// Files serves files over HTTP. It may be used by many goroutines at once.
type Files struct {
	header http.Header
	files  map[string]file
}

// file is a file as it is, and compressed: gzip makes the copy at its first call. The copy has
// no bytes if it is no smaller.
type file struct {
	mediaType string
	plain     variant
	gzip      func() variant
}

// variant is what is sent, with an ETag of its own (RFC 9110, 8.8.3.3).
type variant struct {
	bytes []byte
	etag  string
}

// New reads all files of a file system. Each answer with a file has the given header fields
// too. A file whose type is unknown is an error.
func New(from fs.FS, header http.Header) (*Files, error) {
	f := &Files{header: header, files: map[string]file{}}
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		t, known := types[path.Ext(name)]
		if !known {
			return fmt.Errorf("%s: no media type is known for it", name)
		}
		f.files[name] = newFile(t, b)
		return nil
	})
	return f, err
}

func newFile(mediaType string, b []byte) file {
	sum := sha256.Sum256(b)
	tag := hex.EncodeToString(sum[:12])
	return file{mediaType: mediaType, plain: variant{b, `"` + tag + `"`}, gzip: sync.OnceValue(func() variant {
		small := Compressed(b)
		if len(small) >= len(b) {
			return variant{}
		}
		return variant{small, `"` + tag + `-gz"`}
	})}
}

// Compressed returns bytes as gzip's best level makes them, as they are sent.
func Compressed(b []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // fails only for an unknown level
	_, _ = w.Write(b)                                       // a buffer never fails
	_ = w.Close()
	return out.Bytes()
}

// Has reports whether there is a file for a request's path.
func (f *Files) Has(urlPath string) bool {
	_, found := f.files[nameOf(urlPath)]
	return found
}

// ServeHTTP answers GET and HEAD with the file that the request's path names, without its
// first slash; the empty path is index.html. Other paths are 404, other methods 405.
func (f *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, found := f.files[nameOf(r.URL.Path)]
	switch {
	case !found:
		fail(w, http.StatusNotFound, "not-found", "path", "there is no such file: look at "+index)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed, "method-not-allowed", "method", "a file can only be read: use GET or HEAD")
		return
	}
	h := w.Header()
	for name, values := range f.header {
		h[name] = slices.Clip(values)
	}
	h.Set("Content-Type", file.mediaType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache") // a browser asks by ETag each time, so a new program has new files at once
	h.Add("Vary", "Accept-Encoding")
	send := file.plain
	if acceptsGzip(r) {
		if small := file.gzip(); small.bytes != nil {
			send = small
			h.Set("Content-Encoding", "gzip")
			h.Set("Content-Length", strconv.Itoa(len(send.bytes))) // ServeContent sets it for plain files only
		}
	}
	h.Set("ETag", send.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(send.bytes))
}

func nameOf(urlPath string) string {
	if name := strings.TrimPrefix(urlPath, "/"); name != "" {
		return name
	}
	return index
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3). A weight of zero means: not gzip.
func acceptsGzip(r *http.Request) bool {
	for _, field := range r.Header.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(field, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			_, q, given := strings.Cut(weight, "=")
			n, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
			return !given || err == nil && n > 0
		}
	}
	return false
}

// fail answers with a problem document (RFC 9457).
func fail(w http.ResponseWriter, status int, kind, field, detail string) {
	b, _ := json.Marshal(map[string]any{ // plain values: cannot fail
		"type": "urn:watchtower:problem:" + kind, "title": http.StatusText(status),
		"status": status, "detail": detail, "field": field,
	})
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // an error means that the client has gone
}
