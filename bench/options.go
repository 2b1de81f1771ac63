package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Protocol is how a publisher or a receiver speaks to the server.
type Protocol string

// The protocols. A publisher of SSE is one of HTTP: it posts.
const (
	UDP        Protocol = "udp"         // basic frames
	UDPSession Protocol = "udp-session" // session frames, not acknowledged
	TCP        Protocol = "tcp"         // basic frames
	MQTT       Protocol = "mqtt"        // 3.1.1
	HTTP       Protocol = "http"        // POST; streams of lines
	SSE        Protocol = "sse"         // streams of server-sent events
)

// Protocols are all of them.
var Protocols = []Protocol{UDP, UDPSession, TCP, MQTT, HTTP, SSE}

// hears reports whether a publisher must join a channel with its own connection, and so
// receives messages.
func (p Protocol) hears() bool { return p == UDP || p == UDPSession || p == TCP }

// web reports whether a protocol is HTTP's.
func (p Protocol) web() bool { return p == HTTP || p == SSE }

// Options of a run. Zero values stand for their defaults.
type Options struct {
	Publish, Receive Protocol // HTTP

	Publishers int // 4
	Receivers  int // 50; publishers that hear too are among them where both speak the same
	Channels   int // 1; receivers are spread over them, publishers take one after the other
	JoinAll    bool
	// Send sends to the receivers by their ids instead of broadcasting. Then publishers
	// that must join receive nothing. There are at most 255 receivers.
	Send    bool
	Stalled int // further receivers, who join and then do not read

	Size   int     // bytes of a message, 40 to 60,000; 64
	Rate   float64 // publishes per second of all publishers together; 0: flat out
	Window int     // messages of a publisher that may be out, flat out; 64
	QoS    byte    // of MQTT, 0 or 1

	WarmUp   time.Duration // before anything is measured; 1 s
	Duration time.Duration // 5 s
	Timeout  time.Duration // after which a message that is still out is lost; 2 s
	// Settle is how long after the load the server's memory is read once more, while the clients are
	// still connected; 0: it is not.
	Settle time.Duration

	URL       string // the gateway's; empty: none, for MQTT against other brokers
	SecretKey string // empty: none
	UDPAddr   string // host:port
	TCPAddr   string
	MQTTAddr  string
	User      string // of MQTT, where there is a secret key; bench
	// Origin is the gateway of the publishers, if it may be another one than that of the
	// receivers (URL and so on), which may be any broker of MQTT. nil: there is one server for both.
	Origin *Gateway
	// Topic and Filter are templates of MQTT: {channel} stands for the channel.
	// Without a URL they begin with bench/, else they are the gateway's.
	Topic, Filter string
	// Rest is how long a client of MQTT rests between two reads, so that it leaves the processors to
	// the server; 0: not at all. Messages count as delivered when they are read.
	Rest         time.Duration
	FirstChannel uint32 // one at random, far from those that people and other runs use

	PID int // the server's process; 0: looked for by its port, -1: not looked for

	// Progress is told twenty times a second how far the run is, from 0 to 1.
	Progress func(part float64)
}

// Gateway is how clients reach a gateway.
type Gateway struct {
	URL, SecretKey             string
	UDPAddr, TCPAddr, MQTTAddr string // host:port
}

// publishing returns the options by which publishers connect.
func (o Options) publishing() Options {
	if g := o.Origin; g != nil {
		o.URL, o.SecretKey, o.UDPAddr, o.TCPAddr, o.MQTTAddr = g.URL, g.SecretKey, g.UDPAddr, g.TCPAddr, g.MQTTAddr
	}
	return o
}

// The topics of a gateway, and of any other broker.
const (
	gatewayTopic  = "watchtower/channels/{channel}/broadcast"
	gatewayFilter = "watchtower/channels/{channel}/broadcast/+"
	anyTopic      = "bench/{channel}"
)

// WithDefaults returns the options with all defaults filled in.
func (o Options) WithDefaults() Options {
	o.Publish, o.Receive = cmp.Or(o.Publish, HTTP), cmp.Or(o.Receive, HTTP)
	o.Publishers, o.Receivers, o.Channels = cmp.Or(o.Publishers, 4), cmp.Or(o.Receivers, 50), cmp.Or(o.Channels, 1)
	o.Size, o.Window = cmp.Or(o.Size, 64), cmp.Or(o.Window, 64)
	o.WarmUp, o.Duration, o.Timeout = cmp.Or(o.WarmUp, time.Second), cmp.Or(o.Duration, 5*time.Second), cmp.Or(o.Timeout, 2*time.Second)
	o.User = cmp.Or(o.User, "bench")
	o.FirstChannel = cmp.Or(o.FirstChannel, 1<<31+rand.Uint32N(1<<30))
	if o.URL == "" {
		o.Topic, o.Filter = cmp.Or(o.Topic, anyTopic), cmp.Or(o.Filter, anyTopic)
	} else {
		o.Topic, o.Filter = cmp.Or(o.Topic, gatewayTopic), cmp.Or(o.Filter, gatewayFilter)
	}
	return o
}

// Validate returns every fault of the options as one error, each with its name on the
// command line. Call WithDefaults before.
func (o Options) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	for _, p := range []struct {
		name string
		is   Protocol
		Options
	}{{"--publish", o.Publish, o.publishing()}, {"--receive", o.Receive, o}} {
		check(slices.Contains(Protocols, p.is), "%s: must be one of %s, is %q", p.name, join(Protocols), p.is)
		check(!p.is.web() || p.URL != "", "%s: %s needs --url", p.name, p.is)
		for at, addr := range map[Protocol]string{UDP: p.UDPAddr, UDPSession: p.UDPAddr, TCP: p.TCPAddr, MQTT: p.MQTTAddr} {
			check(p.is != at || addr != "", "%s: %s needs an address", p.name, p.is)
		}
	}
	check(o.Publishers > 0 && o.Publishers <= maxPublishers, "--publishers: must be 1 to %d, is %d", maxPublishers, o.Publishers)
	check(o.Receivers > 0, "--receivers: must be 1 or more, is %d", o.Receivers)
	check(o.Channels > 0 && o.Channels <= 100_000, "--channels: must be 1 to 100,000, is %d", o.Channels)
	check(o.Size >= headerSize && o.Size <= 60_000, "--size: must be %d to 60,000, is %d", headerSize, o.Size)
	check(o.Rate >= 0, "--rate: must be 0 or more, is %g", o.Rate)
	check(o.Window > 0 && o.Window <= maxWindow, "--window: must be 1 to %d, is %d", maxWindow, o.Window)
	check(o.QoS <= 1, "--qos: must be 0 or 1, is %d", o.QoS)
	check(o.Stalled >= 0, "--stalled: must be 0 or more, is %d", o.Stalled)
	check(o.WarmUp >= 0 && o.Duration > 0 && o.Timeout > 0 && o.Settle >= 0, "--warm-up, --duration, --timeout and --settle: must not be negative")
	check(!o.Send || o.Publish != MQTT && o.Receive != MQTT && o.Channels == 1 && o.Receivers <= 255,
		"--send: not with MQTT, on one channel, to 255 receivers at most")
	check(o.Origin == nil || o.Origin.URL != "" && (o.URL != "" || o.Receive == MQTT), "--publish-url, --receive-url: both must be gateways")
	check(!o.Send || o.Origin == nil || o.Origin.URL == o.URL, "--send: not between two gateways")
	return errors.Join(faults...)
}

func join(all []Protocol) string {
	texts := make([]string, len(all))
	for i, p := range all {
		texts[i] = string(p)
	}
	return strings.Join(texts, ", ")
}
