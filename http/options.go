package http

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Options are all the times, sizes and limits of a Server. Start from
// DefaultOptions: every limit has to be above 0.
type Options struct {
	Listen    string      // host:port; port 0 picks one; empty: none
	TLSListen string      // the same for HTTPS
	TLS       *tls.Config // for TLSListen

	// ServeMQTT serves one client of MQTT over WebSocket until its connection
	// has ended. Nil: there is no MQTT.
	ServeMQTT func(net.Conn)

	Queue    int           // messages that wait for the fan-out to all streams and callbacks
	Patience time.Duration // how long a publisher that may wait does so while that queue is full

	Heartbeat      time.Duration // silence on a stream before it gets an empty line
	StreamQueue    int           // messages that wait for one stream
	StreamBytes    int           // bytes that wait for one stream
	MailboxTimeout time.Duration // a mailbox that nobody reads for so long leaves

	WriteTimeout time.Duration // a write to a client that takes longer ends its connection

	ReadHeaderTimeout time.Duration // for the header of a request
	ReadTimeout       time.Duration // for the body of a request
	IdleTimeout       time.Duration // a connection without a request is closed after it
	HeaderBytes       int           // largest header of a request

	// MaxTargets bounds channels × receivers of one call.
	MaxTargets int

	// DrainTimeout bounds what happens when Serve's context ends: what waits
	// for streams and callbacks after it is dropped.
	DrainTimeout time.Duration

	// TrustedProxies are addresses and CIDRs whose X-Forwarded-For is believed.
	TrustedProxies []string
	// CORSOrigins are the origins whose pages may use the API, or *.
	CORSOrigins []string
	Failures    FailureOptions
	Callbacks   CallbackOptions
	History     HistoryOptions

	Clock func() time.Time // for the limit on failures and the history; nil: time.Now
}

// FailureOptions limit wrong secret keys, wrong tokens and unknown senders by
// client address (HTTP API, "Who may use an id").
type FailureOptions struct {
	Burst     int           // failures before requests are refused
	Every     time.Duration // one more is forgiven after each
	Addresses int           // addresses that are remembered at most
}

// CallbackOptions are the rules by which callbacks and delivery reports are
// posted.
type CallbackOptions struct {
	Queue      int           // messages that wait for one callback of one sender
	Bytes      int           // their bytes
	Timeout    time.Duration // for one attempt, from the dial to the answer
	Retries    int           // attempts after the first; 0: none
	RetryGap   time.Duration // before the first retry; doubles with each
	MaxActive  int           // callbacks with something waiting, each with one goroutine
	MaxIdle    int           // connections that are kept open
	Resolve    time.Duration // for the resolution of a name at the join
	URLBytes   int           // longest callback_url
	Allow      []string      // hosts, addresses and CIDRs that are open whatever they are
	PublicOnly bool          // private ranges are closed too
	SigningKey []byte        // from which the callbacks' secrets are made; empty: random

	// Own gives the gateway's own listeners, which are closed to callbacks. An
	// unspecified address means any of this machine's. Nil: none.
	Own func() []netip.AddrPort
	// Resolver resolves names at the join and at the dial; nil: the system's.
	Resolver *net.Resolver
}

// DefaultOptions returns the options of a gateway that was configured with
// nothing.
func DefaultOptions() Options {
	return Options{
		Listen:            ":8080",
		Queue:             4096,
		Patience:          5 * time.Second,
		Heartbeat:         15 * time.Second,
		StreamQueue:       1024,
		StreamBytes:       1 << 20,
		MailboxTimeout:    10 * time.Minute,
		WriteTimeout:      10 * time.Second,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HeaderBytes:       64 << 10,
		MaxTargets:        1 << 16,
		DrainTimeout:      5 * time.Second,
		Failures:          FailureOptions{Burst: 60, Every: time.Second, Addresses: 10_000},
		History:           HistoryOptions{Messages: 100, Age: time.Hour, Bytes: 16 << 20},
		Callbacks: CallbackOptions{
			Queue:     256,
			Bytes:     1 << 20,
			Timeout:   15 * time.Second,
			Retries:   3,
			RetryGap:  time.Second,
			MaxActive: 1000,
			MaxIdle:   100,
			Resolve:   5 * time.Second,
			URLBytes:  2048,
		},
	}
}

// validate reports every limit that is not above 0.
func (o Options) validate() error {
	var faults []error
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"Queue", int64(o.Queue)}, {"Patience", int64(o.Patience)},
		{"Heartbeat", int64(o.Heartbeat)}, {"MailboxTimeout", int64(o.MailboxTimeout)}, {"StreamQueue", int64(o.StreamQueue)},
		{"StreamBytes", int64(o.StreamBytes)}, {"WriteTimeout", int64(o.WriteTimeout)},
		{"ReadHeaderTimeout", int64(o.ReadHeaderTimeout)}, {"ReadTimeout", int64(o.ReadTimeout)},
		{"IdleTimeout", int64(o.IdleTimeout)}, {"HeaderBytes", int64(o.HeaderBytes)},
		{"MaxTargets", int64(o.MaxTargets)}, {"DrainTimeout", int64(o.DrainTimeout)},
		{"Failures.Burst", int64(o.Failures.Burst)}, {"Failures.Every", int64(o.Failures.Every)},
		{"Failures.Addresses", int64(o.Failures.Addresses)},
		{"Callbacks.Queue", int64(o.Callbacks.Queue)}, {"Callbacks.Bytes", int64(o.Callbacks.Bytes)},
		{"Callbacks.Timeout", int64(o.Callbacks.Timeout)}, {"Callbacks.RetryGap", int64(o.Callbacks.RetryGap)},
		{"Callbacks.MaxActive", int64(o.Callbacks.MaxActive)}, {"Callbacks.MaxIdle", int64(o.Callbacks.MaxIdle)},
		{"Callbacks.Resolve", int64(o.Callbacks.Resolve)}, {"Callbacks.URLBytes", int64(o.Callbacks.URLBytes)},
	} {
		if limit.value <= 0 {
			faults = append(faults, fmt.Errorf("http: %s is %d, it must be above 0", limit.name, limit.value))
		}
	}
	if h := o.History; h.Messages < 0 || h.Messages > 0 && (h.Age <= 0 || h.Bytes <= 0) {
		faults = append(faults, fmt.Errorf("http: History is %+v: Messages must not be negative, and with some the others must be above 0", h))
	}
	if o.Callbacks.Retries < 0 {
		faults = append(faults, fmt.Errorf("http: Callbacks.Retries is %d, it must not be negative", o.Callbacks.Retries))
	}
	return errors.Join(faults...)
}
