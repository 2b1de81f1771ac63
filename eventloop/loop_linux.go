package eventloop

import (
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"watchtower/bridge/outbound"
)

const (
	readBytes  = 32 << 10 // read from one socket at a time
	eventsMost = 64       // sockets that are taken from the system at a time
	helpFrom   = 8        // ready sockets from which on another loop helps
	writesMost = 512      // connections that a loop writes to, before it reads again
)

// Loops read from the sockets of one epoll instance. The first loop is always there: at a
// home's pace it reads them all, and no other processor is woken. While many are ready at
// once others help, as many as there are processors. The runtime's poller watches the
// instance, so no thread waits in a system call for it.
type Loops struct {
	file *os.File // the epoll instance
	raw  syscall.RawConn
	done chan struct{}

	free    chan *loop // loops that could help
	helping sync.WaitGroup

	mu      sync.Mutex
	sockets []*Socket // parked, by file descriptor
}

// loop is what one goroutine reads with.
type loop struct {
	all    *Loops
	events [eventsMost]unix.EpollEvent
	ready  []*Socket
	buf    []byte
	n      int
	err    syscall.Errno
	read   func(fd uintptr)
	more   bool // something may be ready that no later event tells of
	round  outbound.Round
}

// Start starts loops. The caller closes them.
func Start() (*Loops, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // or the runtime's poller would not watch it
	}
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	helpers := runtime.GOMAXPROCS(0) - 1
	ls := &Loops{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), free: make(chan *loop, helpers)}
	if ls.raw, err = ls.file.SyscallConn(); err != nil {
		_ = ls.file.Close()
		return nil, err
	}
	for range helpers {
		ls.free <- newLoop(ls)
	}
	go newLoop(ls).run()
	return ls, nil
}

func newLoop(ls *Loops) *loop {
	l := &loop{all: ls}
	l.read = func(fd uintptr) { l.n, l.err = sysRead(fd, l.buf) }
	return l
}

// Close ends the loops, and waits for them. Connections that are parked go on in goroutines of their
// own, and are parked no more.
func (ls *Loops) Close() {
	if ls == nil {
		return
	}
	_ = ls.file.Close()
	<-ls.done
	ls.helping.Wait()
	ls.mu.Lock()
	left := slices.Clone(ls.sockets)
	ls.mu.Unlock()
	for _, s := range left {
		if s != nil && s.state.CompareAndSwap(parked, taken) {
			s.resume(nil, nil)
		}
	}
}

// run is the first loop.
func (l *loop) run() {
	defer close(l.all.done)
	_ = l.all.raw.Read(func(epoll uintptr) bool { // ends when the instance is closed
		for l.more = true; l.more; {
			n := sysWait(epoll, l.events[:])
			l.more = n == eventsMost
			if n >= helpFrom {
				l.all.help()
			}
			l.takeAll(l.events[:n])
		}
		l.round.Trim() // and keeps its memory: to give it back and get it again costs a fiftieth of a message
		return false   // waits for an event, and not for those from before this call: they are taken
	})
	l.idle()
}

// help has another loop help, if one is free.
func (ls *Loops) help() {
	select {
	case l := <-ls.free:
		ls.helping.Go(func() {
			for l.again() {
			}
			l.idle()
			ls.free <- l // there is room for it
		})
	default:
	}
}

// again takes what is ready. It reports whether that was anything: what it has taken and
// another loop has passed over is ready again then.
func (l *loop) again() (any bool) {
	_ = l.all.raw.Control(func(epoll uintptr) { // an error: it is closed
		any = l.takeAll(l.events[:sysWait(epoll, l.events[:])])
	})
	return any
}

// takeAll reads from the sockets that are ready, and writes what came of it. It reports
// whether it has read from one: another loop may have been first.
func (l *loop) takeAll(events []unix.EpollEvent) (any bool) {
	l.ready = l.ready[:0]
	l.all.mu.Lock()
	for i := range events {
		e := &events[i]
		if s := l.all.sockets[e.Fd]; s != nil {
			l.ready = append(l.ready, s)
			l.more = l.more || e.Events&unix.EPOLLRDHUP != 0 // behind the bytes is an end
		}
	}
	l.all.mu.Unlock()
	if l.buf == nil && len(l.ready) > 0 {
		l.buf = *buffers.Get().(*[]byte)
	}
	for _, s := range l.ready {
		any = l.take(s) || any
	}
	clear(l.ready)
	l.round.Split(writesMost)
	return any
}

var buffers = sync.Pool{New: func() any { b := make([]byte, readBytes); return &b }}

