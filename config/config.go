// Package config holds the configuration of a gateway: plain data, its defaults, and
// how it is read from flags, the environment and a YAML file.
//
// One table (settings in settings.go) holds every setting once. Flags, variables,
// keys, defaults, help, checks and the printed configuration all come from it.
// A setting has three names: in the file its dotted path (udp.listen), in the
// environment WATCHTOWER_ and the path in capitals (WATCHTOWER_UDP_LISTEN), and as a
// flag the path with hyphens (--udp-listen). The package imports no other package of
// the project. It opens only the file that it is told to read.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Config is a gateway's configuration. Default, Load and Validate say what its
// fields may hold; the table in settings.go describes each.
type Config struct {
	HTTP            HTTP
	UDP             UDP
	TCP             TCP
	MQTT            MQTT
	IRC             IRC
	Cluster         Cluster
	HomeAssistant   HomeAssistant
	TLS             TLS
	SecretKey       string // empty: one is generated, unless Open
	AdminKey        string // empty: one is generated
	Open            bool
	MDNS            bool // the gateway is announced in the local network
	DataDir         string
	Gateway         Gateway
	Auth            Auth
	Senders         Senders
	Wire            Wire
	History         History
	Limits          Limits
	Callbacks       Callbacks
	Channels        map[uint32]Channel // by number; only from the file
	Users           map[string]User    // by name; only from the file
	ShutdownTimeout time.Duration
	Log             Log

	file string            // that Load read; empty: none
	from map[string]string // path → --flag, variable or file:line; not there: the default
}

// HTTP is the section of the HTTP bridge.
type HTTP struct {
	Listen         string // host:port; empty: off
	TLSListen      string // host:port; off without a certificate
	Linger         time.Duration
	Heartbeat      time.Duration
	TrustedProxies []netip.Prefix
	Ingress        []netip.Prefix // who comes from there has signed in at Home Assistant
	CORSOrigins    []string
	Hosts          []string
	ReadTimeout    time.Duration
	WriteTimeout   time.Duration
	StreamQueue    int // messages
	MailboxTimeout time.Duration
	Console        bool   // operators may manage the gateway over HTTP
	Pages          string // directory of files that everybody may read; empty: off
}

// UDP is the section of the UDP bridge.
type UDP struct {
	Listen              string // host:port; empty: off
	SegmentationOffload bool   // one write sends several datagrams to one receiver (Linux)
}

// TCP is the section of the TCP bridge.
type TCP struct {
	Listen       string // host:port; empty: off
	Queue        int    // messages
	WriteTimeout time.Duration
}

// IRC is the section of the server for clients of IRC.
type IRC struct {
	Listen       string // host:port; empty: off
	TLSListen    string // host:port; empty, or without a certificate: off
	Queue        int    // messages and replies
	WriteTimeout time.Duration
	PingInterval time.Duration
}

// Cluster is the section of the gateways that share their channels.
type Cluster struct {
	URL            string // of NATS servers, with commas between them; empty: the gateway is alone
	Credentials    string // file, as NATS makes it; empty: none
	TLSCA          string // file, PEM, of who signed the servers' certificates; empty: the system's
	TLSCertificate string // file, PEM, by which the gateway proves itself; empty: none
	TLSKey         string // file, PEM
	Space          string // gateways of one space share their channels
	Slot           int    // the gateway's number in the space; 0: one is claimed
}

// MQTT is the section of the embedded broker.
type MQTT struct {
	Listen            string // host:port; empty: off
	TLSListen         string // host:port; off without a certificate
	BaseTopic         string
	MaxPacketBytes    int
	ConnectTimeout    time.Duration
	WriteTimeout      time.Duration
	MaxKeepAlive      time.Duration // 0: any
	SessionQueue      int           // messages
	SessionQueueBytes int
	SessionExpiry     time.Duration
	WillGrace         time.Duration
	SaveInterval      time.Duration
	Remote            Remote
}

// Remote is the section of a broker that is not the gateway's, on which its channels stand
// too.
type Remote struct {
	URL            string // mqtt://host:1883 or mqtts://host:8883; empty: none
	User           string
	Password       string
	TLSCA          string // file, PEM, of who signed the broker's certificate; empty: the system's
	TLSCertificate string // file, PEM, by which the gateway proves itself; empty: none
	TLSKey         string // file, PEM
	Trust          string // acl: the broker enforces who speaks as whom; none: it does not
	Probe          Login  // of a device, by which that is found out
	QoS            int    // of channel messages
}

// Login is a user's name and password at a foreign broker.
type Login struct{ User, Password string }

// HomeAssistant is the section of the discovery messages that announce channels to Home
// Assistant.
type HomeAssistant struct {
	Enabled         bool
	DiscoveryPrefix string
	BirthTopic      string
	BirthDelay      time.Duration // the longest; the delay is random
}

