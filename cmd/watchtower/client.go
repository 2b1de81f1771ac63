package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"watchtower/config"
	"watchtower/gateway"
)

// The bounds of the client's requests.
const (
	requestTimeout = 30 * time.Second // a broadcast may wait for slow protocols
	answerBytes    = 1 << 20          // the most bytes of an answer that is no stream
)

// client speaks to a gateway over HTTP for a person, as one named sender.
type client struct {
	surroundings
	url, secretKey, dataDir, name string // as flags or environment give them; empty: to be found
	token                         string // of the sender to speak as; empty: the name is registered
	givenAdminKey                 string // by a flag or a context; empty: to be found
	role                          string // what the default name ends with
	command                       string // what was typed after watchtower: senders list
	caFile                        string // certificates of the trusted authorities; empty: the system's
	insecure                      bool   // accept any certificate
	json                          bool
	http                          *http.Client
	firstGap, longestGap          time.Duration // wait before reconnecting; it doubles with each try
}

func newClient(sys surroundings) *client {
	return &client{
		surroundings: sys,
		http: &http.Client{
			// A redirect would turn a POST into a GET, and might carry the
			// token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		firstGap:   time.Second,
		longestGap: 30 * time.Second,
	}
}

// target is a gateway, and the key for it.
type target struct {
	url, key string
	given    bool // the key is from a flag or variable, not from the data directory
}

// find returns the gateway to talk to: the one of --url, or the one that runs on this
// machine. The local gateway's key is never sent to another gateway.
func (c *client) find() (target, error) {
	if err := c.secure(); err != nil {
		return target{}, err
	}
	key := c.secretKey
	if key == "" {
		key = c.getenv("WATCHTOWER_SECRET_KEY")
	}
	given := key != ""
	dir, err := c.dir()
	if err != nil && c.url == "" {
		return target{}, fmt.Errorf("data_dir: %w", err)
	}
	var local target
	if err == nil {
		local, err = readLocal(dir)
	}
	if c.url != "" {
		u, err := cleanURL(c.url)
		if key == "" && u == local.url {
			key = local.key
		}
		return target{u, key, given}, err
	}
	if err != nil {
		return target{}, c.noLocal(dir, err)
	}
	if key == "" {
		key = local.key
	}
	return target{local.url, key, given}, nil
}

// noLocal says why no gateway was found by a data directory, and how to go on. It names the
// service's directory only where there is one, and none was named.
func (c *client) noLocal(dir string, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: ask as the user whose directory it is (sudo -u), or give --url", err)
	case !errors.Is(err, os.ErrNotExist):
		return err
	case dir == c.service:
		return unreachable{fmt.Errorf("the service's gateway does not run (%s): journalctl -u watchtower says why", dir)}
	case c.serviceElsewhere(dir):
		return unreachable{fmt.Errorf("no gateway runs with the data directory %s. That of the service is %s: sudo -u watchtower watchtower … --data-dir %[2]s; or give --url", dir, c.service)}
	}
	return unreachable{fmt.Errorf("no gateway runs with the data directory %s: start one (watchtower serve), name its directory (--data-dir), or give --url", dir)}
}

// serviceElsewhere reports whether the packages' service has another data directory than dir, and
// nobody named one.
func (c *client) serviceElsewhere(dir string) bool {
	named := c.dataDir != "" || c.getenv("WATCHTOWER_DATA_DIR") != ""
	return c.service != "" && c.service != dir && !named
}

func (c *client) dir() (string, error) { return config.DataDir(c.dataDir, c.environ) }

// readLocal reads the URL and key that a running gateway writes into its data directory.
func readLocal(dir string) (target, error) {
	address, err := os.ReadFile(filepath.Join(dir, runningURLFile))
	if err != nil {
		return target{}, err
	}
	key, err := os.ReadFile(filepath.Join(dir, runningKeyFile))
	if err != nil {
		return target{}, err
	}
	u, err := cleanURL(strings.TrimSpace(string(address)))
	return target{url: u, key: strings.TrimRight(string(key), "\r\n")}, err
}

func cleanURL(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("--url must be like http://gateway.lan:8080, is %q", s)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// unreachable is the error of a gateway that does not answer.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// refusal is an answer with another status than 2xx.
type refusal struct {
	status int
	detail string
}

func (r *refusal) Error() string { return r.detail }

func refused(err error, status int) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == status
}

// request is one call of the HTTP API.
type request struct {
	method, path string
	query        url.Values
	contentType  string
	body         []byte
	token        string
}

// send makes a call. The caller closes the answer's body. A status other than 2xx is an
// error, a refusal, with the gateway's own text if there is one.
func (c *client) send(ctx context.Context, t target, r request) (*http.Response, error) {
	address := t.url + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", fmt.Sprintf("watchtower/%s (%s)", gateway.Version, c.command)) // sessions and the log tell by it who it is
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which may be long
		}
		return nil, explainFailure(t.url, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, readRefusal(resp)
	}
	return resp, nil
}

// toTLSPort is how net/http's answer to an HTTP request on an HTTPS port begins.
const toTLSPort = "Client sent an HTTP request to an HTTPS server"

// readRefusal returns the refusal in an answer: from application/problem+json (RFC 9457)
// if it is that, else from the status.
func readRefusal(resp *http.Response) error {
	var problem struct{ Title, Detail string }
	body, _ := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	_ = json.Unmarshal(body, &problem) // a proxy may answer with something else
	r := &refusal{resp.StatusCode, problem.Detail}
	if strings.HasPrefix(string(body), toTLSPort) {
		r.detail = "this port speaks TLS: give --url with https://"
	}
	if r.detail == "" {
		r.detail = problem.Title
	}
	if r.detail == "" {
		r.detail = "the gateway answered " + resp.Status
	}
	if location := resp.Header.Get("Location"); resp.StatusCode/100 == 3 && location != "" {
		r.detail = fmt.Sprintf("the gateway is elsewhere: give --url for %q", location)
	}
	r.detail = printableText(r.detail)
	return r
}

// call makes a call and returns the answer's body.
func (c *client) call(ctx context.Context, t target, r request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.send(ctx, t, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	if err != nil {
		return nil, fmt.Errorf("%s broke off its answer: %w", t.url, err)
	}
	return body, nil
}

func jsonRequest(method, path string, body any) (request, error) {
	b, err := json.Marshal(body)
	return request{method: method, path: path, contentType: "application/json", body: b}, err
}

// idList returns ids in the form of a query: 5,6.
func idList(ids []uint32) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(texts, ",")
}

// parseReceivers reads the receivers of a send: ids or names, with commas between them.
// The gateway checks the names.
func parseReceivers(arg string) ([]string, error) {
	receivers := strings.Split(arg, ",")
	for _, r := range receivers {
		digits := strings.Trim(r, "0123456789") == ""
		if n, err := strconv.ParseUint(r, 10, 32); digits && (err != nil || n == 0) {
			return nil, usagef("a receiver must be a number from 1 to 4294967295, a name, or several with commas; is %q", arg)
		}
	}
	return receivers, nil
}

// parseIDs reads ids from arguments such as 5 or 5,6.
func parseIDs(what string, args ...string) ([]uint32, error) {
	var ids []uint32
	for _, arg := range args {
		for text := range strings.SplitSeq(arg, ",") {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil || n == 0 {
				return nil, usagef("%s must be a number from 1 to 4294967295, or several with commas; is %q", what, arg)
			}
			ids = append(ids, uint32(n))
		}
	}
	return ids, nil
}
