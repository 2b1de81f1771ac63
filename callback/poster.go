package callback

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"watchtower/bridge"
)

// The bounds of an answer. Only its status and Retry-After are used.
const (
	answerHeaderBytes = 64 << 10
	answerBodyBytes   = 64 << 10
)

// keptFor is how long an idle connection is kept open.
const keptFor = 30 * time.Second

// poster is the HTTP client of the callbacks. It checks the policy at every dial, follows
// no redirect and uses no proxy.
type poster struct {
	client    nethttp.Client
	transport *nethttp.Transport
	timeout   time.Duration
	conns     sync.WaitGroup // dials in progress and connections open
}

func newPoster(opts Options, policy *policy) *poster {
	p := &poster{timeout: opts.Timeout}
	p.transport = &nethttp.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			// The transport does not end a dial with its request. An attempt that was cut
			// short must not hold a socket.
			ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
			defer cancel()
			if attempt, ok := ctx.Value(attemptKey{}).(context.Context); ok {
				defer context.AfterFunc(attempt, cancel)()
			}
			p.conns.Add(1)
			conn, err := policy.dial(ctx, network, address)
			if err != nil {
				p.conns.Done()
				return nil, err
			}
			return &countedConn{Conn: conn, closed: p.conns.Done}, nil
		},
		TLSHandshakeTimeout:    opts.Timeout,
		DisableCompression:     true,
		MaxIdleConns:           idleMost,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        keptFor,
		MaxResponseHeaderBytes: answerHeaderBytes,
	}
	p.client = nethttp.Client{
		Transport:     p.transport,
		CheckRedirect: func(*nethttp.Request, []*nethttp.Request) error { return nethttp.ErrUseLastResponse },
	}
	return p
}

// body is what is posted. It is read when the connection is there, just before it is written: so
// a process that was frozen meanwhile posts nothing if another gateway may post now.
type body struct {
	*bytes.Reader
	lease bridge.Lease // nil: it needs none
}

func (b *body) Read(to []byte) (int, error) {
	if b.lease != nil && !b.lease.Held() {
		return 0, errElsewhere
	}
	return b.Reader.Read(to)
}

// WriteTo hides the reader's own, which does not ask.
func (b *body) WriteTo(to io.Writer) (int64, error) { return io.Copy(to, struct{ io.Reader }{b}) }

// attemptKey is the key of the attempt's context in the request's.
type attemptKey struct{}

// countedConn calls closed once, when it is closed.
type countedConn struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *countedConn) Close() error {
	defer c.once.Do(c.closed)
	return c.Conn.Close()
}

// statusError is an answer that is not a success.
type statusError struct {
	code  int
	after time.Duration // from Retry-After: the shortest pause; 0: none given
}

func (e statusError) Error() string { return fmt.Sprintf("answered %d", e.code) }

// longestRetryAfter bounds how long a receiver can delay a retry.
const longestRetryAfter = 10 * time.Minute

// retryAfter reads a Retry-After header: seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, longestRetryAfter)
	}
	if at, err := nethttp.ParseTime(text); err == nil {
		return min(max(0, at.Sub(now)), longestRetryAfter)
	}
	return 0
}

// post makes one attempt at a delivery. Only a status of 2xx is a success.
func (p *poster) post(ctx context.Context, a *attempt) error {
	d := a.d
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, attemptKey{}, ctx), p.timeout)
	defer cancel()
	req, err := nethttp.NewRequestWithContext(ctx, nethttp.MethodPost, d.to.key.url, &body{Reader: bytes.NewReader(d.body), lease: a.lease})
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(d.body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "watchtower")
	sign(req.Header, d, a.secrets, time.Now())
	req.Header.Set(HopsHeader, strconv.Itoa(int(d.hops)+1))
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	// A connection is used again only if its answer was read to the end.
	_, _ = io.CopyN(io.Discard, resp.Body, answerBodyBytes)
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return statusError{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	return nil
}

// close closes the connections and waits for them. No post may be in progress.
func (p *poster) close() {
	p.transport.CloseIdleConnections()
	p.conns.Wait()
}

// describe says why an attempt failed, without the error's own text. That text may quote
// the answer, so a sender could read a server in the house; or the URL, which may be a
// secret.
func describe(err error) string {
	var answered statusError
	var refusal *bridge.Error
	var timeout net.Error
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &answered):
		return answered.Error()
	case errors.As(err, &refusal):
		return "the address is closed to callbacks"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time (callbacks.timeout)"
	case errors.As(err, &name):
		return "the host's name has no address"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "the host cannot be reached"
	case errors.As(err, &certificate):
		return "the certificate is not to be trusted"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "the connection ended without an answer"
	}
	return "what came was no answer of HTTP"
}
