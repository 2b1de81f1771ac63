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

// Protocol is HTTP as the hub knows it.
var Protocol = bridge.NewProtocol("http")

// Options of a Server: its settings, and the objects that it uses.
type Options struct {
	config.HTTP
	config.Limits

	TLS *tls.Config // for TLSListen

	// ServeMQTT serves one client of MQTT over WebSocket until its connection ends. Nil:
	// MQTT is off.
	ServeMQTT func(net.Conn)

	// Public are handlers for GET and HEAD of single paths, which anybody may ask.
	Public map[string]nethttp.Handler

	// Files serves the file of a name, as a path below /pages/ says it, and reports whether
	// there is one; if not, it writes nothing. Nil: http.pages is off.
	Files interface {
		Serve(w nethttp.ResponseWriter, r *nethttp.Request, name string) bool
	}

	// Operator serves the paths below /operator/ if http.console is set. Nil: none does.
	Operator nethttp.Handler

	// Page serves the paths that it has, as the operator's page, if http.console is set. Nil:
	// there is none.
	Page interface {
		nethttp.Handler
		Has(path string) bool
	}

	// Manages reports whether an operator who may manage sent a request, and the name.
	// Nil: there are no operators.
	Manages func(*nethttp.Request) (who string, ok bool)

	// Ready returns why the gateway cannot do its work now. Nil: it always can.
	Ready func() error

	// Apart returns why the gateway does not reach the others of its space now, though it does
	// its work. Nil: it always does, or is alone.
	Apart func() error

	// Leases lists who does what only one gateway of the space does. It is called if there are
	// others.
	Leases func() []bridge.LeaseHolder

	// Foreign is a broker that is not the gateway's. Nil: there is none.
	Foreign Foreign

	// MapSkips returns how many messages the channels' maps let alone, by outcome. Nil: there are
	// no maps.
	MapSkips func() map[string]uint64

	// DeviceSessions returns how many sessions of devices there are, by the kind of key that
	// let them in. Nil: there are none.
	DeviceSessions func() map[string]int

	// MQTTSessions counts the MQTT sessions by whether their clients are connected or away, and those
	// that have come and gone among gateways that share their channels, by how. Nil: there are none.
	MQTTSessions func() (now map[string]int, moved map[string]uint64)

	// Gateway is the gateway's id, which registrations are told.
	Gateway uint32

	// LastBackup returns when an operator took the last backup; zero: nobody has. Nil: it is not
	// known.
	LastBackup func() time.Time

	// OwnHost reports whether a name is the gateway's own, such as its certificate's.
	// Nil: none is.
	OwnHost func(string) bool

	// DrainTimeout bounds the writing after Serve's context ends. Messages that still wait
	// for streams then are dropped.
	DrainTimeout time.Duration

	StreamBytes int              // bytes that wait for one stream; 0: 1 MiB
	Intake      *intake.Intake   // bounds unidentified clients and unfinished bodies; nil: no bounds
	Gate        *auth.Gate       // counts wrong secret keys, tokens and senders; nil: they are not counted
	Clock       func() time.Time // for the limit on requests; nil: time.Now
}

const (
	streamBytes = 1 << 20
	idleTimeout = 2 * time.Minute // then a connection without a request is closed
	headerBytes = 160 << 10       // room for 10,000 channels (limits.sender_channels) in a query
	maxTargets  = 1 << 16         // channels × receivers of one call
	askersMost  = 10_000          // senders whose requests are counted at once
)

// Foreign is a broker that is not the gateway's, on which the channels stand too.
type Foreign interface {
	// Healthy returns why they do not now, though the gateway does its work, or nil.
	Healthy() error
	// Removed counts the retained messages of channels that were removed there.
	Removed() uint64
	// Dropped counts the messages of all its clients that the broker itself has dropped, as it says.
	Dropped() uint64
}

func (o *Options) foreignFault() error {
	if o.Foreign == nil {
		return nil
	}
	return o.Foreign.Healthy()
}