// TLS is the section that all TLS listeners share. The files are read again when they
// change.
type TLS struct {
	Certificate              string // file, PEM, with the chain; empty: no TLS
	Key                      string // file, PEM
	ClientCA                 string // file, PEM; empty: client certificates are not asked for
	RequireClientCertificate bool
}

// On reports whether there is a certificate.
func (t TLS) On() bool { return t.Certificate != "" }

// Gateway is the section that identifies this gateway.
type Gateway struct {
	Name string // empty: generated once
}

// Auth is the section that says who may use which sender.
type Auth struct {
	RequireToken bool
}

// Senders is the section that says how long senders are remembered.
type Senders struct {
	ExpireAfter        time.Duration
	ExpireUnnamedAfter time.Duration
}

// Wire is the section that the UDP and TCP bridges share.
type Wire struct {
	Basic        bool
	BasicKey     string
	DeviceKeys   string // required, accepted, off
	IdleTimeout  time.Duration
	FrameTimeout time.Duration
	SessionQueue int // messages
	RetryGap     time.Duration
}

// History is the section of the last messages, which are kept for clients that were away.
type History struct {
	Messages int // of each channel
	Age      time.Duration
	Bytes    int // of all channels
}

// MostMessageBytes is the largest value of limits.message_bytes.
const MostMessageBytes = 64_000

// Limits bound what clients can use up.
type Limits struct {
	MessageBytes          int
	Senders               int // remembered ones
	SenderChannels        int
	SenderStreams         int
	SenderCallbacks       int
	SenderRequests        int // a second
	Failures              int
	FailureInterval       time.Duration
	StrangersBytes        int
	UnfinishedBytes       int
	RegisterTimeout       time.Duration
	ConnectionsPerAddress int
	TCPConnections        int
	IRCConnections        int
	HTTPConnections       int
	UDPBasic              int
	UDPSessions           int
	MQTTConnections       int
	MQTTSessions          int
	MQTTSubscriptions     int // of one session
	MQTTSubscriptionBytes int
	MQTTQueueBytes        int
	MQTTRetained          int
	MQTTRetainedBytes     int
	HomeAssistantDevices  int // those that describe themselves
}

// Callbacks says how messages are posted to URLs, and which URLs are allowed.
type Callbacks struct {
	Allow      []string // hosts, addresses, CIDRs
	PublicOnly bool
	Timeout    time.Duration
	Retries    int
	RetryGap   time.Duration
	MaxGap     time.Duration
	Queue      int // messages
	Kept       int // messages

	Bytes       int // of all together
	Concurrency int // attempts

	DisableAfter    time.Duration
	RotationOverlap time.Duration
	SaveInterval    time.Duration
}

// Channel describes one channel.
type Channel struct {
	Name          string // 1 to 64 printable characters; empty: none, which only a channel with Confirm or Map may have
	HomeAssistant bool   // it is announced to Home Assistant
	Device        bool   // there it is a device of its own, and no part of the gateway's

	Confirm     int           // how many have to say the same before it is delivered; 0: nobody else
	Within      time.Duration // counted from the first
	Unprotected bool          // all senders count for that

	Map []Map // topics outside of the gateway's tree from which messages come in, and to which they go out
}

// The range of Channel.Confirm, the default of Channel.Within and its range.
const (
	leastConfirm  = 2
	mostConfirm   = 255
	defaultWithin = 30 * time.Second
	leastWithin   = time.Second
	mostWithin    = 24 * time.Hour
)

// mayBeNameless reports whether the channel says something else than its name.
func (c Channel) mayBeNameless() bool { return c.Confirm > 0 || len(c.Map) > 0 }

// checkRule returns the fault of a channel's rule, and the key that has it.
func (c Channel) checkRule() (key string, err error) {
	switch {
	case c.Confirm == 0 && (c.Within != 0 || c.Unprotected):
		return "confirm", errors.New("is missing: within and unprotected are for channels that want more than one")
	case c.Confirm == 0:
		return "", nil
	case c.Confirm < leastConfirm || c.Confirm > mostConfirm:
		return "confirm", fmt.Errorf("must be %d to %d, is %d", leastConfirm, mostConfirm, c.Confirm)
	case c.Within < leastWithin || c.Within > mostWithin:
		return "within", fmt.Errorf("must be %s to 24h, is %s", leastWithin, c.Within)
	}
	return "", nil
}

// Log is the section of the log.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text, json
}

// Default returns the configuration in which every setting has its default. DataDir is
// empty: Load finds it from the environment.
func Default() Config {
	var c Config
	for _, s := range settings(&c) {
		if err := s.value.set(s.Default); err != nil {
			panic("config: default of " + s.Path + ": " + err.Error()) // the table is wrong; every test sees it
		}
	}
	return c
}
