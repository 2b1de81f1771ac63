package remote

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/config"
)

// login says how to connect to a broker.
type login struct {
	address  string // host:port
	tls      *tls.Config
	user     string
	password string
	client   string // its id
	clean    bool   // nothing of an earlier session counts, and this one ends with the connection
	will     *packets.ConnectParams
	limit    int // bytes of a packet
}

const (
	dialTimeout   = 10 * time.Second
	keepAlive     = 15 // seconds; a broker that is frozen or cut off is left after one and a half
	sessionExpiry = 300
)

// newLogin returns how the settings say to connect.
func newLogin(r config.Remote, limit int) (login, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return login{}, fmt.Errorf("mqtt.remote.url: %w", err)
	}
	l := login{user: r.User, password: r.Password, limit: limit}
	port := u.Port()
	if u.Scheme == "mqtts" {
		if port == "" {
			port = "8883"
		}
		l.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	} else if port == "" {
		port = "1883"
	}
	l.address = net.JoinHostPort(u.Hostname(), port)
	if l.tls == nil {
		return l, nil
	}
	if r.TLSCA != "" {
		pem, err := os.ReadFile(r.TLSCA)
		if err != nil {
			return l, fmt.Errorf("mqtt.remote.tls_ca: %w", err)
		}
		if l.tls.RootCAs = x509.NewCertPool(); !l.tls.RootCAs.AppendCertsFromPEM(pem) {
			return l, fmt.Errorf("mqtt.remote.tls_ca: %s has no certificate in it", r.TLSCA)
		}
	}
	if r.TLSCertificate != "" {
		own, err := tls.LoadX509KeyPair(r.TLSCertificate, r.TLSKey)
		if err != nil {
			return l, fmt.Errorf("mqtt.remote.tls_certificate: %w", err)
		}
		l.tls.Certificates = []tls.Certificate{own}
	}
	return l, nil
}

// refusal is why a broker refused a connection.
type refusal struct {
	version byte
	code    byte
	why     string
	later   bool // it had accepted it, and ends it
}

func (r *refusal) Error() string {
	text := reasons5[r.code]
	if r.version != version5 {
		text = reasons3[r.code]
	}
	if text == "" {
		text = "it gave no reason that MQTT knows"
	}
	if r.why != "" {
		text += " (" + r.why + ")"
	}
	does := "refuses"
	if r.later {
		does = "ends"
	}
	return fmt.Sprintf("the broker %s the connection: %s (code 0x%02x)", does, text, r.code)
}

// badVersion reports whether the broker does not speak that version of MQTT.
func (r *refusal) badVersion() bool {
	return r.code == 0x84 || r.code == 1
}

var reasons3 = map[byte]string{
	1: "it does not speak this version of MQTT", 2: "it does not take the client id", 3: "it is not available",
	4: "wrong user name or password: see mqtt.remote.user and mqtt.remote.password", 5: "not authorized: see mqtt.remote.user and mqtt.remote.password",
}

var reasons5 = map[byte]string{
	0x01: "it does not speak this version of MQTT", 0x84: "it does not speak this version of MQTT", 0x85: "it does not take the client id", 0x86: "wrong user name or password: see mqtt.remote.user and mqtt.remote.password",
	0x87: "not authorized: see mqtt.remote.user and mqtt.remote.password", 0x88: "it is not available", 0x89: "it is busy", 0x8a: "it has banned this client",
	0x97: "its quota is used up", 0x9f: "too many connections in a short time", 0x04: "wrong user name or password: see mqtt.remote.user and mqtt.remote.password",
	0x8b: "it shuts down", 0x8d: "it has heard nothing for too long", 0x95: "a packet was too large", 0x96: "too many messages", 0x98: "an operator ended it", 0x9c: "another server is to be used",
	0x05: "not authorized: see mqtt.remote.user and mqtt.remote.password",
}

// ErrNoLocal says that a broker would send the gateway its own messages.
var ErrNoLocal = errors.New("the broker speaks neither MQTT 5 nor MQTT 3.1.1 with the bridge bit: it would send the gateway its own messages, so it cannot be used")

// ErrLacks says that a broker lacks what the gateway needs.
var ErrLacks = errors.New("the broker cannot be used")

// ErrAway says that nothing answers where the broker should be: errors.Is finds it.
var ErrAway = errors.New("the broker does not answer")

// away is an error of the network.
type away struct{ error }

func (a away) Unwrap() error  { return a.error }
func (away) Is(is error) bool { return is == ErrAway }

// ofNetwork marks an error of a connection as one of the network, unless the broker, or its
// certificate, is why.
func ofNetwork(err error) error {
	if errors.As(err, new(*refusal)) || errors.Is(err, errPacket) || errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) {
		return err
	}
	return away{err}
}