// idle gives back the loop's memory.
func (l *loop) idle() {
	if l.buf != nil {
		b := l.buf
		l.buf = nil
		buffers.Put(&b)
	}
	l.round.Rest()
}

// take reads from a socket once, and executes that. It reports whether it did.
func (l *loop) take(s *Socket) bool {
	if !s.state.CompareAndSwap(parked, taken) {
		return false // another loop has it, or it was resumed meanwhile
	}
	if err := s.raw.Control(l.read); err != nil {
		s.resume(nil, err)
		return true
	}
	switch {
	case l.err == syscall.EAGAIN:
	case l.err == syscall.EINTR:
		l.more = true
	case l.err != 0:
		s.resume(nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", l.err)})
		return true
	case l.n == 0:
		s.resume(nil, io.EOF)
		return true
	default:
		l.more = l.more || l.n == len(l.buf)
		if used := s.handler.Take(l.buf[:l.n], &l.round); used < l.n {
			s.resume(append([]byte(nil), l.buf[used:l.n]...), nil)
			return true
		}
	}
	s.state.Store(parked)
	s.heed()
	return true
}

// The states of a Socket.
const (
	resumed uint32 = iota // its own goroutine has it
	parked                // a loop may read from it
	taken                 // its loop reads from it just now
)

// Socket is the place of one connection in a loop. A nil Socket cannot be parked.
type Socket struct {
	loops   *Loops
	raw     syscall.RawConn
	handler Handler
	state   atomic.Uint32
	kicked  atomic.Bool
	fd      int32
}

// Socket returns a connection's place in the loops; nil for anything but a TCP
// connection without TLS.
func (ls *Loops) Socket(nc net.Conn, h Handler) *Socket {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || ls == nil {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return &Socket{loops: ls, raw: raw, handler: h}
}

// Park hands the connection to the loops. The caller's goroutine has it no more, and ends,
// if Park returns true. It has set no deadline for reading, and has no bytes buffered.
func (s *Socket) Park() bool {
	if s == nil || s.kicked.Load() {
		return false
	}
	ls, added := s.loops, false
	err := s.raw.Control(func(fd uintptr) {
		s.fd = int32(fd)
		ls.mu.Lock()
		if missing := int(fd) + 1 - len(ls.sockets); missing > 0 {
			ls.sockets = append(ls.sockets, make([]*Socket, missing)...)
		}
		ls.sockets[fd] = s
		ls.mu.Unlock()
		s.state.Store(parked) // before the first event
		added = unix.EpollCtl(int(ls.epoll()), unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)}) == nil
	})
	switch {
	case err != nil: // it is closed
		return false
	case !added:
		s.forget()
		return !s.state.CompareAndSwap(parked, resumed) // kicked meanwhile: it is resumed already
	}
	s.heed()
	return true
}

// Kick has Resume called soon if the connection is parked; if not, the next Park fails.
// It is called after the connection was closed too, which the loop does not see.
func (s *Socket) Kick() {
	if s != nil {
		s.kicked.Store(true)
		s.heed()
	}
}

// Unkick is called by the connection's goroutine before it looks whether it should go on.
func (s *Socket) Unkick() {
	if s != nil {
		s.kicked.Store(false)
	}
}

// Parked reports whether the connection is parked.
func (s *Socket) Parked() bool { return s != nil && s.state.Load() != resumed }

// heed resumes a parked connection that was kicked.
func (s *Socket) heed() {
	if s.kicked.Load() && s.state.CompareAndSwap(parked, taken) {
		s.resume(nil, nil)
	}
}

func (s *Socket) resume(rest []byte, err error) {
	s.forget()
	_ = s.raw.Control(func(fd uintptr) { // on an error it is closed, and so the system has forgotten it
		_ = unix.EpollCtl(int(s.loops.epoll()), unix.EPOLL_CTL_DEL, int(fd), nil)
	})
	s.state.Store(resumed)
	go s.handler.Resume(rest, err) // the handler's owner waits for it
}

func (s *Socket) forget() {
	ls := s.loops
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.sockets[s.fd] == s { // or a new connection has the number
		ls.sockets[s.fd] = nil
	}
}

func (ls *Loops) epoll() (fd uintptr) {
	_ = ls.raw.Control(func(epoll uintptr) { fd = epoll })
	return fd
}

func sysRead(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), err
}

// sysWait returns how many sockets are ready. It does not wait for one.
func sysWait(epoll uintptr, events []unix.EpollEvent) int {
	for {
		n, _, err := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch err {
		case 0:
			return int(n)
		case syscall.EINTR:
		default: // the instance is closed
			return 0
		}
	}
}
