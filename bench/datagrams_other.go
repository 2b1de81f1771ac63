//go:build !linux

package bench

import "net"

// receiver reads datagrams, one at a time where the system knows no batches.
type receiver struct {
	conn *net.UDPConn
	room []byte
	n    int
}

func newReceiver(c *net.UDPConn, size int) (*receiver, error) {
	return &receiver{conn: c, room: make([]byte, size+1)}, nil
}

func (r *receiver) read() (n int, err error) {
	r.n, err = r.conn.Read(r.room)
	return 1, err
}

func (r *receiver) at(int) []byte { return r.room[:r.n] }

// transmitter writes datagrams.
type transmitter struct{ conn *net.UDPConn }

func newTransmitter(c *net.UDPConn) (*transmitter, error) { return &transmitter{c}, nil }

func (t *transmitter) add(b []byte) error {
	_, err := t.conn.Write(b)
	return err
}

func (t *transmitter) flush() error { return nil }
