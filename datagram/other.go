//go:build !linux

package datagram

import (
	"net"
	"net/netip"
)

// Socket is a UDP socket.
type Socket struct{ conn *net.UDPConn }

// Of returns a Socket for c, which the caller still owns.
func Of(c *net.UDPConn) (*Socket, error) { return &Socket{c}, nil }

// Reader reads datagrams from a socket. One goroutine uses it.
type Reader struct {
	conn *net.UDPConn
	room []byte
	n    int
	from netip.AddrPort
}

// Reader returns a reader of one datagram at once. It keeps the first size bytes.
// One byte more than is allowed shows which datagrams are too long.
func (s *Socket) Reader(_, size int) *Reader {
	return &Reader{conn: s.conn, room: make([]byte, size)}
}

// Read waits for a datagram, as long as the socket's read deadline allows.
func (r *Reader) Read() (int, error) {
	n, from, err := r.conn.ReadFromUDPAddrPort(r.room)
	if err != nil {
		return 0, err
	}
	r.n, r.from = n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	return 1, nil
}

// At is the datagram, and where it came from. The bytes are good until the next
// Read.
func (r *Reader) At(int) ([]byte, netip.AddrPort) { return r.room[:r.n], r.from }

// Local is 0: not known.
func (r *Reader) Local(int) Local { return 0 }

// Writer writes datagrams to a socket. One goroutine uses it.
type Writer struct {
	batch
	conn *net.UDPConn
	data [maxRuns][]byte
	to   [maxRuns]netip.AddrPort
}

// Writer returns a writer with an empty batch. Nothing is merged here.
func (s *Socket) Writer(bool) *Writer { return &Writer{conn: s.conn} }

// Add puts a datagram into the batch, which keeps the bytes until Reset: they do not
// change, and there is at least one. Without a valid address it goes where the socket is
// connected to. Add reports whether the batch is full: then it is written and reset
// before the next Add.
func (w *Writer) Add(b []byte, to netip.AddrPort) (full bool) {
	if w.count > 0 && w.Waiting() == 0 {
		w.Reset()
	}
	w.data[w.count], w.to[w.count] = b, to
	w.count++
	return w.count == maxRuns
}

// AddFrom is Add: on this system a datagram's source is not chosen.
func (w *Writer) AddFrom(b []byte, to netip.AddrPort, _ Local) (full bool) { return w.Add(b, to) }

// To is where a datagram of the batch goes.
func (w *Writer) To(i int) netip.AddrPort { return w.to[i] }

// Write writes the first datagram that waits. While the socket is full it waits
// for room, as long as the write deadline allows.
func (w *Writer) Write(bool) (n int, err error) {
	b, to := w.data[w.done], w.to[w.done]
	if to.IsValid() {
		_, err = w.conn.WriteToUDPAddrPort(b, to)
	} else {
		_, err = w.conn.Write(b)
	}
	if err != nil {
		return 0, err
	}
	w.done++
	return 1, nil
}

// Skip gives up the datagram that Write could not write, and returns 1.
func (w *Writer) Skip() int {
	w.done++
	return 1
}

// Reset empties the batch.
func (w *Writer) Reset() { w.batch = batch{} }