// lacks returns what a broker of MQTT 5 says that it cannot do, though the gateway needs it
// (MQTT 5, 3.2.2.3).
func (c *conn) lacks() error {
	p := &c.ack.Properties
	switch {
	case p.RetainAvailableFlag && p.RetainAvailable == 0:
		return fmt.Errorf("%w: it retains no messages", ErrLacks)
	case p.MaximumQosFlag && p.MaximumQos == 0:
		return fmt.Errorf("%w: it takes messages at QoS 0 only", ErrLacks)
	case p.WildcardSubAvailableFlag && p.WildcardSubAvailable == 0:
		return fmt.Errorf("%w: it takes no filters with wildcards", ErrLacks)
	}
	return nil
}

// conn is a connection to a broker.
type conn struct {
	net.Conn
	r       *bufio.Reader
	version byte
	limit   int
	ack     packets.Packet  // CONNACK
	ended   <-chan struct{} // closed at the end; nil: the connection is a probe's

	kept []packets.Packet // messages that came while a probe waited for something else
}

// dial connects by the version of MQTT that the broker is known to speak; 0: none is known yet. Then
// it tries MQTT 5, and MQTT 3.1.1 with the bridge bit. A broker that knows neither says so, or ends
// the connection (RabbitMQ 3.10), as one does that just starts: so that has to happen again and
// again before it counts.
func dial(ctx context.Context, l login, known byte) (*conn, error) {
	if known != 0 {
		return l.connect(ctx, known, 1)
	}
	c, err := l.connect(ctx, version5, tries)
	if err == nil || !unknownVersion(err) {
		return c, err
	}
	c, err = l.connect(ctx, version3|bridgeBit, tries)
	if err == nil || !unknownVersion(err) {
		return c, err
	}
	try := l
	try.client, try.clean, try.will = "watchtower-try-"+rand.Text()[:8], true, nil
	plain, failed := connect(ctx, try, version3)
	if failed != nil {
		return nil, err
	}
	_ = plain.Close()
	if c, err = l.connect(ctx, version5, 1); err == nil || !unknownVersion(err) { // it may have just started
		return c, err
	}
	return nil, ErrNoLocal
}

// tries is how often a broker has to end a connection to count as one that does not know the
// version.
const tries = 3

// connect connects by one version, and checks what the broker can do.
func (l login) connect(ctx context.Context, version byte, tries int) (c *conn, err error) {
	for ; tries > 0; tries-- {
		c, err = connect(ctx, l, version)
		var no *refusal
		if err == nil || !unknownVersion(err) || errors.As(err, &no) {
			break
		}
		wait(ctx, firstPause)
	}
	if err == nil && c.version == version5 {
		if err = c.lacks(); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, err
}

// unknownVersion reports whether a broker may not know a version of MQTT.
func unknownVersion(err error) bool {
	var no *refusal
	return errors.As(err, &no) && no.badVersion() || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// connect connects by one version.
func connect(ctx context.Context, l login, version byte) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, away{err}
	}
	plain := raw
	stop := context.AfterFunc(ctx, func() { _ = plain.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if l.tls != nil {
		secure := tls.Client(raw, l.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, ofNetwork(err)
		}
		raw = secure
	}
	c := &conn{Conn: raw, r: bufio.NewReaderSize(raw, 16<<10), version: version &^ bridgeBit, limit: l.limit}
	if err = c.greet(l, version); err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("the broker did not answer CONNECT in %s", dialTimeout)
		}
		return nil, ofNetwork(err)
	}
	return c, nil
}

// greet sends CONNECT, and reads CONNACK.
func (c *conn) greet(l login, version byte) error {
	hello := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: version}
	if l.will != nil {
		hello.Connect = *l.will
	}
	hello.Connect.ProtocolName, hello.Connect.ClientIdentifier = []byte("MQTT"), l.client
	hello.Connect.Clean, hello.Connect.Keepalive = l.clean, keepAlive
	if l.user != "" {
		hello.Connect.UsernameFlag, hello.Connect.Username = true, []byte(l.user)
	}
	if l.password != "" {
		hello.Connect.PasswordFlag, hello.Connect.Password = true, []byte(l.password)
	}
	if c.version == version5 {
		hello.Properties.MaximumPacketSize = uint32(l.limit)
		hello.Properties.ReceiveMaximum = flyingMost
		if !l.clean {
			hello.Properties.SessionExpiryInterval, hello.Properties.SessionExpiryIntervalFlag = sessionExpiry, true
		}
	}
	if err := write(c.Conn, &hello); err != nil {
		return err
	}
	var err error
	c.ack, err = read(c.r, c.version, c.limit)
	switch {
	case c.ack.FixedHeader.Type == packets.Connack && c.ack.ReasonCode != 0: // also the short one of a server of MQTT 3.1.1
		return &refusal{c.version, c.ack.ReasonCode, c.ack.Properties.ReasonString, false}
	case err == nil && c.ack.FixedHeader.Type != packets.Connack:
		return errPacket
	}
	return err
}
