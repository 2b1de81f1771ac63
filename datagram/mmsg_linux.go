package datagram

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reader reads datagrams from a socket, a batch at a time. One goroutine uses it.
type Reader struct {
	raw     syscall.RawConn
	headers []mmsghdr
	vectors []unix.Iovec
	names   []name
	room    []byte
	size    int
	n       int
	errno   syscall.Errno
	attempt func(fd uintptr) bool

	socket  *Socket
	control [][arrival]byte // says at which address each came; nil: the socket is bound to one
	last    netip.Addr      // the address of the last one, with the number lastNo: most have the same
	lastNo  Local
}

// Reader returns a reader of at most so many datagrams at once. It keeps the first size
// bytes of each. One byte more than is allowed shows which datagrams are too long.
func (s *Socket) Reader(most, size int) *Reader {
	r := &Reader{
		raw: s.raw, headers: make([]mmsghdr, most), vectors: make([]unix.Iovec, most),
		names: make([]name, most), room: make([]byte, most*size), size: size, socket: s,
	}
	if s.anywhere {
		r.control = make([][arrival]byte, most)
	}
	for i := range r.headers {
		r.vectors[i].Base = &r.room[i*size]
		r.vectors[i].SetLen(size)
		h := &r.headers[i].header
		h.Iov, h.Name = &r.vectors[i], (*byte)(unsafe.Pointer(&r.names[i]))
		h.SetIovlen(1)
		r.prepare(i)
	}
	r.attempt = r.try
	return r
}

// prepare sets the room for an address and for control messages: the last read left the
// lengths of what it found.
func (r *Reader) prepare(i int) {
	h := &r.headers[i].header
	h.Namelen = unix.SizeofSockaddrInet6
	if r.control != nil {
		h.Control = &r.control[i][0]
		h.SetControllen(arrival)
	}
}

// Read waits for datagrams, as long as the socket's read deadline allows, and
// returns how many came.
func (r *Reader) Read() (int, error) {
	for i := range r.n {
		r.prepare(i)
	}
	r.n = 0
	if err := r.raw.Read(r.attempt); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, r.errno
	}
	return r.n, nil
}

func (r *Reader) try(fd uintptr) bool {
	n, errno := call(unix.SYS_RECVMMSG, fd, r.headers)
	r.n, r.errno = n, errno
	return errno != syscall.EAGAIN
}

// At returns a datagram of the last batch, and where it came from. The bytes are good
// until the next Read.
func (r *Reader) At(i int) ([]byte, netip.AddrPort) {
	return r.room[i*r.size:][:r.headers[i].n], get(&r.names[i])
}

// Local is this machine's address at which a datagram of the last batch came; 0 if the
// socket is bound to one.
func (r *Reader) Local(i int) Local {
	if r.control == nil {
		return 0
	}
	at := arrivedAt(r.control[i][:min(int(r.headers[i].header.Controllen), arrival)])
	if at != r.last {
		r.last, r.lastNo = at, r.socket.number(at)
	}
	return r.lastNo
}

