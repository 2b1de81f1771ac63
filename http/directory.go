package http

import (
	nethttp "net/http"
	"strings"

	"watchtower/bridge"
)

// filesPath is the prefix of the files of http.pages.
const filesPath = "/pages/"

// showFile answers GET /pages/….
func (s *Server) showFile(w nethttp.ResponseWriter, r *nethttp.Request) error {
	s.deadline(w)
	if name := strings.TrimPrefix(r.URL.Path, filesPath); !s.opts.Files.Serve(&steady{w, s}, r, name) {
		return fault(notFound, "path", "there is no file %s in the directory of http.pages, or it is not served: names with a dot in front are not, nor lists of a directory's files", bridge.Shorten(name))
	}
	return nil
}

// toFiles answers GET /pages. The redirect is relative: a proxy may have cut off the begin of
// the path.
func (s *Server) toFiles(w nethttp.ResponseWriter, _ *nethttp.Request) error {
	s.deadline(w)
	w.Header().Set("Location", strings.TrimPrefix(filesPath, "/"))
	w.WriteHeader(nethttp.StatusMovedPermanently)
	return nil
}

// steady gives each write of an answer the whole write_timeout: a file may be large.
type steady struct {
	nethttp.ResponseWriter
	server *Server
}

func (w *steady) Write(p []byte) (int, error) {
	w.server.deadline(w.ResponseWriter)
	return w.ResponseWriter.Write(p)
}
