// Package contract checks requests and answers against the OpenAPI description of the HTTP
// API. Tests use it as their clients' transport, so every test that speaks HTTP checks the
// description too. The program does not import it.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	verrors "github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// Contract checks against one description. Its methods may be called from any goroutine.
type Contract struct {
	model     *v3.Document
	validator validator.Validator

	mu      sync.Mutex // the schema validator is not safe for several goroutines
	schemas schema_validation.SchemaValidator
	seen    map[string]struct{} // operations and statuses
}

// New reads a description from a file. It is an error if that is not valid OpenAPI.
func New(file string) (*Contract, error) {
	description, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	doc, err := libopenapi.NewDocument(description)
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if ok, faults := v.ValidateDocument(); !ok {
		return nil, join("the description", faults)
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		return nil, err
	}
	return &Contract{
		model: &model.Model, validator: v, schemas: schema_validation.NewSchemaValidator(), seen: map[string]struct{}{},
	}, nil
}

// Check checks a JSON text against a schema of the description's components.
func (c *Contract) Check(schema string, text []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	proxy := c.model.Components.Schemas.GetOrZero(schema)
	if proxy == nil {
		return fmt.Errorf("the description has no schema %s", schema)
	}
	if ok, faults := c.schemas.ValidateSchemaBytes(proxy.Schema(), text); !ok {
		return join(fmt.Sprintf("%s %.300s", schema, text), faults)
	}
	return nil
}

// Seen reports whether an answer such as "GET /channels 204" was checked.
func (c *Contract) Seen(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.seen[what]
	return ok
}

// Transport returns next with checks. It reports every answer, and every successful request,
// that does not match the description.
func (c *Contract) Transport(next http.RoundTripper, report func(error)) http.RoundTripper {
	return &transport{c, next, report}
}

type transport struct {
	contract *Contract
	next     http.RoundTripper
	report   func(error)
}

// CloseIdleConnections is for http.Client.
func (t *transport) CloseIdleConnections() {
	if closer, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close() // it was read to its end
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	checked := r.Clone(r.Context())
	checked.Body = io.NopCloser(bytes.NewReader(sent))
	if err := t.contract.answer(checked, resp, sent); err != nil {
		t.report(fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err))
	}
	return resp, nil
}

// answer checks an answer and its request.
func (c *Contract) answer(r *http.Request, resp *http.Response, sent []byte) error {
	path, op := c.operation(r)
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case op == nil && resp.StatusCode < http.StatusBadRequest && r.Method != http.MethodHead && r.Method != http.MethodOptions:
		return fmt.Errorf("answered %d, and is not described", resp.StatusCode)
	case op == nil:
		return nil
	}
	c.mu.Lock()
	c.seen[fmt.Sprintf("%s %s %d", r.Method, path, resp.StatusCode)] = struct{}{}
	c.mu.Unlock()
	described := op.Responses.Codes.GetOrZero(fmt.Sprint(resp.StatusCode))
	switch {
	case described == nil && resp.StatusCode < http.StatusBadRequest:
		return fmt.Errorf("answered %d, which is not described", resp.StatusCode)
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return nil
	case described != nil && described.Content != nil && described.Content.GetOrZero("*/*") != nil:
	case described != nil && media != "" && (described.Content == nil || described.Content.GetOrZero(media) == nil):
		return fmt.Errorf("answered %d with %s, which is not described", resp.StatusCode, media)
	}
	if strings.HasSuffix(media, "json") && media != "application/x-ndjson" {
		b, err := io.ReadAll(resp.Body)
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(b), failing{err}), resp.Body}
		if err != nil {
			return nil // the client gets the error too
		}
		copied := *resp
		copied.Body = io.NopCloser(bytes.NewReader(b))
		if ok, faults := c.validator.ValidateHttpResponse(r, &copied); !ok {
			return join(fmt.Sprintf("answered %d %.300s", resp.StatusCode, b), faults)
		}
	}
	return c.request(r, resp.StatusCode, sent)
}

// request checks a request that succeeded. A body without a content type, or with that of a
// form, is JSON.
func (c *Contract) request(r *http.Request, status int, sent []byte) error {
	if status >= http.StatusBadRequest {
		return nil
	}
	raw := r.URL.Query().Has("channels") && len(sent) > 0
	if !raw && r.Method == http.MethodPost {
		if len(bytes.TrimSpace(sent)) == 0 {
			sent = []byte("{}") // as the server reads it
		}
		if json.Unmarshal(sent, new(any)) != nil {
			return nil // numbers that are too large for Go
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	switch t := r.Header.Get("Content-Type"); {
	case raw:
		r.Header = r.Header.Clone()
		r.Header.Set("Content-Type", "application/octet-stream") // stands for all types
	case t == "" || strings.HasPrefix(t, "application/x-www-form-urlencoded"):
		r.Header = r.Header.Clone()
		r.Header.Set("Content-Type", "application/json")
	}
	if ok, faults := c.validator.ValidateHttpRequestSync(r); !ok {
		return join(fmt.Sprintf("taken, with %.300s", sent), faults)
	}
	return nil
}

// operation returns a request's path in the description and its operation; nil: none.
func (c *Contract) operation(r *http.Request) (string, *v3.Operation) {
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		if matches(path, r.URL.Path) {
			return path, item.GetOperations().GetOrZero(strings.ToLower(r.Method))
		}
	}
	return "", nil
}

func matches(pattern, path string) bool {
	p, q := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(p) != len(q) {
		return false
	}
	for i := range p {
		if p[i] != q[i] && !strings.HasPrefix(p[i], "{") {
			return false
		}
	}
	return true
}

// failing ends a body: with an error, or io.EOF if that is nil.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

func join(what string, faults []*verrors.ValidationError) error {
	all := []error{errors.New(what)}
	for _, f := range faults {
		all = append(all, f)
		for _, s := range f.SchemaValidationErrors {
			all = append(all, s)
		}
	}
	return errors.Join(all...)
}