// call receives or sends messages, and returns how many.
func call(number, fd uintptr, messages []mmsghdr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.Syscall6(number, fd, uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// Writer writes datagrams to a socket, a batch at a time. One goroutine uses it.
type Writer struct {
	batch
	socket  *Socket
	merges  bool
	runs    [maxRuns]run
	headers [maxRuns]mmsghdr
	names   [maxRuns]name
	control [maxRuns]control
	vectors [maxParts]unix.Iovec
	n       int  // runs
	next    int  // the first run that was not written
	apart   bool // the datagrams of the next run are written one by one, because together they were refused
	one     [1]mmsghdr

	wait    bool
	wrote   int
	errno   syscall.Errno
	attempt func(fd uintptr) bool

	queued int32 // bytes in the socket's buffer, when it was asked
	ask    func(fd uintptr)
}

// run is datagrams to one destination that go as one message. All have one size; only the
// last may be shorter.
type run struct {
	to          netip.AddrPort
	from        Local
	first, n    int // of the batch's datagrams
	size, bytes int
	short       bool // the last one is shorter: nothing can follow it
	source      int  // bytes of control that hold the address to leave from
	unsourced   bool // that address was taken out, because it was refused
}

// Writer returns a writer with an empty batch. Without merge every datagram is a message
// of its own; with it they are merged if the system can do that.
func (s *Socket) Writer(merge bool) *Writer {
	w := &Writer{socket: s, merges: merge && s.merges}
	w.attempt, w.ask = w.try, w.look
	return w
}

// Add puts a datagram into the batch, which keeps the bytes until Reset: they do not
// change, and there is at least one. Without a valid address it goes where the socket is
// connected to. Add reports whether the batch is full: then it is written and reset
// before the next Add.
func (w *Writer) Add(b []byte, to netip.AddrPort) (full bool) { return w.AddFrom(b, to, 0) }

// AddFrom is Add for a datagram that leaves from a given address of this machine.
func (w *Writer) AddFrom(b []byte, to netip.AddrPort, from Local) (full bool) {
	if w.count > 0 && w.Waiting() == 0 {
		w.Reset()
	}
	v := &w.vectors[w.count]
	v.Base = &b[0]
	v.SetLen(len(b))
	if !w.join(len(b), to, from) {
		w.begin(v, len(b), to, from)
	}
	w.count++
	return w.n == maxRuns || w.count == maxParts
}

// To is where a datagram of the batch goes.
func (w *Writer) To(i int) netip.AddrPort {
	for _, r := range w.runs[:w.n] {
		if i < r.first+r.n {
			return r.to
		}
	}
	return netip.AddrPort{}
}

// join adds the datagram to the last run, if it can.
func (w *Writer) join(size int, to netip.AddrPort, from Local) bool {
	if w.n == 0 || !w.merges {
		return false
	}
	r := &w.runs[w.n-1]
	if r.short || size > r.size || r.n == maxRun || r.bytes+size > maxRunBytes || r.to != to || r.from != from {
		return false
	}
	r.n, r.bytes, r.short = r.n+1, r.bytes+size, size < r.size
	h := &w.headers[w.n-1].header
	h.SetIovlen(r.n)
	if r.n == 2 {
		c := &w.control[w.n-1]
		c.use(h, c.segments(r.source, r.size))
	}
	return true
}

func (w *Writer) begin(v *unix.Iovec, size int, to netip.AddrPort, from Local) {
	w.runs[w.n] = run{to: to, from: from, first: w.count, n: 1, size: size, bytes: size}
	h := &w.headers[w.n].header
	*h = unix.Msghdr{Iov: v}
	h.SetIovlen(1)
	if to.IsValid() {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&w.names[w.n])), w.socket.set(&w.names[w.n], to)
	}
	if from != 0 {
		c := &w.control[w.n]
		w.runs[w.n].source = c.source(w.socket.local(from), to.Addr())
		c.use(h, w.runs[w.n].source)
	}
	w.n++
}

// Write writes the waiting datagrams, or the first of them, and returns how many. With
// wait it waits while the socket is full, until the write deadline. With an error nothing
// was written. The error is that of the first waiting datagram, and of those that Skip
// gives up with it.
func (w *Writer) Write(wait bool) (n int, err error) {
	w.wait = wait
	for {
		if err := w.socket.raw.Write(w.attempt); err != nil {
			return 0, err
		}
		switch {
		case w.errno == 0:
			return w.advance(), nil
		case w.runs[w.next].n > 1 && !w.apart && asMerged(w.errno):
			w.apart = true
		case w.runs[w.next].source > 0:
			w.withoutSource()
		default:
			return 0, w.errno
		}
	}
}

// withoutSource lets the system choose the address from which the next run leaves: the
// machine may have lost the one it had.
func (w *Writer) withoutSource() {
	r, c := &w.runs[w.next], &w.control[w.next]
	r.source, r.unsourced = 0, true
	size := 0
	if r.n > 1 {
		size = c.segments(0, r.size)
	}
	c.use(&w.headers[w.next].header, size)
}

// asMerged reports whether a message may have been refused because it is merged: a
// network device may be unable to make its checksums, or to split it.
func asMerged(errno syscall.Errno) bool {
	return errno == syscall.EIO || errno == syscall.EINVAL || errno == syscall.EMSGSIZE
}

func (w *Writer) try(fd uintptr) bool {
	messages := w.headers[w.next:w.n]
	if w.apart {
		h := &w.one[0].header
		*h = w.headers[w.next].header
		h.Iov = &w.vectors[w.done]
		h.SetIovlen(1)
		w.control[w.next].use(h, w.runs[w.next].source) // and no segments
		messages = w.one[:]
	}
	w.wrote, w.errno = call(unix.SYS_SENDMMSG, fd, messages)
	return w.errno != syscall.EAGAIN || !w.wait
}

// advance counts what was written.
func (w *Writer) advance() int {
	if w.apart { // so it was the merging that was refused
		if r := &w.runs[w.next]; r.size <= everywhere && !r.unsourced { // and it would be refused again
			w.merges = false
		}
		w.pass(1)
		return 1
	}
	n := 0
	for range w.wrote {
		n += w.runs[w.next].n
		w.next++
	}
	w.done += n
	return n
}

// pass counts datagrams of the next run as done.
func (w *Writer) pass(n int) {
	w.done += n
	if r := w.runs[w.next]; w.done == r.first+r.n {
		w.next++
		w.apart = false
	}
}

// Skip gives up the datagram that Write could not write, and those that were refused
// together with it. It returns how many. The first is that of Done before the call.
func (w *Writer) Skip() (n int) {
	n = 1
	if !w.apart {
		n = w.runs[w.next].n
	}
	w.pass(n)
	return n
}

// Reset empties the batch.
func (w *Writer) Reset() {
	w.batch, w.n, w.next, w.apart = batch{}, 0, 0, false
}
