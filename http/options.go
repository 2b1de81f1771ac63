package http

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"net/netip"
	"time"

	"watchtower/auth"
	"watchtower/intake"
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

	// Operator serves what is below /operator/. Nil: nothing is there.
	Operator nethttp.Handler

	// Manages reports whether a request is of an operator who may manage, and who
	// that is. Nil: there are no operators.
	Manages func(*nethttp.Request) (who string, ok bool)

	// Ready says why the gateway cannot do its work just now; nil: it always can.
	Ready func() error

	Heartbeat      time.Duration // silence on a stream before it gets an empty line
	StreamQueue    int           // messages that wait for one stream
	StreamBytes    int           // bytes that wait for one stream
	SenderStreams  int           // streams of one sender at a time
	MailboxTimeout time.Duration // a mailbox that nobody reads for so long leaves

	WriteTimeout time.Duration // a write to a client that takes longer ends its connection

	ReadTimeout time.Duration // for a request to arrive
	IdleTimeout time.Duration // a connection without a request is closed after it
	HeaderBytes int           // largest header of a request

	// MaxTargets bounds channels × receivers of one call.
	MaxTargets int

	MaxConnections int            // streams and WebSockets included
	Intake         *intake.Intake // bounds strangers and unfinished bodies; nil: nothing does

	// DrainTimeout bounds what happens when Serve's context ends: what waits
	// for streams and callbacks after it is dropped.
	DrainTimeout time.Duration

	// TrustedProxies are addresses and CIDRs whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// CORSOrigins are the origins whose pages may use the API, or *.
	CORSOrigins []string
	// Hosts are names by which a gateway without a secret key may be asked for,
	// besides those of the house; *.example.org is all below that.
	Hosts []string
	// OwnHost reports whether a name is the gateway's own, as of its certificate.
	// Nil: none is.
	OwnHost  func(string) bool
	Gate     *auth.Gate // where wrong secret keys, tokens and senders are counted; nil: nowhere
	Requests auth.Limit // requests by sender

	Clock func() time.Time // for the limit on requests; nil: time.Now
}

// DefaultOptions returns the options of a gateway that was configured with
// nothing.
func DefaultOptions() Options {
	return Options{
		Listen:         ":8080",
		Heartbeat:      15 * time.Second,
		StreamQueue:    1024,
		StreamBytes:    1 << 20,
		MailboxTimeout: 10 * time.Minute,
		WriteTimeout:   10 * time.Second,
		ReadTimeout:    30 * time.Second,
		IdleTimeout:    2 * time.Minute,
		HeaderBytes:    160 << 10, // room for 10,000 channels (limits.sender_channels) in a query
		MaxTargets:     1 << 16,
		MaxConnections: 10_000,
		DrainTimeout:   5 * time.Second,
		SenderStreams:  10_000,
		Requests:       auth.Limit{Burst: 100_000, Every: time.Second / 100_000, Most: 10_000},
	}
}

// validate reports every limit that is not above 0.
func (o Options) validate() error {
	var faults []error
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"Heartbeat", int64(o.Heartbeat)}, {"MailboxTimeout", int64(o.MailboxTimeout)}, {"StreamQueue", int64(o.StreamQueue)},
		{"StreamBytes", int64(o.StreamBytes)}, {"WriteTimeout", int64(o.WriteTimeout)},
		{"ReadTimeout", int64(o.ReadTimeout)},
		{"IdleTimeout", int64(o.IdleTimeout)}, {"HeaderBytes", int64(o.HeaderBytes)},
		{"MaxTargets", int64(o.MaxTargets)}, {"MaxConnections", int64(o.MaxConnections)}, {"DrainTimeout", int64(o.DrainTimeout)},
		{"SenderStreams", int64(o.SenderStreams)},
		{"Requests.Burst", int64(o.Requests.Burst)}, {"Requests.Every", int64(o.Requests.Every)}, {"Requests.Most", int64(o.Requests.Most)},
	} {
		if limit.value <= 0 {
			faults = append(faults, fmt.Errorf("http: %s is %d, it must be above 0", limit.name, limit.value))
		}
	}
	return errors.Join(faults...)
}
