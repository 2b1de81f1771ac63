package http

import (
	"crypto/tls"
	"net"
	nethttp "net/http"
	"time"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/config"
	"watchtower/intake"
)

// Protocol is how the hub knows what comes and goes by HTTP.
var Protocol = bridge.NewProtocol("http")

// Options of a Server: the settings that it takes, and what is none.
type Options struct {
	config.HTTP
	config.Limits

	TLS *tls.Config // for TLSListen

	// ServeMQTT serves one client of MQTT over WebSocket until its connection
	// has ended. Nil: there is no MQTT.
	ServeMQTT func(net.Conn)

	// Operator serves what is below /operator/, if http.console says so. Nil: nothing
	// is there.
	Operator nethttp.Handler

	// Manages reports whether a request is of an operator who may manage, and who
	// that is. Nil: there are no operators.
	Manages func(*nethttp.Request) (who string, ok bool)

	// Ready says why the gateway cannot do its work just now; nil: it always can.
	Ready func() error

	// OwnHost reports whether a name is the gateway's own, as of its certificate.
	// Nil: none is.
	OwnHost func(string) bool

	// DrainTimeout bounds what happens when Serve's context ends: what waits
	// for streams after it is dropped.
	DrainTimeout time.Duration

	StreamBytes int              // bytes that wait for one stream; 0: 1 MiB
	Intake      *intake.Intake   // bounds strangers and unfinished bodies; nil: nothing does
	Gate        *auth.Gate       // where wrong secret keys, tokens and senders are counted; nil: nowhere
	Clock       func() time.Time // for the limit on requests; nil: time.Now
}

const (
	streamBytes = 1 << 20
	idleTimeout = 2 * time.Minute // a connection without a request is closed after it
	headerBytes = 160 << 10       // room for 10,000 channels (limits.sender_channels) in a query
	maxTargets  = 1 << 16         // channels × receivers of one call
	askersMost  = 10_000          // senders whose requests are counted at a time
)
