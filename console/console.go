// Package console holds the operator's page: what a browser shows at the gateway's address.
// It is HTML, CSS and JavaScript modules that the browser runs as they are; nothing is built.
// The page gets all that it shows from /operator, by addresses relative to its own, so it works
// below any path of a reverse proxy. The libraries of others are copies in web/vendor, which a
// test compares with npm's.
package console

import (
	"embed"
	"io/fs"
	nethttp "net/http"
	"strings"

	"watchtower/static"
)

//go:embed web
var web embed.FS

// policy lets the page run, show and ask nothing but what is the gateway's, and makes no text
// into a script (Content Security Policy Level 3, Trusted Types).
var policy = strings.Join([]string{
	"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
	"base-uri 'none'", "form-action 'none'", "frame-ancestors 'self'", "require-trusted-types-for 'script'", "trusted-types 'none'",
}, "; ")

// prefix is the path of all files but the page itself.
const prefix = "/console"

// Page serves the page at / and its files below /console/.
type Page struct{ files *static.Files }

// New returns the page.
func New() (*Page, error) {
	files, err := fs.Sub(web, "web")
	if err != nil {
		return nil, err
	}
	served, err := static.New(files, nethttp.Header{
		"Content-Security-Policy":      {policy},
		"Referrer-Policy":              {"no-referrer"},
		"Cross-Origin-Opener-Policy":   {"same-origin"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
	})
	return &Page{served}, err
}

// Has reports whether a path is the page's.
func (p *Page) Has(path string) bool { return path == "/" || strings.HasPrefix(path, prefix+"/") }

// ServeHTTP answers with a file. Paths below /console/ without a file are 404.
func (p *Page) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	if r.URL.Path == "/" {
		p.files.ServeHTTP(w, r)
		return
	}
	nethttp.StripPrefix(prefix+"/", p.files).ServeHTTP(w, r)
}
