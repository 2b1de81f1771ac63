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

// conn is one client of the server. Until listen is called, and for join, it is
// used by one goroutine; then listen has one of its own, and so have add and
// flush.
type conn interface {
	// join joins channels. What it hears from then on, listen gets.
	join(channels []uint32) error
	// listen gives what comes to e until the connection ends. It returns nil
	// if that was by close.
	listen(e *ear) error
	// add publishes a message, by the next flush at the latest.
	add(channel uint32, payload []byte) error
	flush() error
	// number is the client's id, by which it is sent to; 0: it has none.
	number() uint32
	// keep tells the server that the client is still there, if it has to.
	keep() error
	close()
}

// server is what is measured, and what clients need to know to speak to it.
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

// patiently does an exchange that the server has to answer in time.
func patiently(c net.Conn, do func() error) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// ended is the error of a read, or nil if it says no more than that the
// connection was closed on this side.
func ended(err error) error {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the server closed the connection")
	}
	return fmt.Errorf("reading: %w", err)
}

// inbox reads a stream into one buffer, from which frames are taken in place.
type inbox struct {
	buf         []byte
	begin, fill int
}

// newInbox is for frames of up to n bytes.
func newInbox(n int) inbox { return inbox{buf: make([]byte, max(16<<10, 4*n))} }

// read reads whatever waits, behind what is not taken yet.
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

// rest is what is not taken yet.
func (in *inbox) rest() []byte { return in.buf[in.begin:in.fill] }
