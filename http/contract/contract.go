// Package contract holds requests and answers against the OpenAPI description of
// the HTTP API. It is for tests: their clients' transport goes through it, so that
// the description stays true wherever a test speaks HTTP. The program does not
// import it.
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

// Contract is a description that others are held against. Its methods may be
// called from any goroutine.
type Contract struct {
	model     *v3.Document
	validator validator.Validator

	mu      sync.Mutex // the schema validator's caches are not made for several
	schemas schema_validation.SchemaValidator
	seen    map[string]struct{} // operations and statuses
}

// New reads a description from a file. An error says where it is not OpenAPI.
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

// Check holds a JSON text against a schema of the description's components.
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

// Seen reports whether an answer of that kind, such as "GET /channels 204", went by.
func (c *Contract) Seen(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.seen[what]
	return ok
}

// Transport does what next does, and reports every answer, and every request that
// was successful, that is not as the description says.
func (c *Contract) Transport(next http.RoundTripper, report func(error)) http.RoundTripper {
	return &transport{c, next, report}
}

type transport struct {
	contract *Contract
	next     http.RoundTripper
	report   func(error)
}

// CloseIdleConnections is what http.Client asks for.
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

// answer holds an answer, and its request, against the description.
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
			return nil // the client sees it too
		}
		copied := *resp
		copied.Body = io.NopCloser(bytes.NewReader(b))
		if ok, faults := c.validator.ValidateHttpResponse(r, &copied); !ok {
			return join(fmt.Sprintf("answered %d %.300s", resp.StatusCode, b), faults)
		}
	}
	return c.request(r, resp.StatusCode, sent)
}

// request holds a request against the description, if it succeeded. What has no
// content type, or that of a form, is read as JSON.
func (c *Contract) request(r *http.Request, status int, sent []byte) error {
	if status >= http.StatusBadRequest {
		return nil
	}
	raw := r.URL.Query().Has("channels") && len(sent) > 0
	if !raw && r.Method == http.MethodPost {
		if len(bytes.TrimSpace(sent)) == 0 {
			sent = []byte("{}") // as it is read
		}
		if json.Unmarshal(sent, new(any)) != nil {
			return nil // numbers that Go does not have
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	switch t := r.Header.Get("Content-Type"); {
	case raw:
		r.Header = r.Header.Clone()
		r.Header.Set("Content-Type", "application/octet-stream") // any other is described alike
	case t == "" || strings.HasPrefix(t, "application/x-www-form-urlencoded"):
		r.Header = r.Header.Clone()
		r.Header.Set("Content-Type", "application/json")
	}
	if ok, faults := c.validator.ValidateHttpRequestSync(r); !ok {
		return join(fmt.Sprintf("taken, with %.300s", sent), faults)
	}
	return nil
}

// operation finds what a request is, and its path in the description.
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

// failing is what is left of a body that could not be read.
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
