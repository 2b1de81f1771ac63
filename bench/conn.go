package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"watchtower/wire/frame"
)

// patience is how long a server may take to answer while a run is set up.
const patience = 10 * time.Second

// conn is one client of the server. Until listen is called, only one goroutine uses it. Then
// listen has a goroutine of its own, and another one calls add and flush.
type conn interface {
	// join joins channels. Listen gets the messages that come from then on.
	join(channels []uint32) error
	// listen gives the messages that come to e, until the connection ends. It returns nil
	// if close ended it.
	listen(e *ear) error
	// add publishes a message, at the latest at the next flush.
	add(channel uint32, payload []byte) error
	flush() error
	// number returns the client's id as a receiver; 0: it has none.
	number() uint32
	// keep tells the server that the client is still there, if it has to.
	keep() error
	close()
}

// server is the measured server: what clients need to connect to it.
type server struct {
	opts   Options
	run    uint32
	host   string    // of the URL, host:port
	key    frame.Key // of devices
	to     []uint32  // ids that messages are sent to; none: they are broadcasts
	sender identity  // by which publishers over HTTP speak
	web    *web
}

// dial opens a connection of a protocol. The number is for names.
func (s *server) dial(p Protocol, n int) (conn, error) {
	switch p {
	case UDP:
		return s.dialUDP()
	case UDPSession:
		return s.dialSession()
	case TCP:
		return s.dialTCP()
	case MQTT:
		return s.dialMQTT(n)
	default:
		return s.dialStream(p == SSE)
	}
}

// dialPublisher opens a connection that publishes, and joins nothing yet.
func (s *server) dialPublisher(p Protocol, n int) (conn, error) {
	if p.web() {
		return s.dialPoster()
	}
	return s.dial(p, n)
}

func dialStream(address string) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn) // a dialer of tcp gives nothing else
	return tcp, tcp.SetNoDelay(true)
}

// patiently calls do with a deadline of patience on the connection.
func patiently(c net.Conn, do func() error) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// ended returns the error of a read, or nil if the error only says that the connection was
// closed on this side.
func ended(err error) error {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the server closed the connection")
	}
	return fmt.Errorf("reading: %w", err)
}

// inbox reads a stream into one buffer. Frames are taken from it without a copy.
type inbox struct {
	buf         []byte
	begin, fill int
}

// newInbox is for frames of up to n bytes.
func newInbox(n int) inbox { return inbox{buf: make([]byte, max(16<<10, 4*n))} }

// read reads all that waits, and appends it to the bytes that are not taken yet.
func (in *inbox) read(c net.Conn) error {
	if in.begin > 0 {
		copy(in.buf, in.buf[in.begin:in.fill])
		in.begin, in.fill = 0, in.fill-in.begin
	}
	if in.fill == len(in.buf) {
		return errors.New("a frame is larger than any that was sent")
	}
	n, err := c.Read(in.buf[in.fill:])
	in.fill += n
	return err
}

// rest returns the bytes that are not taken yet.
func (in *inbox) rest() []byte { return in.buf[in.begin:in.fill] }
